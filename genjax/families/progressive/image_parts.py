"""Parts of the generator's first maps, each made from a slice of the noise of its own."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.checks import NonNegativeInt, PositiveInt

Rectangle = tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt]
"""Top row, left column, rows and columns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Rectangles of the first maps that a slice of the noise makes, each by a dense layer."""

    name: str
    """Name of the part, a Python identifier, in parameters and results."""
    latent: PositiveInt
    """Dimensions of its noise."""
    rectangles: tuple[Rectangle, ...]
    """Top row, left column, rows and columns of each."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if not self.name.isidentifier():
            raise ValueError(
                f"the name of a part must be letters, digits and underscores, got {self.name!r}."
            )
        if not self.rectangles:
            raise ValueError(f"part {self.name} has no rectangles; give it at least one.")


def check_parts(parts: Sequence[Part], side: int, latent: int) -> None:
    """Checks that parts divide the first maps and the noise.

    Args:
      parts: at least one.
      side: of the first maps.
      latent: dimensions of the noise.

    Raises:
      ValueError: two parts have one name, a rectangle is outside the maps, rectangles overlap, a
        cell is in none, or the noise of the parts has other dimensions in all.
    """
    names = [part.name for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two parts have the name {twice[0]!r}; names must differ.")
    owner = np.full((side, side), -1)
    for i, part in enumerate(parts):
        for top, left, rows, columns in part.rectangles:
            what = f"rectangle ({top}, {left}, {rows}, {columns}) of part {part.name}"
            if top + rows > side or left + columns > side:
                raise ValueError(
                    f"{what} ends at row {top + rows} and column {left + columns}, outside the"
                    f" {side}x{side} first maps; move it, or set a larger `smallest`."
                )
            taken = owner[top : top + rows, left : left + columns]
            if (taken >= 0).any():
                other = names[taken[taken >= 0][0]]
                raise ValueError(
                    f"{what} overlaps part {other}; every cell of the {side}x{side} first maps must"
                    f" be in one rectangle."
                )
            taken[:] = i
    if (owner < 0).any():
        row, column = np.argwhere(owner < 0)[0]
        raise ValueError(
            f"{(owner < 0).sum()} cells of the {side}x{side} first maps, such as row {row} and"
            f" column {column}, are in no part; add rectangles that cover them."
        )
    total = sum(part.latent for part in parts)
    if total != latent:
        raise ValueError(
            f"the parts have {total} dimensions of noise in all, and `latent` is {latent}; set"
            f" `latent` to {total}."
        )


def cells_of_parts(parts: Sequence[Part], side: int) -> np.ndarray:
    """Returns the cells of each part, bool `[K, side, side]`."""
    masks = np.zeros((len(parts), side, side), bool)
    for mask, part in zip(masks, parts, strict=True):
        for top, left, rows, columns in part.rectangles:
            mask[top : top + rows, left : left + columns] = True
    return masks


def split_noise(parts: Sequence[Part], z: jax.Array) -> list[jax.Array]:
    """Splits noise `[B, Z]` into that of each part, `[B, Z_k]`."""
    ends = np.cumsum([part.latent for part in parts])
    return jnp.split(z, ends[:-1].tolist(), axis=-1)
