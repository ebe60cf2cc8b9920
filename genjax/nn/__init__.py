"""Flax linen layers that two or more families use."""

from genjax.nn.gaussian import (
    Gaussian,
    draw_gaussian,
    gaussian_log_density,
    gaussian_size,
    kl_from_standard,
    kl_units_from_standard,
    noise_log_density,
    precision_weighted,
    split_gaussian,
    standard_log_density,
)
from genjax.nn.iaf import Flow, FlowStep, invert_flow
from genjax.nn.masked import MaskedDense, draw_degrees, dropout_mask
from genjax.nn.mlp import MLP, Maxout, MeanAndScale, OutputDense, symmetric_uniform
from genjax.nn.networks import (
    ToEvent,
    ToVector,
    one_hot,
    one_hot_condition,
    random_condition,
    random_label,
)
from genjax.nn.normless import NormlessDown, NormlessUp
from genjax.nn.observation import (
    HEADS,
    draw_observation,
    observation_bias,
    observation_mean,
    observation_nll,
    observation_range,
)
from genjax.nn.residual import ResidualDown, ResidualUp
from genjax.nn.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder
from genjax.nn.strided import DownStack, UpStack

__all__ = [
    "HEADS",
    "MLP",
    "DownStack",
    "Flow",
    "FlowStep",
    "Gaussian",
    "MaskedDense",
    "Maxout",
    "MeanAndScale",
    "NormlessDown",
    "NormlessUp",
    "OutputDense",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualBlock",
    "ResidualDown",
    "ResidualUp",
    "ToEvent",
    "ToVector",
    "UpStack",
    "draw_degrees",
    "draw_gaussian",
    "draw_observation",
    "dropout_mask",
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
    "one_hot_condition",
    "precision_weighted",
    "random_condition",
    "random_label",
    "split_gaussian",
    "standard_log_density",
    "symmetric_uniform",
]
