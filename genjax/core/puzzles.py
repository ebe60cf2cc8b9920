"""Jigsaw puzzles: images as pieces, orders of the pieces, and costs of neighbouring borders.

Pieces and positions are numbered row by row from 0. An order `[B, N]` has the position of every
piece: in the image, piece k belongs at position `order[b, k]`. With missing pieces, `present`
`[B, N]` is False for entries of `pieces` that are empty; their positions are those left over.
"""

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks

Grid = tuple[int, int]  # rows and columns of pieces
Array = TypeVar("Array", jax.Array, np.ndarray)
TEMPERATURE = 0.2  # of the predictions of partners
LEVEL = 2 / 255  # between neighbouring levels of images in [-1, 1]


def cut(images: Array, grid: Grid) -> Array:
    """Cuts images into pieces, `[B, H, W, C] -> [B, N, H / rows, W / columns, C]`.

    Raises:
      ValueError: the sides are no multiples of the numbers of pieces.
    """
    (rows, columns), (batch, height, width, channels) = grid, images.shape
    if height % rows or width % columns:
        raise ValueError(
            f"images of {height}x{width} cannot be cut into {rows}x{columns} equal pieces; crop or"
            f" resize them to {height - height % rows}x{width - width % columns}."
        )
    pieces = images.reshape(batch, rows, height // rows, columns, width // columns, channels)
    return pieces.swapaxes(2, 3).reshape(batch, rows * columns, *pieces.shape[2::2], channels)


def join(pieces: Array, grid: Grid) -> Array:
    """Joins pieces in the order of their positions, `[B, N, h, w, C] -> [B, H, W, C]`."""
    (rows, columns), (batch, _, height, width, channels) = grid, pieces.shape
    images = pieces.reshape(batch, rows, columns, height, width, channels).swapaxes(2, 3)
    return images.reshape(batch, rows * height, columns * width, channels)


def random_orders(key: jax.Array, batch: int, pieces: int) -> jax.Array:
    """Draws orders uniformly from all permutations, int32 `[B, N]`."""
    keys = jax.random.split(key, batch)
    return jax.vmap(lambda k: jax.random.permutation(k, pieces))(keys).astype(jnp.int32)


def shuffle(pieces: jax.Array, order: jax.Array) -> jax.Array:
    """Puts the piece of position `order[b, k]` at index k, `[B, N, ...]` -> the same."""
    return jax.vmap(lambda x, o: x[o])(pieces, order)


def restore(pieces: jax.Array, order: jax.Array) -> jax.Array:
    """Puts piece k at position `order[b, k]`; the inverse of `shuffle`."""
    return jax.vmap(lambda x, o: jnp.zeros_like(x).at[o].set(x))(pieces, order)


def erode(pieces: jax.Array, gap: jax.Array | int) -> jax.Array:
    """Replaces borders by copies of what is inside, `[B, N, h, w, C]` -> the same.

    Neighbouring pieces then show pixels that are `gap` pixels further apart in the image, as if a
    strip of that width had been lost between them.

    Args:
      pieces: of `cut`.
      gap: pixels, less than half of a side; `[]` or `[B]`.
    """
    gap = jnp.broadcast_to(jnp.asarray(gap), pieces.shape[:1])

    def clipped(size: int, gap: jax.Array) -> jax.Array:
        return jnp.clip(jnp.arange(size), (gap + 1) // 2, size - 1 - gap // 2)

    def one(x: jax.Array, gap: jax.Array) -> jax.Array:
        return x[:, clipped(x.shape[1], gap)][:, :, clipped(x.shape[2], gap)]

    return jax.vmap(one)(pieces, gap)


def erode_at_random(key: jax.Array, pieces: jax.Array, gaps: Sequence[int]) -> jax.Array:
    """Erodes the pieces of each puzzle by one of `gaps`, drawn uniformly; see `erode`."""
    if not max(gaps):
        return pieces
    drawn = jax.random.randint(key, (len(pieces),), 0, len(gaps))
    return erode(pieces, jnp.asarray(gaps)[drawn])


def border_costs(pieces: jax.Array) -> jax.Array:
    """Computes how unlike the borders of neighbours would be, `[B, N, h, w, C] -> [B, 2, N, N]`.

    Entry `[b, 0, i, j]` is the mean squared difference between the right column of piece i and the
    left column of piece j, `[b, 1, i, j]` that between the bottom row of i and the top row of j. A
    monotone function of it is the PSNR of Li et al. 2021, "JigsawGAN" (arXiv:2101.07555), section
    3.2. The diagonals are not special.
    """

    def costs(first: jax.Array, second: jax.Array) -> jax.Array:
        difference = first[:, :, None] - second[:, None]  # [B, N, N, side, C]
        return (difference**2).mean((-2, -1))

    right = costs(pieces[:, :, :, -1], pieces[:, :, :, 0])
    below = costs(pieces[:, :, -1], pieces[:, :, 0])
    return jnp.stack([right, below], axis=1)


def partner_costs(costs: jax.Array) -> jax.Array:
    """Computes how unlikely two borders are to be neighbours, `[B, 2, N, N]` -> the same in [0, 1].

    It is 1 minus the mean of two probabilities, of each border as the partner of the other, by
    softmax of -cost / temperature over the borders of the other pieces. The temperature is
    `TEMPERATURE` times (m + `LEVEL`^2), where m is the mean cost of a border and its best partner.
    `genjax.evals.border_solvers.normalised_costs` is the same on the host, with missing pieces.

    Args:
      costs: of `border_costs`, right and below.
    """
    known = jnp.where(np.eye(costs.shape[-1], dtype=bool)[None, None], jnp.inf, costs)
    best = known.min(-1).mean((-2, -1))
    logits = -known / (TEMPERATURE * (best + LEVEL**2))[:, None, None, None]
    return 1 - (jax.nn.softmax(logits, axis=-1) + jax.nn.softmax(logits, axis=-2)) / 2


def check_pieces(
    family: str,
    shape: Sequence[int],
    grid: Grid,
    pieces: jax.Array,
    present: jax.Array | None = None,
) -> None:
    """Checks pieces of images: float32 `[B, N, H / rows, W / columns, C]`.

    Args:
      family: name, for the message.
      shape: of the images, (H, W, C).
      grid: rows and columns of pieces.
      pieces: array.
      present: bool `[B, N]`, or None.

    Raises:
      ValueError: a shape or dtype differs.
    """
    (rows, columns), (height, width, channels) = grid, shape
    expected = (rows * columns, height // rows, width // columns, channels)
    if tuple(getattr(pieces, "shape", ()))[1:] != expected or pieces.dtype != jnp.float32:
        raise ValueError(
            f"{family}: pieces must be float32[B, {', '.join(map(str, expected))}], got"
            f" {checks.describe(pieces)}; cut images in [-1, 1] with genjax.core.puzzles.cut."
        )
    if present is not None and (present.shape != pieces.shape[:2] or present.dtype != bool):
        raise ValueError(
            f"{family}: `present` must be bool[{pieces.shape[0]}, {pieces.shape[1]}], got"
            f" {checks.describe(present)}; it has one entry per piece."
        )
