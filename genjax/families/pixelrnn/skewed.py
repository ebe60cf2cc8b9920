"""Maps moved about: by a pixel, a row further than the last, and side by side.

Van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), section 3.2: in a
skewed map the pixels of a diagonal are a column.
"""

import jax
import jax.numpy as jnp


def shifted(x: jax.Array, by: int, axis: int, fill: jax.Array | None = None) -> jax.Array:
    """`x` moved along an axis, zeros or `fill` (one entry of that axis) where nothing came from."""
    if fill is None:
        fill = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
    n = x.shape[axis]
    if by > 0:
        return jnp.concatenate([fill, jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    return jnp.concatenate([jax.lax.slice_in_dim(x, 1, n, axis=axis), fill], axis)


def skewed(x: jax.Array) -> jax.Array:
    """Row r moved r columns to the right: `[B, H, W, F] -> [B, H, W + H - 1, F]`."""
    b, h, w, f = x.shape
    flat = jnp.pad(x, ((0, 0), (0, 0), (0, h), (0, 0))).reshape(b, h * (w + h), f)
    return flat[:, : h * (w + h - 1)].reshape(b, h, w + h - 1, f)


def unskewed(x: jax.Array, width: int) -> jax.Array:
    """The way back: `[B, H, W + H - 1, F] -> [B, H, W, F]`."""
    b, h, s, f = x.shape
    flat = jnp.pad(x.reshape(b, h * s, f), ((0, 0), (0, h), (0, 0)))
    return flat.reshape(b, h, s + 1, f)[:, :, :width]


def laid(x: jax.Array, many: int) -> jax.Array:
    """So many images side by side: `[B, H, W, F] -> [B / many, H, many W, F]`."""
    b, h, w, f = x.shape
    return x.reshape(-1, many, h, w, f).swapaxes(1, 2).reshape(b // many, h, many * w, f)


def unlaid(x: jax.Array, many: int) -> jax.Array:
    """The way back."""
    b, h, w, f = x.shape
    return x.reshape(b, h, many, -1, f).swapaxes(1, 2).reshape(b * many, h, w // many, f)
