"""Scores of images and captions by a model of its own, to re-rank samples."""

import dataclasses
from typing import Any

import jax
import numpy as np

from genjax.core.protocols import CaptionScores, family_name
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
        low, high = self.family.traits(self.config).sample_range
        return self.family.caption_scores(self.config, variables, images * (high - low) + low, text)


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
