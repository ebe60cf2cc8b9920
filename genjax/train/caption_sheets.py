"""Sheets of a text-to-image run: samples of fixed captions, in which wrong samples are marked."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data as genjax_data
from genjax.data.dataset import CaptionCheck
from genjax.evals.caption_texts import first_captions
from genjax.train.caption_grids import fitting_captions, save_caption_grid
from genjax.train.run_config import Run
from genjax.train.sheets import sheet_split, spaced_rows

EACH = 4
"""Samples per caption, at most; fewer where a sheet would have fewer captions than that."""


@dataclasses.dataclass(frozen=True)
class CaptionSheet:
    """Samples of some captions.

    Attributes:
      captions: the captions.
      text: tokens of the caption of each sample, int32 `[n, T]`, sorted by caption.
      limits: lowest and highest value of a sample.
      levels: number of levels of a pixel in the data; 0 for real numbers.
      check: finds wrong samples; None for data without a rule.
    """

    captions: tuple[str, ...]
    text: np.ndarray
    limits: tuple[float, float]
    levels: int
    check: CaptionCheck | None

    def draw(self, run: Run, family: Any, variables: Any, key: jax.Array) -> jax.Array:
        """Draws the samples, `[n, *shape]`."""
        text = jnp.asarray(self.text)
        return family.sample(run.model, variables, key, len(self.text), text=text)

    def wrong(self, images: np.ndarray) -> np.ndarray | None:
        """Returns the indices of samples that do not match their caption; None without `check`."""
        if self.check is None:
            return None
        (low, high), levels = self.limits, self.levels
        x = (images - low) / (high - low) * (levels - 1) if levels else images
        each = -(-len(images) // len(self.captions))
        captions = np.repeat(self.captions, each)[: len(images)]
        return np.flatnonzero(~np.asarray(self.check.matches(x, captions)))

    def save(self, path: pathlib.Path, images: np.ndarray) -> np.ndarray:
        """Writes the samples below their captions; returns the image, uint8 `[H, W, 3]`."""
        return save_caption_grid(
            path, images, self.captions, *self.limits, wrong=self.wrong(images)
        )


def caption_sheet(run: Run, family: Any, dataset: genjax_data.Dataset, n: int) -> CaptionSheet:
    """Returns a sheet of n samples, of the captions of evenly spaced examples.

    The examples are those of the validation split, else of test, else of train. The caption of an
    image with several is the first. Samples that do not match their caption are marked where
    `Dataset.caption_check` decides it by a rule, as for `scenes`.

    Args:
      run: settings.
      family: module that implements `TextToImage`.
      dataset: the run's data, with entries `caption` and `text`.
      n: number of samples; there are fewer if images are large, or captions few.
    """
    split = sheet_split(dataset)
    each = min(EACH, math.isqrt(n))
    length = dataset.length(split)
    rows = spaced_rows(length, min(-(-n // each), length))
    found = dataset.read(split, rows, ("caption", "text"))
    captions = first_captions(np.reshape(found["caption"], (len(rows), -1))).tolist()
    captions = captions[: fitting_captions(run.model.shape, captions, each)]
    text = found["text"][: len(captions), 0].astype(np.int32)
    check = dataset.caption_check
    if tuple(run.model.shape) != tuple(dataset.shape):  # resized images cannot be read back
        check = None
    return CaptionSheet(
        captions=tuple(captions),
        text=np.repeat(text, each, axis=0)[:n],
        limits=family.traits(run.model).sample_range,
        levels=dataset.levels,
        check=check if check is not None and check.parts is None else None,
    )
