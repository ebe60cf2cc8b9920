"""What a run shows of its model at a step: samples, or a sheet of what it does with images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from genjax.core import sample_images
from genjax.core.protocols import PuzzleSolver, Translator
from genjax.data import Dataset
from genjax.train.load_run import evaluation_variables
from genjax.train.puzzle_sheets import puzzle_sheet
from genjax.train.run_config import Run
from genjax.train.sample_grids import fitting
from genjax.train.translation_sheets import translation_sheet


@dataclasses.dataclass(frozen=True)
class SampleDrawer:
    """Draws the images of a grid.

    Attributes:
      draw: `draw(variables, key)` returns images `[N, *shape]`, row by row.
      titles: of the columns of a sheet; none for samples.
    """

    draw: Callable[[Any, jax.Array], jax.Array]
    titles: tuple[str, ...] = ()


def sample_drawer(run: Run, family: Any, dataset: Dataset, sharding: Any = None) -> SampleDrawer:
    """Returns the compiled drawer of a run; the same key draws from the same noise at every step.

    Args:
      run: settings.
      family: its module.
      dataset: its data.
      sharding: of the images.
    """
    sheet = None
    if isinstance(family, Translator):
        sheet = translation_sheet(run, family, dataset)
    elif isinstance(family, PuzzleSolver):
        sheet = puzzle_sheet(run, family, dataset)

    shape, n = run.model.shape, run.train.samples
    n = fitting(n, shape) if len(shape) == 3 else n

    def draw(variables: Any, key: jax.Array, batch: Any) -> jax.Array:
        variables = evaluation_variables(run, family, variables)
        if sheet is not None:
            return sheet.draw(variables, batch)
        return sample_images(family, run.model, variables, key, n)

    compiled = jax.jit(draw, out_shardings=sharding)
    batch, titles = (sheet.batch, sheet.titles) if sheet else (None, ())
    return SampleDrawer(lambda variables, key: compiled(variables, key, batch), titles)
