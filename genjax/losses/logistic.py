"""The discretised logistic distribution: a probability for each of the levels of a pixel."""

import math

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, sum_event


def discretized_logistic_nats(
    x: jax.Array, mean: jax.Array, log_scale: jax.Array, *, levels: int = 256
) -> jax.Array:
    """-log p(x) of integers under a logistic distribution cut into bins, elementwise.

    Level v is the bin around 2 v / (levels - 1) - 1, so that levels 0 .. levels - 1 are spread
    over [-1, 1]; the first and the last bin reach to -infinity and infinity, so the probabilities
    of all levels sum to 1. With a and b the upper and lower edge less the mean, by the scale,

        sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)),

    whose logarithm loses no digits in either tail, where the difference underflows.

    Args:
      x: `[B, ...]`, whole numbers 0 .. levels - 1, of any dtype.
      mean: `[B, ...]`, in units of the interval [-1, 1]; may lie outside.
      log_scale: `[B, ...]`, log of the scale in the same units. In float32 the distance of x from
        the mean must stay below 1e38 scales.
      levels: of x, 2 or more.

    Returns:
      `[B, ...]` nats, 0 or above.

    Raises:
      ValueError: the shapes differ, or there is only one level.

    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow",
    appendix; Salimans et al. 2017, "PixelCNN++", eq. 2 with one component.

    >>> zero = jnp.zeros((1,))
    >>> one = discretized_logistic_nats(zero, zero, zero, levels=2)  # symmetric: log 2
    >>> round(float(one[0]), 4)
    0.6931
    """
    checks.same_shape("discretized_logistic", x=x, mean=mean, log_scale=log_scale)
    checks.positive(levels_minus_1=levels - 1)
    x, mean, log_scale = map(at_least_float32, (x, mean, log_scale))
    half = 1 / (levels - 1)
    centered = (2 * x - (levels - 1)) * half - mean  # whole numbers first: they are exact
    inverse = jnp.exp(-log_scale)
    above = jax.nn.log_sigmoid((centered + half) * inverse)  # log sigmoid(a)
    below = jax.nn.log_sigmoid((half - centered) * inverse)  # log sigmoid(-b)
    # log(1 - exp(-width)). For narrow bins by its series: 1 - exp(-width) keeps no digits there,
    # and the width itself underflows. The unused branch gets a harmless number in both passes.
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
    x: jax.Array, mean: jax.Array, log_scale: jax.Array, *, levels: int = 256
) -> jax.Array:
    """-log p(x) of whole examples under independent discretised logistics.

    Args:
      x: `[B, ...]`, whole numbers 0 .. levels - 1, of any dtype.
      mean: `[B, ...]`, see `discretized_logistic_nats`.
      log_scale: `[B, ...]`.
      levels: of x, 2 or more.

    Returns:
      `[B]` nats, 0 or above; `bits_per_dim` makes bits of them.

    Raises:
      ValueError: the shapes differ, there is no batch axis, or there is only one level.

    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow",
    appendix.

    >>> x, mean = jnp.full((1, 3), 127), jnp.zeros((1, 3))  # narrow, at the edge of 127 and 128
    >>> round(float(discretized_logistic_nll(x, mean, jnp.full((1, 3), -12.0))[0]), 4)  # 3 log 2
    2.0794
    """
    checks.batched("discretized_logistic_nll", x=x)
    return sum_event(discretized_logistic_nats(x, mean, log_scale, levels=levels))
