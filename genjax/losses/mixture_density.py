"""Negative log-densities of one-dimensional mixtures, in nats."""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event


def gaussian_mixture_nats(
    x: jax.Array, *, logits: jax.Array, means: jax.Array, log_scales: jax.Array
) -> jax.Array:
    """Computes the negative log-density of mixtures of K Gaussians, elementwise.

    Args:
      x: `[...]`, any real number.
      logits: `[..., K]`, log of the weights up to a constant.
      means: `[..., K]`.
      log_scales: `[..., K]`, log of the standard deviations. In float32 `(x - mean) / scale` must
        be below 1e19 for at least one component, so that its square is finite.

    Returns:
      the shape of `x`, in nats, of any sign.

    Raises:
      ValueError: the shapes do not match.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 3.

    >>> same = dict.fromkeys(('logits', 'means', 'log_scales'), jnp.zeros((1, 2)))
    >>> round(float(gaussian_mixture_nats(jnp.zeros((1,)), **same)[0]), 4)
    0.9189
    """
    scaled = _scaled("gaussian_mixture", x, logits, means, log_scales)
    return _mix(logits, -0.5 * scaled**2 - 0.5 * math.log(2 * math.pi), log_scales)


def laplace_mixture_nats(
    x: jax.Array, *, logits: jax.Array, means: jax.Array, log_scales: jax.Array
) -> jax.Array:
    """Computes the negative log-density of mixtures of K Laplace distributions, elementwise.

    The density of a component is exp(-|x - mean| / scale) / (2 scale).

    Args:
      x: `[...]`, any real number.
      logits: `[..., K]`, log of the weights up to a constant.
      means: `[..., K]`.
      log_scales: `[..., K]`, log of the scales; the standard deviation is sqrt(2) times a scale.

    Returns:
      the shape of `x`, in nats, of any sign.

    Raises:
      ValueError: the shapes do not match.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 4.

    >>> same = dict.fromkeys(('logits', 'means', 'log_scales'), jnp.zeros((1, 2)))
    >>> round(float(laplace_mixture_nats(jnp.zeros((1,)), **same)[0]), 4)  # log 2
    0.6931
    """
    scaled = _scaled("laplace_mixture", x, logits, means, log_scales)
    return _mix(logits, -jnp.abs(scaled) - math.log(2), log_scales)


def gaussian_mixture_nll(
    x: jax.Array, *, logits: jax.Array, means: jax.Array, log_scales: jax.Array
) -> jax.Array:
    """Computes the negative log-density per example, entries from mixtures of Gaussians.

    Args:
      x: `[B, ...]`, any real number.
      logits: `[B, ..., K]`, log of the weights up to a constant.
      means: `[B, ..., K]`.
      log_scales: `[B, ..., K]`, see `gaussian_mixture_nats`.

    Returns:
      `[B]` nats, of any sign.

    Raises:
      ValueError: the shapes do not match, or there is no batch axis.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 3.

    >>> same = dict.fromkeys(('logits', 'means', 'log_scales'), jnp.zeros((1, 3, 2)))
    >>> round(float(gaussian_mixture_nll(jnp.zeros((1, 3)), **same)[0]), 4)
    2.7568
    """
    checks.batched("gaussian_mixture_nll", x=x)
    return sum_event(gaussian_mixture_nats(x, logits=logits, means=means, log_scales=log_scales))


def laplace_mixture_nll(
    x: jax.Array, *, logits: jax.Array, means: jax.Array, log_scales: jax.Array
) -> jax.Array:
    """Computes the negative log-density per example, entries from mixtures of Laplacians.

    Args:
      x: `[B, ...]`, any real number.
      logits: `[B, ..., K]`, log of the weights up to a constant.
      means: `[B, ..., K]`.
      log_scales: `[B, ..., K]`, see `laplace_mixture_nats`.

    Returns:
      `[B]` nats, of any sign.

    Raises:
      ValueError: the shapes do not match, or there is no batch axis.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 4.

    >>> same = dict.fromkeys(('logits', 'means', 'log_scales'), jnp.zeros((1, 3, 2)))
    >>> round(float(laplace_mixture_nll(jnp.zeros((1, 3)), **same)[0]), 4)
    2.0794
    """
    checks.batched("laplace_mixture_nll", x=x)
    return sum_event(laplace_mixture_nats(x, logits=logits, means=means, log_scales=log_scales))


def _scaled(
    where: str, x: jax.Array, logits: jax.Array, means: jax.Array, log_scales: jax.Array
) -> jax.Array:
    """(x - mean) / scale, `[..., K]`."""
    checks.same_shape(where, logits=logits, means=means, log_scales=log_scales)
    if jnp.ndim(logits) != jnp.ndim(x) + 1 or jnp.shape(logits)[:-1] != jnp.shape(x):
        raise ValueError(
            f"{where}: the parameters must have the shape of x and an axis of components, got x"
            f" {checks.describe(x)} and logits {checks.describe(logits)}."
        )
    checks.floating(where, x=x, logits=logits, means=means, log_scales=log_scales)
    x, means, log_scales = map(at_least_float32, (x, means, log_scales))
    return (x[..., None] - means) * jnp.exp(-log_scales)


def _mix(logits: jax.Array, log_kernel: jax.Array, log_scales: jax.Array) -> jax.Array:
    """-log sum_k softmax(logits)_k kernel_k / scale_k."""
    # One logsumexp: components far away do not reduce the precision of the others.
    log_w = jax.nn.log_softmax(at_least_float32(logits), axis=-1)
    return -jax.nn.logsumexp(log_w + log_kernel - at_least_float32(log_scales), axis=-1)
