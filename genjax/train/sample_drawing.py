"""What a run shows of its model at a step: samples, or translations of fixed images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from genjax.core import sample_images
from genjax.core.protocols import Translator
from genjax.data import Dataset
from genjax.train.load_run import evaluation_variables
from genjax.train.run_config import Run
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
    if isinstance(family, Translator):
        sheet = translation_sheet(run, family, dataset)
        draw, titles = sheet.draw, sheet.titles
    else:
        titles = ()

        def draw(variables: Any, key: jax.Array) -> jax.Array:
            return sample_images(family, run.model, variables, key, run.train.samples)

    return SampleDrawer(
        jax.jit(
            lambda v, key: draw(evaluation_variables(run, family, v), key), out_shardings=sharding
        ),
        titles,
    )
