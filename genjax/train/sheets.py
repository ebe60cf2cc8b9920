"""Sheets of images: fixed examples of a split, one per row, beside what a model makes of them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data as genjax_data
from genjax.core import named_key
from genjax.train.run_config import Run
from genjax.train.splits import batch_transform

EVALUATED_SPLITS = ("validation", "test", "train")  # in order of preference


@dataclasses.dataclass(frozen=True)
class Sheet:
    """One example per row, on a page of images.

    Attributes:
      titles: of the columns. The first one has the inputs, the second what the model makes of them.
      batch: images and other arrays that do not depend on the variables.
      draw: `draw(variables, batch)` returns the images `[rows * columns, H, W, C]`, row by row.
    """

    titles: tuple[str, ...]
    batch: dict[str, np.ndarray]
    draw: Callable[[Any, Any], jax.Array]


def sheet_split(dataset: genjax_data.Dataset) -> str:
    """Returns the split whose examples are shown."""
    counts = dataset.counts()
    return next(name for name in EVALUATED_SPLITS if name in counts)


def sheet_rows(
    run: Run, dataset: genjax_data.Dataset, split: str, entries: Sequence[str], columns: int
) -> dict[str, np.ndarray]:
    """Returns evenly spaced rows of each entry, as many as make `train.samples` images."""
    lengths = {name: dataset.length(split, name) for name in entries}
    n = min(max(1, run.train.samples // columns), *lengths.values())
    return {name: spaced_rows(length, n) for name, length in lengths.items()}


def spaced_rows(length: int, n: int) -> np.ndarray:
    """Returns n evenly spaced numbers of `length` rows, from the first to the last, `[n]`."""
    return np.linspace(0, length - 1, n).round().astype(int)


def sheet_images(
    run: Run, dataset: genjax_data.Dataset, split: str, rows: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the transformed images of some rows of each entry."""
    read = {name: dataset.read(split, which, (name,))[name] for name, which in rows.items()}
    return transformed(run, dataset, split, read)


def transformed(
    run: Run, dataset: genjax_data.Dataset, split: str, images: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns images as the family takes them."""
    transform = batch_transform(run, dataset, training=False)
    out = transform(images, named_key(jax.random.key(run.seed), 0, f"sheet {split}"))
    return {name: np.asarray(image) for name, image in out.items()}


def row_by_row(columns: Sequence[Any]) -> jax.Array:
    """Joins columns `[N, *shape]` each to `[N * columns, *shape]`, one example after another."""
    return jnp.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
