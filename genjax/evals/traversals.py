"""Latents for pictures of a latent space: traversals, interpolations and a grid.

Each function returns latents `[N, Z]` float32, for the mean of a decoder or a generator.
"""

from collections.abc import Sequence

import numpy as np
import scipy

from genjax import checks


def traversal(start: np.ndarray, units: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Varies one unit at a time: rows are units, columns are values, `[U * V, Z]`.

    Args:
      start: `[Z]`, values of the other units.
      units: units in the order of the rows.
      values: `[V]` that each unit is set to, or `[U, V]` with values per unit.

    Raises:
      ValueError: a unit is out of range, or the values do not fit.
    """
    start, values = np.asarray(start, np.float32), np.asarray(values, np.float32)
    index = np.asarray(units, int)
    if start.ndim != 1 or index.ndim != 1 or not len(index):
        raise ValueError(
            f"start must be [Z] and units a non-empty list, got {start.shape} and {index}."
        )
    if index.min() < 0 or index.max() >= len(start):
        raise ValueError(f"units must be from 0 to {len(start) - 1}, got {index.tolist()}.")
    if values.ndim == 1:
        values = np.broadcast_to(values[None], (len(index), len(values)))
    if values.ndim != 2 or len(values) != len(index):
        raise ValueError(
            f"values must be [V] or [{len(index)}, V], a row per unit, got {list(values.shape)}."
        )
    z = np.tile(start, (*values.shape, 1))  # [U, V, Z]
    z[np.arange(len(index))[:, None], np.arange(values.shape[1])[None], index[:, None]] = values
    return z.reshape(-1, len(start))


def interpolation(
    a: np.ndarray, b: np.ndarray, columns: int, *, spherical: bool = True
) -> np.ndarray:
    """Interpolates from rows of `a` to rows of `b`: rows are pairs, `[N * columns, Z]`.

    Samples of N(0, I) in many dimensions concentrate near a sphere of radius sqrt(Z). Great circles
    stay on it, straight lines do not (White 2016, "Sampling Generative Networks", section 2.1). The
    line is used where latents are parallel, opposite or zero.

    `a` and `b` are `[N, Z]`, the first and the last of the `columns`; `spherical` follows the great
    circle instead of the line.

    Raises:
      ValueError: the shapes differ, or `columns` is below 2.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"a and b must have the same shape [N, Z], got {list(a.shape)} and {list(b.shape)}."
        )
    if columns < 2:
        raise ValueError(f"columns must be 2 or more, got {columns}.")
    t = np.linspace(0.0, 1.0, columns)[None, :, None]
    a, b = a[:, None], b[:, None]  # [N, 1, Z]
    line = (1 - t) * a + t * b
    if spherical:
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosine = (a * b).sum(-1) / np.where(lengths > 0, lengths, 1)
        angle = np.arccos(np.clip(cosine, -1, 1))[..., None]
        valid = (lengths[..., None] > 0) & (np.sin(angle) > 1e-3)
        angle = np.where(valid, angle, 1)
        circle = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
        line = np.where(valid, circle, line)
    return line.reshape(-1, a.shape[-1]).astype(np.float32)


def manifold(side: int) -> np.ndarray:
    """Returns a grid of two-dimensional latents at quantiles of N(0, I), `[side * side, 2]`.

    The first unit increases to the right, the second upwards; the first row is the top. The
    quantiles are the midpoints of `side` equal parts of (0, 1).

    Source: Kingma and Welling 2013, figure 4.

    >>> [[round(float(u), 4) for u in z] for z in manifold(2)]
    [[-0.6745, 0.6745], [0.6745, 0.6745], [-0.6745, -0.6745], [0.6745, -0.6745]]
    """
    checks.positive(side=side)
    values = scipy.special.ndtri((np.arange(side) + 0.5) / side)
    across, up = np.meshgrid(values, values[::-1])
    return np.stack([across, up], axis=-1).reshape(-1, 2).astype(np.float32)
