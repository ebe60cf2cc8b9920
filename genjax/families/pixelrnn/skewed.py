"""Shifting, skewing and joining maps.

In a skewed map the pixels of a diagonal are a column: van den Oord et al. 2016, "Pixel Recurrent
Neural Networks" (arXiv:1601.06759), section 3.2.
"""

import jax
import jax.numpy as jnp


def shift(x: jax.Array, by: int, axis: int, fill: jax.Array | None = None) -> jax.Array:
    """Shifts by one entry along an axis, `by` 1 or -1; the new entry is `fill`, or zeros."""
    if fill is None:
        fill = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
    n = x.shape[axis]
    if by > 0:
        return jnp.concatenate([fill, jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    return jnp.concatenate([jax.lax.slice_in_dim(x, 1, n, axis=axis), fill], axis)


def skew(x: jax.Array) -> jax.Array:
    """Shifts row r by r columns to the right: `[B, H, W, F] -> [B, H, W + H - 1, F]`."""
    b, h, w, f = x.shape
    flat = jnp.pad(x, ((0, 0), (0, 0), (0, h), (0, 0))).reshape(b, h * (w + h), f)
    return flat[:, : h * (w + h - 1)].reshape(b, h, w + h - 1, f)


def unskew(x: jax.Array, width: int) -> jax.Array:
    """Inverts `skew`: `[B, H, W + H - 1, F] -> [B, H, W, F]`."""
    b, h, s, f = x.shape
    flat = jnp.pad(x.reshape(b, h * s, f), ((0, 0), (0, h), (0, 0)))
    return flat.reshape(b, h, s + 1, f)[:, :, :width]


def join_images(x: jax.Array, count: int) -> jax.Array:
    """Joins images side by side: `[B, H, W, F] -> [B / count, H, count W, F]`."""
    b, h, w, f = x.shape
    return x.reshape(-1, count, h, w, f).swapaxes(1, 2).reshape(b // count, h, count * w, f)


def split_images(x: jax.Array, count: int) -> jax.Array:
    """Inverts `join_images`."""
    b, h, w, f = x.shape
    return x.reshape(b, h, count, -1, f).swapaxes(1, 2).reshape(b * count, h, w // count, f)
