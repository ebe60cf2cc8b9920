"""Discretized logistic distribution over the levels of a pixel."""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event


def discretized_logistic_nats(
    x: jax.Array, mean: jax.Array, *, log_scale: jax.Array, levels: int = 256
) -> jax.Array:
    """Computes -log p(x) of integers under a discretized logistic distribution, elementwise.

    Level v is the bin around 2 v / (levels - 1) - 1, so that levels 0 .. levels - 1 cover [-1, 1].
    The first and the last bin extend to -infinity and infinity, so that probabilities sum to 1.
    With a and b the upper and lower edge of the bin, minus the mean and divided by the scale,

        sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)),

    whose logarithm is accurate in both tails, where the difference underflows.

    Args:
      x: `[B, ...]`, integers 0 .. levels - 1, of any dtype.
      mean: `[B, ...]`, in units of the interval [-1, 1]; may be outside.
      log_scale: `[B, ...]`, log of the scale in the same units. In float32 x must be within 1e38
        scales of the mean.
      levels: number of levels, 2 or more.

    Returns:
      `[B, ...]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, there is only one level, or, outside `jax.jit`, x is not
        integers 0 .. levels - 1.

    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow",
    appendix; Salimans et al. 2017, "PixelCNN++", eq. 2 with one component.

    >>> zero = jnp.zeros((1,))
    >>> one = discretized_logistic_nats(zero, zero, log_scale=zero, levels=2)  # symmetric: log 2
    >>> round(float(one[0]), 4)
    0.6931
    """
    checks.same_shape("discretized_logistic", x=x, mean=mean, log_scale=log_scale)
    checks.positive(levels_minus_1=levels - 1)
    checks.floating("discretized_logistic", mean=mean, log_scale=log_scale)
    fix = "x has the levels themselves, unscaled; see also `levels`"
    checks.values("discretized_logistic: x", x, 0, levels - 1, fix, integers=True)
    x, mean, log_scale = map(at_least_float32, (x, mean, log_scale))
    half = 1 / (levels - 1)
    centered = (2 * x - (levels - 1)) * half - mean  # integers first: they are exact
    inverse = jnp.exp(-log_scale)
    above = jax.nn.log_sigmoid((centered + half) * inverse)  # log sigmoid(a)
    below = jax.nn.log_sigmoid((half - centered) * inverse)  # log sigmoid(-b)
    # log(1 - exp(-width)), for narrow bins by its series, where 1 - exp(-width) loses all digits.
    # The unused branch gets a finite input (double where).
    width = 2 * half * inverse
    narrow = width < 1e-2
    series = math.log(2 * half) - log_scale - width / 2 + width**2 / 24
    direct = jnp.log(-jnp.expm1(-jnp.where(narrow, 1.0, width)))
    inside = jnp.where(narrow, series, direct)
    first, last = x <= 0, x >= levels - 1
    open_ended = first | last
    return -(
        jnp.where(last, 0, above) + jnp.where(first, 0, below) + jnp.where(open_ended, 0, inside)
    )


def discretized_logistic_nll(
    x: jax.Array, mean: jax.Array, *, log_scale: jax.Array, levels: int = 256
) -> jax.Array:
    """Computes -log p(x) per example under independent discretized logistics.

    Args:
      x: `[B, ...]`, integers 0 .. levels - 1, of any dtype.
      mean: `[B, ...]`, see `discretized_logistic_nats`.
      log_scale: `[B, ...]`.
      levels: number of levels, 2 or more.

    Returns:
      `[B]` nats, 0 or above; `bits_per_dim` converts them.

    Raises:
      ValueError: as `discretized_logistic_nats`, or there is no batch axis.

    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow",
    appendix.

    >>> x, mean = jnp.full((1, 3), 127), jnp.zeros((1, 3))  # narrow, at the edge of 127 and 128
    >>> nats = discretized_logistic_nll(x, mean, log_scale=jnp.full((1, 3), -12.0))
    >>> round(float(nats[0]), 4)  # 3 log 2
    2.0794
    """
    checks.batched("discretized_logistic_nll", x=x)
    return sum_event(discretized_logistic_nats(x, mean, log_scale=log_scale, levels=levels))
