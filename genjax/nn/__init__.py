"""Flax linen layers that two or more families use."""

from genjax.nn.masked import MaskedDense, draw_degrees, draw_order
from genjax.nn.mlp import MLP, Maxout, symmetric_uniform

__all__ = ["MLP", "MaskedDense", "Maxout", "draw_degrees", "draw_order", "symmetric_uniform"]
