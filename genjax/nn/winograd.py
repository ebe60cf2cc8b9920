"""Convolutions of stride 1 with fewer multiplications, for kernels of up to 3x3.

Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for
Convolutional Neural Networks" (arXiv:1509.09308), section 4.1: F(2x2, 3x3) needs 16 products of
features for 2x2 outputs instead of 36, F(2x2, 2x3) 12 instead of 24 and F(2x2, 2x2) 9 instead of
16. Here a tile gives 2x2 outputs, and every product is one matrix product over all tiles. Rounding
errors in float32 are those of a plain convolution, within a factor of 2; other dtypes lose more.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from genjax.nn.padding import pad_or_crop

Rows = Sequence[jax.Array]
Transform = Callable[[Rows], list[jax.Array]]

# By size of the kernel along an axis: of its taps, of the size + 1 inputs of a tile, and of the
# products to 2 outputs.
KERNEL: dict[int, Transform] = {
    1: lambda g: [g[0], g[0]],
    2: lambda g: [g[0], g[0] + g[1], g[1]],
    3: lambda g: [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]],
}
INPUT: dict[int, Transform] = {
    1: lambda d: [d[0], d[1]],
    2: lambda d: [d[0] - d[1], d[1], d[2] - d[1]],
    3: lambda d: [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]],
}
OUTPUT: dict[int, Transform] = {
    1: lambda m: [m[0], m[1]],
    2: lambda m: [m[0] + m[1], m[1] + m[2]],
    3: lambda m: [m[0] + m[1] + m[2], m[1] - m[2] - m[3]],
}


def is_supported(kernel: Sequence[int], strides: Sequence[int]) -> bool:
    """Returns whether a kernel `[h, w, ...]` has a transform."""
    return tuple(strides) == (1, 1) and all(size in KERNEL for size in kernel[:2])


def tiles_conv(
    x: jax.Array,
    kernel: jax.Array,
    sides: tuple[int, int],
    corner: tuple[int, int],
    precision: jax.lax.Precision | None,
) -> jax.Array:
    """Computes a convolution: `[B, H, W, I]`, kernel `[h, w, I, O]` -> `[B, *sides, O]`.

    Args:
      x: maps.
      kernel: weights, of at most 3x3 taps.
      sides: height and width of the output.
      corner: zeros before rows and columns; negative numbers crop.
      precision: of the products.
    """
    height, width = kernel.shape[:2]
    tiles = [-(-side // 2) for side in sides]
    needed = [2 * n + size - 1 for n, size in zip(tiles, (height, width), strict=True)]
    margins = [
        (before, whole - side - before)
        for before, whole, side in zip(corner, needed, x.shape[1:3], strict=True)
    ]
    x = pad_or_crop(x, (margins[0], margins[1]))
    ends = [2 * n - 1 for n in tiles]
    inputs = [
        [x[:, i : i + ends[0] : 2, j : j + ends[1] : 2] for j in range(width + 1)]
        for i in range(height + 1)
    ]
    each = _both_axes(INPUT[height], INPUT[width], inputs)
    weights = _both_axes(KERNEL[height], KERNEL[width], [list(row) for row in kernel])
    # One product of all, [positions, B, tiles, tiles, O]: many small ones take long to compile.
    stacked = jnp.stack([a for row in each for a in row])
    all_weights = jnp.stack([a for row in weights for a in row])
    together = jnp.einsum("pbhwi,pio->pbhwo", stacked, all_weights, precision=precision)
    products = [
        [together[i * (width + 1) + j] for j in range(width + 1)] for i in range(height + 1)
    ]
    outputs = _both_axes(OUTPUT[height], OUTPUT[width], products)
    out = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)  # [B, ., 2, ., 2, O]
    out = out.reshape(out.shape[0], 2 * tiles[0], 2 * tiles[1], out.shape[-1])
    return out[:, : sides[0], : sides[1]]


def _both_axes(rows: Transform, columns: Transform, a: list[list[jax.Array]]) -> list[list]:
    """Applies one transform along the outer list and one along the inner lists."""
    by_column = [rows(column) for column in zip(*a, strict=True)]
    return [columns(row) for row in zip(*by_column, strict=True)]
