"""Grids of images along paths through latents or noise."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from genjax import evals
from genjax.train.sample_grids import save_grid


@dataclasses.dataclass(frozen=True)
class LatentFigures:
    """Draws figures of latents.

    Attributes:
      out: folder.
      decode: `(z [N, Z], rows [N]) -> images [N, *shape]`, a decoder's mean or a generator; `rows`
        selects the example whose condition, such as a label, applies to each z.
      low: value drawn as black.
      high: value drawn as white.
    """

    out: pathlib.Path
    decode: Callable[[np.ndarray, np.ndarray], np.ndarray]
    low: float
    high: float

    def save(self, name: str, images: np.ndarray, columns: int) -> pathlib.Path:
        """Writes `NAME.png` with `columns` images per row."""
        path = self.out / f"{name}.png"
        save_grid(path, images, self.low, self.high, columns)
        return path

    def reconstructions(self, x: np.ndarray, z: np.ndarray) -> pathlib.Path:
        """Draws rows of up to ten images, each above a row of their reconstructions."""
        decoded = self.decode(z, np.arange(len(z)))
        columns = min(10, len(x))
        missing = -len(x) % columns  # fills up the last row, so that pairs stay aligned
        pairs = [np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for a in (x, decoded)]
        rows = [a.reshape(-1, columns, *a.shape[1:]) for a in pairs]  # [R, columns, *shape]
        both = np.stack(rows, axis=1)
        return self.save("reconstructions", both.reshape(-1, *x.shape[1:]), columns)

    def traversals(
        self, z: np.ndarray, row: int, units: np.ndarray, values: np.ndarray
    ) -> pathlib.Path:
        """Draws one row per unit from the z of one image; `values` as in `evals.traversal`."""
        path = evals.traversal(z[row], units.tolist(), values)
        images = self.decode(path, np.full(len(path), row))
        return self.save("traversals", images, np.shape(values)[-1])

    def interpolations(self, z: np.ndarray, columns: int, spherical: bool) -> pathlib.Path:
        """Draws one row per pair of adjacent rows of `z`, under the condition of the first."""
        pairs = len(z) // 2
        path = evals.interpolation(
            z[0 : 2 * pairs : 2], z[1 : 2 * pairs : 2], columns, spherical=spherical
        )
        images = self.decode(path, np.repeat(2 * np.arange(pairs), columns))
        return self.save("interpolations", images, columns)

    def manifold(self, side: int, row: int) -> pathlib.Path:
        """Draws the grid of two-dimensional latents, under the condition of one image."""
        path = evals.manifold(side)
        return self.save("manifold", self.decode(path, np.full(len(path), row)), side)
