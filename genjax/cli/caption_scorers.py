"""Scores of drawn images, by a ranker and by the family that drew them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.cli.drawn_captions import encode_captions
from genjax.core.protocols import CaptionScores
from genjax.train.named_runs import load_ranker
from genjax.train.run_config import Run


class CaptionScorer:
    """Scores images of captions by a family that implements `CaptionScores`."""

    def __init__(
        self,
        family: Any,
        config: Any,
        variables: Any,
        text: np.ndarray,
        limits: tuple[float, float],
    ):
        """Prepares a scorer.

        Args:
          family: module that implements `CaptionScores`.
          config: its Config.
          variables: its variables.
          text: tokens of the S captions, int32 `[S, T]`.
          limits: lowest and highest value of the images; they are mapped to the family's range.
        """
        self.text, self.variables = text, variables
        (low, high), (least, most) = limits, family.traits(config).sample_range

        def score(variables: Any, images: jax.Array, text: jax.Array) -> jax.Array:
            images = jnp.clip((images - low) / (high - low), 0, 1) * (most - least) + least
            return family.caption_scores(config, variables, images, text)

        self._score = jax.jit(score)

    def __call__(self, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Returns scores, float64 `[B]`, of images `[B, *shape]` and indices of their captions."""
        return np.asarray(self._score(self.variables, images, self.text[captions]), np.float64)


def own_scorer(run: Run, family: Any, variables: Any, text: np.ndarray) -> CaptionScorer:
    """Returns the scorer by the run that draws.

    Raises:
      ValueError: its family does not score captions.
    """
    if not isinstance(family, CaptionScores):
        raise ValueError(
            f"{run.family} has no density of images given captions; rank by --ranker RUN instead."
        )
    limits = family.traits(run.model).sample_range
    return CaptionScorer(family, run.model, variables, text, limits)


def ranking_scorer(
    run: Run, family: Any, texts: Sequence[str], source: str, workdir: pathlib.Path
) -> CaptionScorer:
    """Returns the scorer by a ranker.

    Args:
      run: settings of the run that draws.
      family: its family.
      texts: the captions.
      source: folder of the ranker's run, or the name of its experiment; "" is the ranker in the
        settings of `run`.
      workdir: folder of the run that draws.

    Raises:
      ValueError: there is no such run; it does not score captions, or not of images of this shape;
        or its tokenizer cannot encode a caption.
    """
    train = dataclasses.replace(run.train, ranker=source or run.train.ranker)
    named = dataclasses.replace(run, train=train)
    ranker, config, variables, tokenizer = load_ranker(named, workdir.absolute().parent)
    whose = f"the ranker {train.ranker}"
    text = encode_captions(tokenizer, texts, ranker.text_spec(config), whose)
    limits = family.traits(run.model).sample_range
    return CaptionScorer(ranker, config, variables, text, limits)
