"""Logit-Laplace distribution of pixels: a Laplace distribution of their logits."""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event

EPSILON = 0.1


def map_pixels(x: jax.Array, *, epsilon: float = EPSILON) -> jax.Array:
    """Maps pixels in [0, 1] to phi(x) = (1 - 2 epsilon) x + epsilon, in [epsilon, 1 - epsilon].

    Args:
      x: any shape.
      epsilon: in [0, 0.5).

    Source: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", appendix A.3.

    >>> [round(u, 4) for u in map_pixels(jnp.array([0.0, 0.5, 1.0])).tolist()]
    [0.1, 0.5, 0.9]
    """
    return (1 - 2 * epsilon) * x + epsilon


def unmap_pixels(u: jax.Array, *, epsilon: float = EPSILON) -> jax.Array:
    """Inverts `map_pixels`, and clips the result to [0, 1].

    Args:
      u: any shape, in (0, 1).
      epsilon: in [0, 0.5).

    Source: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", appendix A.3.

    >>> unmap_pixels(jnp.array([0.05, 0.5, 0.95])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jnp.clip((u - epsilon) / (1 - 2 * epsilon), 0, 1)


def logit_laplace_nats(
    x: jax.Array, mean: jax.Array, *, log_scale: jax.Array, epsilon: float = EPSILON
) -> jax.Array:
    """Computes -log f(u) of mapped pixels u = phi(x) under a logit-Laplace distribution.

    f(u) = exp(-|logit u - mean| / b) / (2 b u (1 - u)) is a density of u on (0, 1). That of x is
    (1 - 2 epsilon) f(phi(x)); both are per pixel and channel.

    Args:
      x: `[B, ...]` in [0, 1], or beyond where phi(x) is in (0, 1).
      mean: `[B, ...]`, the location of logit u.
      log_scale: `[B, ...]`, log b.
      epsilon: of phi, see `map_pixels`; in [0, 0.5).

    Returns:
      `[B, ...]` nats, of any sign.

    Raises:
      ValueError: the shapes differ, `epsilon` is outside its range, x is integers, or, outside
        `jax.jit`, phi(x) is not in [0, 1].

    Source: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", appendix A.3, eq. 2.

    >>> zero = jnp.zeros((1,))
    >>> nats = logit_laplace_nats(zero + 0.5, zero, log_scale=zero)
    >>> round(float(nats[0]), 4)  # -log(1 / (2 / 4)) = -log 2
    -0.6931
    """
    checks.same_shape("logit_laplace", x=x, mean=mean, log_scale=log_scale)
    if not 0 <= epsilon < 0.5:
        raise ValueError(f"`epsilon` must be in [0, 0.5), got {epsilon}.")
    fix = "divide grey levels 0 .. 255 by 255"
    checks.floating("logit_laplace", f"{fix}, as .astype('float32')", x=x)
    checks.floating("logit_laplace", mean=mean, log_scale=log_scale)
    beyond = epsilon / (1 - 2 * epsilon)
    checks.values("logit_laplace: x", x, -beyond, 1 + beyond, fix)
    x, mean, log_scale = map(at_least_float32, (x, mean, log_scale))
    u = map_pixels(x, epsilon=epsilon)
    log_u, log_rest = jnp.log(u), jnp.log1p(-u)
    distance = jnp.abs(log_u - log_rest - mean) * jnp.exp(-log_scale)
    return distance + log_scale + math.log(2) + log_u + log_rest


def logit_laplace_nll(
    x: jax.Array, mean: jax.Array, *, log_scale: jax.Array, epsilon: float = EPSILON
) -> jax.Array:
    """Computes -log f(phi(x)) per example under independent logit-Laplace distributions.

    Args:
      x: `[B, ...]` in [0, 1].
      mean: `[B, ...]`, see `logit_laplace_nats`.
      log_scale: `[B, ...]`.
      epsilon: of phi, see `map_pixels`; in [0, 0.5).

    Returns:
      `[B]` nats, of any sign.

    Raises:
      ValueError: as `logit_laplace_nats`, or there is no batch axis.

    Source: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", appendix A.3, eq. 2.

    >>> zero = jnp.zeros((1, 3))
    >>> round(float(logit_laplace_nll(zero + 0.5, zero, log_scale=zero)[0]), 4)  # -3 log 2
    -2.0794
    """
    checks.batched("logit_laplace_nll", x=x)
    return sum_event(logit_laplace_nats(x, mean, log_scale=log_scale, epsilon=epsilon))
