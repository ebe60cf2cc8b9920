"""Losses of a table of scores of pairs, such as images and their captions.

Entry [i, j] is the score of the first element of pair i, such as an image, with the second element
of pair j, such as a caption. The entries on the diagonal are the right pairs. All others are wrong
pairs, except those that `same` marks, whose second elements are equal.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32


def structured_matching(
    scores: jax.Array, same: jax.Array | None = None, *, margin: float = 1.0
) -> jax.Array:
    """Computes the symmetric structured hinge loss of pairs.

    The loss of pair i is the mean of max(0, margin + s_ij - s_ii) over its wrong pairs (i, j), plus
    the mean of max(0, margin + s_ji - s_ii) over its wrong pairs (j, i). The paper has the maximum
    over classes in place of the mean; its authors' code has the mean.

    Args:
      scores: s, `[B, B]`, any real numbers.
      same: bool `[B, B]`, True for entries that are not wrong pairs; the diagonal need not be set.
      margin: above 0.

    Returns:
      `[B]`, 0 or above, in the unit of the scores; 0 for a pair without wrong pairs.

    Raises:
      ValueError: the scores are not a square, `same` has another shape, or margin is not above 0.

    Source: Reed et al. 2016, "Learning Deep Representations of Fine-grained Visual Descriptions"
    (arXiv:1605.05395), eqs. 2 to 4.

    >>> structured_matching(jnp.array([[2.0, 1.5], [0.0, 2.0]])).tolist()
    [0.5, 0.5]
    """
    checks.positive(margin=margin)

    def hinge(scores: jax.Array, wrong: jax.Array) -> jax.Array:
        own = jnp.diagonal(scores)[:, None]
        terms = jnp.where(wrong, jax.nn.relu(margin + scores - own), 0.0)
        return terms.sum(axis=1) / jnp.maximum(wrong.sum(axis=1), 1)

    return _both("structured_matching", scores, same, hinge)


def contrastive_matching(scores: jax.Array, same: jax.Array | None = None) -> jax.Array:
    """Computes the symmetric cross-entropy of pairs.

    The loss of pair i is the mean of two cross-entropies with target i: that of the softmax over
    row i, and that of the softmax over column i.

    Args:
      scores: `[B, B]`, logits, any real numbers.
      same: bool `[B, B]`, True for entries to leave out of the softmax; the diagonal is not.

    Returns:
      `[B]` nats, 0 or above; log B for equal scores.

    Raises:
      ValueError: the scores are not a square, or `same` has another shape.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision" (arXiv:2103.00020), figure 3.

    >>> contrastive_matching(jnp.zeros((2, 2))).round(4).tolist()
    [0.6930999755859375, 0.6930999755859375]
    """

    def nats(scores: jax.Array, wrong: jax.Array) -> jax.Array:
        possible = wrong | jnp.eye(len(scores), dtype=bool)
        kept = jnp.where(possible, scores, -jnp.inf)
        return jax.nn.logsumexp(kept, axis=1) - jnp.diagonal(scores)

    return _both("contrastive_matching", scores, same, nats) / 2


def _both(
    where: str,
    scores: jax.Array,
    same: jax.Array | None,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Adds `loss(scores, wrong)` of rows and of columns, `[B]`."""
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"{where}: scores must be [B, B], got {checks.describe(scores)}.")
    same = jnp.eye(len(scores), dtype=bool) if same is None else same
    checks.same_shape(where, scores=scores, same=same)
    wrong = ~(same | jnp.eye(len(scores), dtype=bool))
    scores = at_least_float32(scores)
    return loss(scores, wrong) + loss(scores.T, wrong.T)
