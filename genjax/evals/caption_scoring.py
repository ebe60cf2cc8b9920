"""Scores of images and captions by a model of its own, to re-rank samples."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.protocols import CaptionScores, ScoreTable, family_name
from genjax.evals.batching import map_split
from genjax.evals.caption_texts import encoded
from genjax.evals.context import EvalContext


@dataclasses.dataclass(frozen=True)
class CaptionScorer:
    """A `CaptionScores` family with its variables and tokenizer."""

    family: Any
    config: Any
    variables: Any
    tokenizer: Any

    @property
    def name(self) -> str:
        """Name of the family."""
        return family_name(self.family)

    def text(self, captions: np.ndarray) -> np.ndarray:
        """Returns captions `[N]` as texts of the family, int32 `[N, T]`."""
        return encoded(self.family, self.config, self.tokenizer, captions)

    def scores(self, variables: Any, images: jax.Array, text: jax.Array) -> jax.Array:
        """Returns scores `[B]` of images in [0, 1], `[B, *shape]`, and texts `[B, T]`."""
        return self.family.caption_scores(self.config, variables, self.in_range(images), text)

    def in_range(self, images: Any) -> Any:
        """Returns images in [0, 1] in the family's own range."""
        low, high = self.family.traits(self.config).sample_range
        return images * (high - low) + low


def own_scorer(c: EvalContext) -> CaptionScorer | None:
    """Returns the model of a context as a scorer; None if it does not score captions."""
    if not isinstance(c.family, CaptionScores):
        return None
    tokenizer = c.dataset.tokenizer if c.tokenizer is None else c.tokenizer
    return CaptionScorer(c.family, c.config, c.variables, tokenizer)


def ranker(c: EvalContext) -> CaptionScorer | None:
    """Returns the ranker of a context; None if it has none.

    Raises:
      ValueError: it does not score captions, or takes images of another shape.
    """
    if c.ranker is None:
        return None
    found = CaptionScorer(*c.ranker)
    if not isinstance(found.family, CaptionScores):
        raise ValueError(
            f"{found.name} does not score captions; give a ranker that does, such as a run of"
            f" joint embeddings."
        )
    if tuple(found.config.shape) != tuple(c.config.shape):
        raise ValueError(
            f"the ranker takes images of {tuple(found.config.shape)}, and {c.name} makes"
            f" {tuple(c.config.shape)}; train it on images of that shape."
        )
    return found


def pair_scores(
    scorer: CaptionScorer, key: jax.Array, batch_size: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns `call(images, captions)`: scores of all pairs `[I, D]` in float64, of NaN -inf.

    Images `[I, *shape]` are in the family's own range. Of a family with a `score_table` they are
    embedded once per `batch_size` captions, and every caption once.
    """
    family, config = scorer.family, scorer.config

    @jax.jit
    def by_text(variables: Any, images: Any, key: jax.Array, text: jax.Array) -> jax.Array:
        return family.score_table(config, variables, images, text).T

    @jax.jit
    def by_pair(
        variables: Any, images: Any, texts: Any, key: jax.Array, row: jax.Array, column: jax.Array
    ) -> jax.Array:
        return family.caption_scores(config, variables, images[row], texts[column])

    def call(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        x, text = jnp.asarray(images), scorer.text(captions)
        if isinstance(family, ScoreTable):
            one = functools.partial(by_text, scorer.variables, x)
            found = map_split(one, {"text": text}, key, batch_size).T
        else:
            row, column = np.indices((len(x), len(text))).reshape(2, -1).astype(np.int32)
            pair = functools.partial(by_pair, scorer.variables, x, jnp.asarray(text))
            found = map_split(pair, {"row": row, "column": column}, key, batch_size)
        found = np.asarray(found, np.float64).reshape(len(images), -1)
        return np.nan_to_num(found, nan=-np.inf)

    return call


def own_is_highest(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Returns whether the highest score of each row is one of its own, and above all others.

    Args:
      scores: `[I, D]`.
      own: which are a row's own, bool `[I, D]`.
    """
    best, other = (np.where(of, scores, -np.inf).max(axis=1) for of in (own, ~own))
    return best > other
