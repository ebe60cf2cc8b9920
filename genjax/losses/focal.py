"""Focal loss: cross-entropy with less weight on examples that are classified well."""

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32, categorical_nats


def focal_loss(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """Computes -(1 - p)^gamma log p, where p is the probability of the label under the softmax.

    The logarithm of 1 - p is the difference of two logsumexps, so value and gradient are finite
    where p rounds to 1.

    Args:
      logits: `[B, K]` of K > 1 classes, any real number.
      labels: `[B]`, integers in [0, K); the result is NaN for labels outside.
      gamma: 0 or above; 0 is the cross-entropy.

    Returns:
      `[B]`, at least 0; nats where gamma is 0.

    Raises:
      ValueError: the shapes do not match, labels are not integers, there is one class, or gamma is
        negative.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv:1708.02002), eq. 4.

    >>> loss = focal_loss(jnp.zeros((1, 2)), jnp.array([0]))  # log(2) / 4
    >>> round(loss.item(), 4)
    0.1733
    """
    checks.not_negative(gamma=gamma)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            "focal_loss: logits must be [B, K] of at least two classes, got"
            f" {checks.describe(logits)}."
        )
    nats = categorical_nats(logits, labels)
    logits = at_least_float32(logits)
    own = jnp.arange(logits.shape[1])[None] == labels[:, None]
    others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, logits), axis=1)
    log_rest = others - jax.nn.logsumexp(logits, axis=1)  # log(1 - p)
    return jnp.exp(gamma * log_rest) * nats
