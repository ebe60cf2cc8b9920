"""Flax linen layers that two or more families use."""

from genjax.nn.distributions import (
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Normal,
    Posterior,
    StandardNormal,
    standard_log_prob,
)
from genjax.nn.labels import one_hot, one_hot_condition, random_condition, random_label
from genjax.nn.masked import MaskedDense, draw_degrees, dropout_mask
from genjax.nn.mlp import MLP, Maxout, OutputDense, symmetric_uniform
from genjax.nn.sizes import sides_of
from genjax.nn.strided import DownStack, UpStack

__all__ = [
    "MLP",
    "Bernoulli",
    "DiscretizedLogistic",
    "DownStack",
    "Gaussian",
    "MaskedDense",
    "Maxout",
    "Normal",
    "OutputDense",
    "Posterior",
    "StandardNormal",
    "UpStack",
    "draw_degrees",
    "dropout_mask",
    "one_hot",
    "one_hot_condition",
    "random_condition",
    "random_label",
    "sides_of",
    "standard_log_prob",
    "symmetric_uniform",
]
