"""Flax linen layers that two or more families use."""

from genjax.nn.mlp import MLP, Maxout

__all__ = ["MLP", "Maxout"]
