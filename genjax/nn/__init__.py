"""Flax linen layers that two or more families use."""

from genjax.nn.gaussian import (
    Gaussian,
    draw_gaussian,
    gaussian_log_density,
    gaussian_size,
    kl_from_standard,
    kl_units_from_standard,
    noise_log_density,
    split_gaussian,
)
from genjax.nn.iaf import Flow, FlowStep, invert_flow
from genjax.nn.masked import MaskedDense, draw_degrees, draw_order
from genjax.nn.mlp import MLP, Maxout
from genjax.nn.networks import ToEvent, ToVector, one_hot
from genjax.nn.observation import (
    HEADS,
    draw_observation,
    observation_bias,
    observation_mean,
    observation_nll,
    observation_range,
)
from genjax.nn.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder

__all__ = [
    "HEADS",
    "MLP",
    "Flow",
    "FlowStep",
    "Gaussian",
    "MaskedDense",
    "Maxout",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualBlock",
    "ToEvent",
    "ToVector",
    "draw_degrees",
    "draw_gaussian",
    "draw_observation",
    "draw_order",
    "gaussian_log_density",
    "gaussian_size",
    "invert_flow",
    "kl_from_standard",
    "kl_units_from_standard",
    "noise_log_density",
    "observation_bias",
    "observation_mean",
    "observation_nll",
    "observation_range",
    "one_hot",
    "split_gaussian",
]
