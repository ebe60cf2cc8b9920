"""Flax linen layers that two or more families use."""

from genjax.nn.masked import MaskedDense, draw_degrees, draw_order
from genjax.nn.mlp import MLP, Maxout, symmetric_uniform
from genjax.nn.normless import NormlessDown, NormlessUp
from genjax.nn.residual import ResidualDown, ResidualUp
from genjax.nn.strided import DownStack, UpStack

__all__ = [
    "MLP",
    "DownStack",
    "MaskedDense",
    "Maxout",
    "NormlessDown",
    "NormlessUp",
    "ResidualDown",
    "ResidualUp",
    "UpStack",
    "draw_degrees",
    "draw_order",
    "symmetric_uniform",
]
