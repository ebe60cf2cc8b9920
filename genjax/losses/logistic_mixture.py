"""Mixtures of discretized logistics over the levels of a pixel, channel by channel."""

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32
from genjax.losses.logistic import discretized_logistic_nats


def moved_means(means: jax.Array, coefficients: jax.Array, x: jax.Array) -> jax.Array:
    """Computes the means of every channel given the channels before it: `[..., C, K]`.

    A linear function of the channels before c is added, whose coefficients begin at c (c - 1) / 2
    of the axis. Source: PixelCNN++, equation 3 (three coefficients for R, G and B).

    Args:
      means: `[..., C, K]`.
      coefficients: `[..., C (C - 1) / 2, K]`.
      x: `[..., C]`, in [-1, 1].
    """
    moved = []
    for c in range(means.shape[-2]):
        mean, place = means[..., c, :], c * (c - 1) // 2
        for j in range(c):
            mean = mean + coefficients[..., place + j, :] * x[..., j, None]
        moved.append(mean)
    return jnp.stack(moved, axis=-2)


def logistic_mixture_nats(
    x: jax.Array,
    *,
    logits: jax.Array,
    means: jax.Array,
    log_scales: jax.Array,
    coefficients: jax.Array,
    levels: int = 256,
) -> jax.Array:
    """Computes -log p(x_c | the pixel's channels before c), elementwise.

    All channels of a pixel share one component, so p(x_c | x_<c) is a ratio of two sums over
    components.

    Args:
      x: `[..., C]`, integers 0 .. levels - 1, of any dtype.
      logits: `[..., K]`, of the components.
      means: `[..., C, K]`, in units of the interval [-1, 1].
      log_scales: `[..., C, K]`.
      coefficients: `[..., C (C - 1) / 2, K]`, see `moved_means`.
      levels: number of levels.

    Returns:
      `[..., C]` nats.

    Raises:
      ValueError: the shapes do not match.

    Source: Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), equations 1 to 3.

    >>> x, zero = jnp.zeros((1, 1)), jnp.zeros((1, 1, 1))
    >>> given = dict(means=zero, log_scales=zero, coefficients=jnp.zeros((1, 0, 1)))
    >>> nats = logistic_mixture_nats(x, logits=zero[:, 0], **given, levels=2)
    >>> round(float(nats[0, 0]), 4)
    0.6931
    """
    channels, k = x.shape[-1], logits.shape[-1]
    shapes = {
        "logits": (*x.shape[:-1], k),
        "means": (*x.shape, k),
        "log_scales": (*x.shape, k),
        "coefficients": (*x.shape[:-1], channels * (channels - 1) // 2, k),
    }
    given = dict(logits=logits, means=means, log_scales=log_scales, coefficients=coefficients)
    for name, array in given.items():
        if array.shape != shapes[name]:
            raise ValueError(
                f"logistic_mixture: {name} must be {list(shapes[name])} for x"
                f" {checks.describe(x)}, got {checks.describe(array)}."
            )
    logits, means, log_scales, coefficients = map(at_least_float32, given.values())
    unit = 2 * at_least_float32(x) / (levels - 1) - 1
    means = moved_means(means, coefficients, unit)
    whole = jnp.broadcast_to(x[..., None], means.shape)
    each = -discretized_logistic_nats(
        whole, means, log_scale=log_scales, levels=levels
    )  # [..., C, K]
    joint = jax.nn.log_softmax(logits, axis=-1)[..., None, :] + jnp.cumsum(each, axis=-2)
    up_to = jax.nn.logsumexp(joint, axis=-1)  # [..., C], log p(x_0 .. x_c)
    before = jnp.concatenate([jnp.zeros_like(up_to[..., :1]), up_to[..., :-1]], axis=-1)
    return before - up_to
