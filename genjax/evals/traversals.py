"""Walks through a latent space: where to stand so that decoded pictures show what it holds.

These give latents, `[N, Z]` float32, for any function of latents that makes images: the mean of a
decoder, or a generator. Rows and columns of the pictures are said with each.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from genjax import checks


def traversal(start: np.ndarray, units: Sequence[int], values: np.ndarray) -> np.ndarray:
    """One unit after another moved alone: rows are units, columns values, `[U * V, Z]`.

    Args:
      start: `[Z]`, where the other units stay.
      units: in the order of the rows.
      values: `[V]` that a unit is set to, or `[U, V]`, each unit's own.

    Raises:
      ValueError: a unit is out of range, or the values do not fit.
    """
    start, values = np.asarray(start, np.float32), np.asarray(values, np.float32)
    moved = np.asarray(units, int)
    if start.ndim != 1 or moved.ndim != 1 or not len(moved):
        raise ValueError(f"start must be [Z] and units a list of some, got {start.shape}, {moved}.")
    if moved.min() < 0 or moved.max() >= len(start):
        raise ValueError(f"units must be from 0 to {len(start) - 1}, got {moved.tolist()}.")
    if values.ndim == 1:
        values = np.broadcast_to(values[None], (len(moved), len(values)))
    if values.ndim != 2 or len(values) != len(moved):
        raise ValueError(f"values must be [V], or a row a unit, got {list(values.shape)}.")
    z = np.tile(start, (*values.shape, 1))  # [U, V, Z]
    z[np.arange(len(moved))[:, None], np.arange(values.shape[1])[None], moved[:, None]] = values
    return z.reshape(-1, len(start))


def interpolation(
    a: np.ndarray, b: np.ndarray, columns: int, *, spherical: bool = True
) -> np.ndarray:
    """From each row of `a` to that of `b`: rows are pairs, columns steps, `[N * columns, Z]`.

    In many dimensions draws of N(0, I) lie near a sphere of radius sqrt(Z), and a straight line
    between two of them leads through its inside, where no draw ever is; the great circle stays
    among them (White 2016, "Sampling Generative Networks", section 2.1). Where the angle says
    nothing, between latents that are parallel, opposite or zero, the line is taken.

    Args:
      a: `[N, Z]`, the first column.
      b: `[N, Z]`, the last column.
      columns: 2 or more.
      spherical: along the great circle; else along the line.

    Raises:
      ValueError: the shapes differ, or there are fewer than two columns.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a and b must be [N, Z] alike, got {list(a.shape)} and {list(b.shape)}.")
    if columns < 2:
        raise ValueError(f"an interpolation needs 2 columns or more, got {columns}.")
    t = np.linspace(0.0, 1.0, columns)[None, :, None]
    a, b = a[:, None], b[:, None]  # [N, 1, Z]
    line = (1 - t) * a + t * b
    if spherical:
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosine = (a * b).sum(-1) / np.where(lengths > 0, lengths, 1)
        angle = np.arccos(np.clip(cosine, -1, 1))[..., None]
        usual = (lengths[..., None] > 0) & (np.sin(angle) > 1e-3)
        angle = np.where(usual, angle, 1)
        circle = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
        line = np.where(usual, circle, line)
    return line.reshape(-1, a.shape[-1]).astype(np.float32)


def manifold(side: int) -> np.ndarray:
    """A square of two-dimensional latents at even quantiles of N(0, I): `[side * side, 2]`.

    The first unit rises to the right, the second upwards, as in a plot: the first row is the top.
    Quantiles are the middles of `side` equal parts of (0, 1).

    Source: Kingma and Welling 2013, figure 4.

    >>> [[round(float(u), 4) for u in z] for z in manifold(2)]
    [[-0.6745, 0.6745], [0.6745, 0.6745], [-0.6745, -0.6745], [0.6745, -0.6745]]
    """
    checks.positive(side=side)
    values = ndtri((np.arange(side) + 0.5) / side)
    across, up = np.meshgrid(values, values[::-1])
    return np.stack([across, up], axis=-1).reshape(-1, 2).astype(np.float32)
