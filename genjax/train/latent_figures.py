"""Walks through latents or noise, drawn as grids."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from genjax import evals
from genjax.train.sample_grids import save_grid


@dataclasses.dataclass(frozen=True)
class LatentFigures:
    """Where pictures go and what makes them.

    out: folder.
    decode: `(z [N, Z], rows [N]) -> images [N, *shape]`, a decoder's mean or a generator; `rows`
      says whose condition, such as a label, goes with each z.
    low, high: what is black and what is white.
    """

    out: pathlib.Path
    decode: Callable[[np.ndarray, np.ndarray], np.ndarray]
    low: float
    high: float

    def save(self, name: str, images: np.ndarray, columns: int) -> pathlib.Path:
        """Write `NAME.png`, so many images a row."""
        path = self.out / f"{name}.png"
        save_grid(path, images, self.low, self.high, columns)
        return path

    def reconstructions(self, x: np.ndarray, z: np.ndarray) -> pathlib.Path:
        """Images in even rows, below each its reconstruction; ten a row."""
        made = self.decode(z, np.arange(len(z)))
        columns = min(10, len(x))
        short = -len(x) % columns  # the last row is filled up, so that pairs stay one below another
        pairs = [np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for a in (x, made)]
        rows = [a.reshape(-1, columns, *a.shape[1:]) for a in pairs]  # [R, columns, *shape]
        both = np.stack(rows, axis=1)
        return self.save("reconstructions", both.reshape(-1, *x.shape[1:]), columns)

    def traversals(
        self, z: np.ndarray, row: int, units: np.ndarray, values: np.ndarray
    ) -> pathlib.Path:
        """One row a unit, from the z of one image; `values` as of `evals.traversal`."""
        walk = evals.traversal(z[row], units.tolist(), values)
        images = self.decode(walk, np.full(len(walk), row))
        return self.save("traversals", images, np.shape(values)[-1])

    def interpolations(self, z: np.ndarray, columns: int, spherical: bool) -> pathlib.Path:
        """One row a pair of neighbours in `z`, under the condition of the first."""
        pairs = len(z) // 2
        walk = evals.interpolation(
            z[0 : 2 * pairs : 2], z[1 : 2 * pairs : 2], columns, spherical=spherical
        )
        images = self.decode(walk, np.repeat(2 * np.arange(pairs), columns))
        return self.save("interpolations", images, columns)

    def manifold(self, side: int, row: int) -> pathlib.Path:
        """The square of two-dimensional latents, under the condition of one image."""
        walk = evals.manifold(side)
        return self.save("manifold", self.decode(walk, np.full(len(walk), row)), side)
