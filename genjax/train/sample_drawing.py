"""What a run shows of its model at a step: samples, or a sheet of what it does with images."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from genjax.core import sample_images
from genjax.core.protocols import PuzzleSolver, Sampler, TextToImage, Translator
from genjax.data import Dataset
from genjax.train.caption_sheets import CaptionSheet, caption_sheet
from genjax.train.load_run import evaluation_variables
from genjax.train.puzzle_sheets import puzzle_sheet
from genjax.train.run_config import Run
from genjax.train.sample_grids import REAL, fitting, save_grid
from genjax.train.sheets import sheet_images, sheet_split, spaced_rows
from genjax.train.translation_sheets import translation_sheet


@dataclasses.dataclass(frozen=True)
class SampleDrawer:
    """Draws the images of a grid.

    Attributes:
      draw: `draw(variables, key)` returns images `[N, *shape]`, row by row.
      real: `real()` returns as many evenly spaced examples of a split, `[N, *shape]`.
      limits: lowest and highest value of an image.
      titles: of the columns of a sheet; none for samples.
      captions: sheet of a text-to-image run.
    """

    draw: Callable[[Any, jax.Array], jax.Array]
    real: Callable[[], np.ndarray]
    limits: tuple[float, float]
    titles: tuple[str, ...] = ()
    captions: CaptionSheet | None = None

    def save(self, path: pathlib.Path, images: np.ndarray, **stage: Any) -> np.ndarray:
        """Writes the grid as PNG; returns it, uint8 `[H, W, 3]`.

        `stage` are `stage` and `alpha` of networks that grow.
        """
        if self.captions is not None:
            return self.captions.save(path, images)
        return save_grid(path, images, *self.limits, titles=self.titles, **stage)

    def save_real(self, folder: pathlib.Path) -> None:
        """Writes real images to a run's `samples/`, once; a sheet has them already."""
        path = folder / REAL
        if path.exists() or self.titles or self.captions is not None:
            return
        save_grid(path, self.real(), *self.limits)


def draws_images(family: Any) -> bool:
    """Returns whether a family has something to show; one that only scores captions has not."""
    return isinstance(family, (Sampler, Translator, PuzzleSolver))


def sample_drawer(run: Run, family: Any, dataset: Dataset, sharding: Any = None) -> SampleDrawer:
    """Returns the compiled drawer of a run; the same key draws from the same noise at every step.

    Args:
      run: settings.
      family: its module.
      dataset: its data.
      sharding: of the images.
    """
    sheet, captions = None, None
    if isinstance(family, Translator):
        sheet = translation_sheet(run, family, dataset)
    elif isinstance(family, PuzzleSolver):
        sheet = puzzle_sheet(run, family, dataset)
    elif isinstance(family, TextToImage):
        captions = caption_sheet(run, family, dataset, run.train.samples)

    shape, n = run.model.shape, run.train.samples
    n = fitting(n, shape) if len(shape) == 3 else n

    def draw(variables: Any, key: jax.Array, batch: Any) -> jax.Array:
        variables = evaluation_variables(run, family, variables)
        if sheet is not None:
            return sheet.draw(variables, batch)
        if captions is not None:
            return captions.draw(run, family, variables, key)
        return sample_images(family, run.model, variables, key, n)

    compiled = jax.jit(draw, out_shardings=sharding)
    batch, titles = (sheet.batch, sheet.titles) if sheet else (None, ())
    limits = family.traits(run.model).sample_range

    def real() -> np.ndarray:
        split = sheet_split(dataset)
        length = dataset.length(split)
        rows = {"x": spaced_rows(length, min(n, length))}
        return sheet_images(run, dataset, split, rows)["x"]

    return SampleDrawer(lambda v, key: compiled(v, key, batch), real, limits, titles, captions)
