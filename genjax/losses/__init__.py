"""Pure losses: arrays in, unreduced nats out. Needs jax and genjax.checks, nothing else."""

from genjax.losses.adversarial import (
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
)
from genjax.losses.divergence import gaussian_kl
from genjax.losses.likelihood import (
    bernoulli_nats,
    bernoulli_nll,
    bits_per_dim,
    categorical_nll,
    gaussian_nll,
    sum_event,
)
from genjax.losses.mixture import (
    gaussian_mixture_nats,
    gaussian_mixture_nll,
    laplace_mixture_nats,
    laplace_mixture_nll,
)

__all__ = [
    "bernoulli_nats",
    "bernoulli_nll",
    "bits_per_dim",
    "categorical_nll",
    "gaussian_kl",
    "gaussian_mixture_nats",
    "gaussian_mixture_nll",
    "gaussian_nll",
    "laplace_mixture_nats",
    "laplace_mixture_nll",
    "minimax_discriminator",
    "minimax_generator",
    "non_saturating_generator",
    "sum_event",
]
