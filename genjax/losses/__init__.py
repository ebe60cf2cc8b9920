"""Losses: pure functions of arrays that return unreduced losses per example, in nats."""

from genjax.losses.divergence import gaussian_cholesky_kl, gaussian_kl
from genjax.losses.focal import focal_loss
from genjax.losses.gan_losses import (
    hinge_discriminator,
    least_squares_discriminator,
    least_squares_generator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    relativistic_discriminator,
    relativistic_generator,
    wasserstein_critic,
    wasserstein_generator,
)
from genjax.losses.information import (
    categorical_information,
    code_information,
    gaussian_information,
    uniform_information,
)
from genjax.losses.likelihood import (
    bernoulli_nats,
    bernoulli_nll,
    bits_per_dim,
    categorical_nats,
    categorical_nll,
    gaussian_cholesky_nll,
    gaussian_nll,
    sum_event,
)
from genjax.losses.logistic import discretized_logistic_nats, discretized_logistic_nll
from genjax.losses.logistic_mixture import logistic_mixture_nats, moved_means
from genjax.losses.logit_laplace import (
    logit_laplace_nats,
    logit_laplace_nll,
    map_pixels,
    unmap_pixels,
)
from genjax.losses.matching import contrastive_matching, structured_matching
from genjax.losses.mixture_density import (
    gaussian_mixture_nats,
    gaussian_mixture_nll,
    laplace_mixture_nats,
    laplace_mixture_nll,
)
from genjax.losses.penalties import (
    drift_penalty,
    gradient_penalty,
    r1_penalty,
    r2_penalty,
)
from genjax.losses.ssim import ssim
from genjax.losses.variational import (
    dreg_loss,
    free_bits,
    gradient_only,
    importance_weighted_bound,
    iwae_loss,
    kl_warmup,
    normalized_weights,
    resampled,
    resampled_loss,
    score_function_loss,
)

__all__ = [
    "bernoulli_nats",
    "bernoulli_nll",
    "bits_per_dim",
    "categorical_information",
    "categorical_nats",
    "categorical_nll",
    "code_information",
    "contrastive_matching",
    "discretized_logistic_nats",
    "discretized_logistic_nll",
    "dreg_loss",
    "drift_penalty",
    "focal_loss",
    "free_bits",
    "gaussian_cholesky_kl",
    "gaussian_cholesky_nll",
    "gaussian_information",
    "gaussian_kl",
    "gaussian_mixture_nats",
    "gaussian_mixture_nll",
    "gaussian_nll",
    "gradient_only",
    "gradient_penalty",
    "hinge_discriminator",
    "importance_weighted_bound",
    "iwae_loss",
    "kl_warmup",
    "laplace_mixture_nats",
    "laplace_mixture_nll",
    "least_squares_discriminator",
    "least_squares_generator",
    "logistic_mixture_nats",
    "logit_laplace_nats",
    "logit_laplace_nll",
    "map_pixels",
    "minimax_discriminator",
    "minimax_generator",
    "moved_means",
    "non_saturating_generator",
    "normalized_weights",
    "r1_penalty",
    "r2_penalty",
    "relativistic_discriminator",
    "relativistic_generator",
    "resampled",
    "resampled_loss",
    "score_function_loss",
    "ssim",
    "structured_matching",
    "sum_event",
    "uniform_information",
    "unmap_pixels",
    "wasserstein_critic",
    "wasserstein_generator",
]
