"""Maps of twice or half the side: nearest neighbour, averages, linear interpolation.

Each is linear in the maps. A 3x3 convolution after `upsample_nearest` or before `average_pool` is
computed with it: an output pixel then sees 2x2 or 4x4 input pixels, with sums of the kernel's taps
as weights. The implementations are the fastest of `python -m experiments.benchmarks.layers`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.conv_forms import NHWC
from genjax.nn.convolution import conv
from genjax.nn.padding import Mode, pad, pad_or_crop
from genjax.nn.sizes import check_maps

# An upsampled pixel of remainder 0 sees source pixels i - 1 and i, of remainder 1 i and i + 1,
# [remainder, source pixel, tap].
SUMS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
PADS = ((1, 0), (0, 1))  # by remainder


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Repeats every pixel twice in each direction: `[B, H, W, C] -> [B, 2 H, 2 W, C]`."""
    check_maps(x)
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return wide.reshape(b, 2 * h, 2 * w, c)


def upsample_linear(x: jax.Array) -> jax.Array:
    """Interpolates linearly in each direction: `[B, H, W, C] -> [B, 2 H, 2 W, C]`.

    Odd outputs are the pixels, even ones the mean of a pixel and the one before, which is 0 before
    the first: the filter [1, 2, 1] / 2 of the pixels with zeros between.
    """
    check_maps(x)
    for axis in (2, 1):
        between = (_shifted(x, axis) + x) / 2
        shape = tuple(n * 2 if i == axis else n for i, n in enumerate(x.shape))
        x = jnp.stack([between, x], axis + 1).reshape(shape)
    return x


def average_pool(x: jax.Array) -> jax.Array:
    """Averages 2x2 pixels, fewer at an odd edge: `[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C]`."""
    check_maps(x)
    for axis in (1, 2):
        if x.shape[axis] % 2:  # the last pixel twice: its own mean
            x = jnp.concatenate([x, jax.lax.slice_in_dim(x, -1, None, axis=axis)], axis)
    return (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]) / 4


def blur_pool(x: jax.Array, padding: Mode = "zero") -> jax.Array:
    """Halves the side after the filter [1, 2, 1] / 4: `[B, H, W, C] -> [B, ceil(H/2), ., C]`.

    Output i is centred at pixel 2 i. Padding is one pixel, by zeros or reflection.

    Source: Zhang 2019, "Making Convolutional Networks Shift-Invariant Again" (arXiv:1904.11486),
    section 3.2.

    Raises:
      ValueError: `x` has another rank, or a side too small to reflect.
    """
    check_maps(x)
    h, w = x.shape[1:3]
    if h % 2 or w % 2:
        x = pad(x, ((0, h % 2), (0, w % 2)), padding)
    for axis in (1, 2):
        shape = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        pairs = x.reshape(shape)
        even = jax.lax.index_in_dim(pairs, 0, axis + 1, keepdims=False)
        odd = jax.lax.index_in_dim(pairs, 1, axis + 1, keepdims=False)
        before = _shifted(odd, axis)
        if padding == "reflect":
            first = jax.lax.slice_in_dim(odd, 0, 1, axis=axis)
            rest = jax.lax.slice_in_dim(odd, 0, odd.shape[axis] - 1, axis=axis)
            before = jnp.concatenate([first, rest], axis)
        x = (before + odd) / 4 + even / 2
    return x


def _shifted(x: jax.Array, axis: int) -> jax.Array:
    """Moves maps by one pixel; the first becomes 0."""
    rows, columns = ((1, -1) if axis == of else (0, 0) for of in (1, 2))
    return pad_or_crop(x, (rows, columns))


def upsample_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Any = (1, 1),
    padding: Any = "SAME",
    *,
    size: tuple[int, int] | None = None,
    **options: Any,
) -> jax.Array:
    """Convolves the maps after `upsample_nearest`: `[B, H, W, I] -> [B, 2 H, 2 W, O]`.

    On a CPU a 3x3 kernel is applied as four 2x2 kernels to the maps themselves, one per remainder
    of the output's position, with 4/9 of the products. A 1x1 kernel is applied before upsampling.

    Args:
      x: maps.
      kernel: `[h, w, I, O]`.
      strides: as of `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=)`.
      padding: likewise.
      size: of the upsampled maps, which are cropped to it before the convolution; 2 H x 2 W.
      **options: of `jax.lax.conv_general_dilated`.
    """
    height, width = size or (2 * x.shape[1], 2 * x.shape[2])

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = upsample_nearest(x)[:, :height, :width]
        return conv(x, kernel, strides, padding, **options)

    def by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
        sums = _summed(kernel)
        parts = [
            [_by_xla(x, sums[p, q], (PADS[p], PADS[q]), options) for q in range(2)]
            for p in range(2)
        ]
        y = jnp.stack([jnp.stack(row, 3) for row in parts], 2)  # [B, H, 2, W, 2, O]
        return y.reshape(x.shape[0], height, width, -1)

    if _same(1, kernel, strides, padding, options):
        y = conv(x, kernel, strides, padding, **options)
        return upsample_nearest(y)[:, :height, :width]
    cropped = (height, width) != (2 * x.shape[1], 2 * x.shape[2])
    if cropped or not _same(3, kernel, strides, padding, options):
        return plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=by_phase, default=plain)


def conv_downsample(
    x: jax.Array,
    kernel: jax.Array,
    strides: Any = (1, 1),
    padding: Any = "SAME",
    **options: Any,
) -> jax.Array:
    """Averages 2x2 pixels of a convolution: `[B, H, W, I] -> [B, ceil(H/2), ceil(W/2), O]`.

    On a CPU a 3x3 kernel is applied to even sides as one 4x4 kernel with stride 2, by remainder of
    the input's position, with 4/9 of the products. A 1x1 kernel is applied after the average. The
    arguments are those of `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=)`,
    whose bias the average does not change.
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return average_pool(conv(x, kernel, strides, padding, **options))

    def by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
        sums = _summed(kernel / 4)

        def one(x: jax.Array, p: int, q: int) -> jax.Array:
            return _by_xla(x, sums[p, q], (PADS[p], PADS[q]), options)

        parts = [one(x[:, p::2, q::2], 1 - p, 1 - q) for p in range(2) for q in range(2)]
        return sum(parts[1:], parts[0])

    if _same(1, kernel, strides, padding, options):
        return conv(average_pool(x), kernel, strides, padding, **options)
    odd = x.shape[1] % 2 or x.shape[2] % 2
    if odd or not _same(3, kernel, strides, padding, options):
        return plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=by_phase, default=plain)


def _by_xla(x: jax.Array, kernel: jax.Array, pads: Any, options: Any) -> jax.Array:
    """Computes a part of a fused convolution; in other forms the parts take long to compile."""
    options = {"dimension_numbers": NHWC} | options
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, **options)


def _same(side: int, kernel: jax.Array, strides: Any, padding: Any, options: Any) -> bool:
    """Returns whether a kernel has a side, 1 or 3, and the convolution's output is like its input.

    Then its stride is 1, its padding SAME, and it is not dilated.
    """
    low = (side - 1) // 2
    same = padding == "SAME" or list(map(tuple, padding)) == [(low, low)] * 2
    dense = all(options.get(k) in (None, (1, 1)) for k in ("lhs_dilation", "rhs_dilation"))
    return kernel.shape[:2] == (side, side) and tuple(strides) == (1, 1) and same and dense


def _summed(kernel: jax.Array) -> jax.Array:
    """Returns the kernels by remainder, `[3, 3, I, O] -> [2, 2, 2, 2, I, O]`."""
    whole = kernel.astype(jnp.float32)
    sums = jnp.einsum("pat,qbu,tuio->pqabio", SUMS, SUMS, whole, precision="highest")
    return sums.astype(kernel.dtype)
