"""Sheets of a puzzle solver's run: fixed images of a split, shuffled, restored and original."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data as genjax_data
from genjax.core import named_key
from genjax.core.puzzle_orders import draw_orders, find_orders, misplaced
from genjax.core.puzzles import Grid, cut, join, restore, shuffle
from genjax.train.run_config import Run
from genjax.train.sheets import Sheet, row_by_row, sheet_images, sheet_rows, sheet_split

FRAME = (1.0, 0.0, 0.5)
"""Colour of the frames of wrong pieces: red, green, blue in [0, 1]."""
LEAST = 16
"""Pixels of the sides of a piece on a sheet, at least, so that a frame leaves most of it."""


def puzzle_sheet(run: Run, family: Any, dataset: genjax_data.Dataset) -> Sheet:
    """Returns the sheet of a run, of at most `train.samples` images but at least one row.

    The examples are evenly spaced over the validation split, else test, else train, and their
    orders are the same at every step. Columns are the shuffled pieces, the pieces at the positions
    found, where wrong ones are framed, and the original; and before the original the image that a
    family with `reassemble(config, variables, pieces)` generates.

    Args:
      run: settings.
      family: module that implements `PuzzleSolver`.
      dataset: the run's data.
    """
    grid, split = family.grid(run.model), sheet_split(dataset)
    generates = hasattr(family, "reassemble")
    titles = ("shuffled", "restored", *(("generated",) if generates else ()), "original")
    batch = sheet_images(run, dataset, split, sheet_rows(run, dataset, split, ("x",), len(titles)))
    key = named_key(jax.random.key(run.seed), 0, "sheet orders")
    batch["order"] = np.asarray(draw_orders(family, run.model, key, len(batch["x"])))
    low, high = family.traits(run.model).sample_range
    scale = -(-LEAST // min(side // n for side, n in zip(run.model.shape[:2], grid, strict=True)))

    def draw(variables: Any, batch: Any) -> jax.Array:
        x, pieces = batch["x"], cut(batch["x"], grid)
        shuffled = shuffle(pieces, batch["order"])
        restored = restore(shuffled, find_orders(family, run.model, variables, shuffled))
        columns = [join(shuffled, grid), join(restored, grid), x]
        if generates:
            columns.insert(2, family.reassemble(run.model, variables, shuffled))
        columns = [_enlarged(column, scale) for column in columns]
        colour = low + (high - low) * jnp.asarray(FRAME)
        columns[1] = framed(columns[1], grid, misplaced(restored, pieces), colour)
        return row_by_row(columns)

    return Sheet(titles, batch, draw)


def framed(images: jax.Array, grid: Grid, wrong: jax.Array, colour: jax.Array) -> jax.Array:
    """Draws frames around pieces, `[B, H, W, 3]` -> the same.

    Args:
      images: of pieces by position.
      grid: rows and columns of pieces.
      wrong: whether a position is framed, bool `[B, N]`.
      colour: `[3]`, in the range of the images.
    """
    pieces = cut(images, grid)
    height, width = pieces.shape[2:4]
    thick = max(1, min(height, width) // 12)
    inside = np.zeros((1, 1, height, width, 1), bool)
    inside[:, :, thick:-thick, thick:-thick] = True
    kept = ~wrong[:, :, None, None, None] | inside
    return join(jnp.where(kept, pieces, jnp.broadcast_to(colour, pieces.shape)), grid)


def _enlarged(images: jax.Array, scale: int) -> jax.Array:
    """Repeats pixels, and the channel of grey images: `[B, H, W, C] -> [B, sH, sW, 3]`."""
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    return images.repeat(3, axis=3) if images.shape[3] == 1 else images[..., :3]
