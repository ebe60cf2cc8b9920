"""Padding of feature maps by zeros or by reflection."""

from typing import Literal

import jax
import jax.numpy as jnp

from genjax.nn.sizes import check_maps

Mode = Literal["zero", "reflect"]
Sides = tuple[tuple[int, int], tuple[int, int]]  # before and after, per axis


def pad_or_crop(x: jax.Array, sides: Sides) -> jax.Array:
    """Adds zeros around maps, `[B, H, W, C]`; negative numbers crop."""
    zero = jnp.zeros((), x.dtype)
    return jax.lax.pad(x, zero, [(0, 0, 0), *((*pair, 0) for pair in sides), (0, 0, 0)])


def pad(x: jax.Array, size: int | Sides, mode: Mode = "zero") -> jax.Array:
    """Pads maps, `[B, H, W, C]`; size 1 gives `[B, H + 2, W + 2, C]`.

    Reflection repeats neither the edge itself nor a reflected pixel: `2 1 | 0 1 2 | 1 0`.

    Args:
      x: maps.
      size: pixels on every side, or `((top, bottom), (left, right))`.
      mode: `zero` or `reflect`.

    Raises:
      ValueError: `x` has another rank, a size is negative, or there are too few pixels to reflect.
    """
    check_maps(x)
    sides = ((size, size), (size, size)) if isinstance(size, int) else size
    largest = max(max(pair) for pair in sides)
    if min(min(pair) for pair in sides) < 0:
        raise ValueError(f"padding {size} is negative; crop the maps by a slice.")
    if mode == "zero":
        return jnp.pad(x, ((0, 0), *sides, (0, 0)))
    if mode != "reflect":
        raise ValueError(f"`mode` must be zero or reflect, got {mode!r}.")
    if any(max(pair) >= side for pair, side in zip(sides, x.shape[1:3], strict=True)):
        raise ValueError(
            f"reflection padding of {size} needs more than {largest} pixels per side, the maps have"
            f" {x.shape[1]}x{x.shape[2]}; use less padding, mode zero, or larger maps."
        )
    # Columns first: on a CPU the gradient takes half the time of that of `jnp.pad`.
    for axis in (2, 1):
        before, after = sides[axis - 1]
        end = x.shape[axis] - 1
        first = jax.lax.slice_in_dim(x, 1, before + 1, axis=axis)
        last = jax.lax.slice_in_dim(x, end - after, end, axis=axis)
        x = jnp.concatenate([jnp.flip(first, axis), x, jnp.flip(last, axis)], axis)
    return x
