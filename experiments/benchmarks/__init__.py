"""Benchmarks: speed, compiled kernels, input rate, compile-ahead and PyTorch peers."""
