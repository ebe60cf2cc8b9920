"""Experiments: one file a paper, each runnable; `python -m experiments` shows the table."""
