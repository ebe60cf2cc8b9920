"""Divergences between distributions in closed form, in nats per example."""

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, check_cholesky, sum_event


def gaussian_kl(
    mean: jax.Array,
    *,
    log_std: jax.Array,
    prior_mean: jax.Array | float = 0.0,
    prior_log_std: jax.Array | float = 0.0,
) -> jax.Array:
    """Computes KL(N(mean, std^2) || N(prior_mean, prior_std^2)) for diagonal covariances.

    Args:
      mean: `[B, ...]`.
      log_std: `[B, ...]`, log of the standard deviation; half of the log of the variance.
      prior_mean: a number, or an array of the same shape.
      prior_log_std: a number, or an array of the same shape.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, there is no batch axis, or an argument is integers.

    Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", appendix B.

    >>> gaussian_kl(jnp.ones((1, 2)), log_std=jnp.zeros((1, 2))).tolist()
    [1.0]
    """
    checks.batched("gaussian_kl", mean=mean)
    checks.floating("gaussian_kl", mean=mean, log_std=log_std)
    checks.same_shape("gaussian_kl", mean=mean, log_std=log_std)
    for name, value in (("prior_mean", prior_mean), ("prior_log_std", prior_log_std)):
        if jnp.ndim(value):
            checks.same_shape("gaussian_kl", mean=mean, **{name: value})
    mean, log_std, prior_mean, prior_log_std = map(
        at_least_float32, (mean, log_std, prior_mean, prior_log_std)
    )
    log_ratio = log_std - prior_log_std
    # expm1 keeps precision where posterior and prior nearly agree: r^2 - 1 and log r^2 are small.
    variance_term = 0.5 * (jnp.expm1(2 * log_ratio) - 2 * log_ratio)
    mean_term = 0.5 * ((mean - prior_mean) * jnp.exp(-prior_log_std)) ** 2
    return sum_event(variance_term + mean_term)


def gaussian_cholesky_kl(mean: jax.Array, cholesky: jax.Array) -> jax.Array:
    """Computes KL(N(mean, L L^T) || N(0, I)) for a Gaussian with full covariance.

    Args:
      mean: `[B, Z]`.
      cholesky: L, `[B, Z, Z]`: lower triangular with a positive diagonal; entries above it are
        ignored.

    Returns:
      `[B]` nats, 0 or above.

    Raises:
      ValueError: the shapes do not fit.

    Source: Kingma and Welling 2019, "An Introduction to Variational Autoencoders", section 2.5.1.

    >>> gaussian_cholesky_kl(jnp.ones((1, 2)), jnp.eye(2)[None]).tolist()
    [1.0]
    """
    check_cholesky("gaussian_cholesky_kl", mean, cholesky)
    mean, cholesky = at_least_float32(mean), at_least_float32(cholesky)
    log_std = jnp.log(jnp.diagonal(cholesky, axis1=-2, axis2=-1))  # [B, Z]
    # The divergence of the diagonal part, plus the squares of the entries below it.
    return gaussian_kl(mean, log_std=log_std) + 0.5 * sum_event(jnp.tril(cholesky, -1) ** 2)
