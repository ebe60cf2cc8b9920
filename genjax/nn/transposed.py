"""Transposed convolutions that do not multiply zeros, for a GPU.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285),
chapter 4. A transposed convolution equals a convolution of the input dilated with zeros. cuDNN
multiplies the zeros, unless XLA recognises a convolution's gradient (`as_gradient`). It does not
where the kernel is larger than the image, because it first exchanges the two. There the layer is
stride x stride plain convolutions, one per remainder of the output's position modulo the stride,
which determines the taps of the kernel that meet a pixel instead of a zero (`by_remainder`).
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from genjax.nn.conv_forms import NHWC, Precision, Taps

# A pair is the padding of the dilated image, before and after, along both axes.
Padding = Literal["SAME", "VALID"] | tuple[int, int]


def is_larger(kernel: jax.Array, sides: Sequence[int]) -> bool:
    """Returns whether a kernel is larger than an image; then XLA exchanges the two."""
    return math.prod(kernel.shape[:2]) > math.prod(sides)


def as_gradient(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    precision: Precision,
) -> jax.Array:
    """Computes a transposed convolution as a gradient, which cuDNN does in one call."""
    # XLA recognises the form by the second flip; without the barrier it would cancel both.
    flipped = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    pads = []
    for i in range(2):
        side, _, before = axis(x.shape[i + 1], kernel.shape[i], strides[i], padding)
        dilated = (x.shape[i + 1] - 1) * strides[i] + 1
        pads.append((before, side - dilated - before + kernel.shape[i] - 1))
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(flipped, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=strides,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        precision=precision,
    )


def by_remainder(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    precision: Precision,
) -> jax.Array:
    """Computes a transposed convolution as one plain convolution per remainder."""
    batch, features = x.shape[0], kernel.shape[-1]
    (height, rows, _), (width, columns, _) = (
        axis(x.shape[i + 1], kernel.shape[i], strides[i], padding) for i in range(2)
    )
    sizes = -(-height // strides[0]), -(-width // strides[1])  # outputs per remainder

    def part(row: Taps, column: Taps) -> jax.Array:
        taps = kernel[row[0] :: strides[0], column[0] :: strides[1]]
        if not taps.size:  # the stride is longer than the kernel
            return jnp.zeros((batch, *sizes, features), x.dtype)
        return jax.lax.conv_general_dilated(
            x, taps, (1, 1), (row[1:], column[1:]), dimension_numbers=NHWC, precision=precision
        )

    y = jnp.stack([jnp.stack([part(r, c) for c in columns], axis=3) for r in rows], axis=2)
    # [B, H, stride, W, stride, O]
    y = y.reshape(batch, sizes[0] * strides[0], sizes[1] * strides[1], features)
    return y[:, :height, :width]


def axis(side: int, size: int, stride: int, padding: Padding) -> tuple[int, list[Taps], int]:
    """Returns an axis's output side, the taps of each remainder, and the padding before.

    Pixel m has position `before + stride m` in the dilated input; tap t of output o meets position
    o + t.
    """
    if isinstance(padding, tuple):
        before, total = padding[0], sum(padding)
    else:
        total = size + stride - 2 + (max(size - stride, 0) if padding == "VALID" else 0)
        full = padding == "VALID" or stride > size - 1
        before = size - 1 if full else -(-total // 2)
    out = (side - 1) * stride + 2 + total - size
    outputs = -(-out // stride)  # per remainder
    result = []
    for remainder in range(stride):
        tap = (before - remainder) % stride
        first = (remainder + tap - before) // stride  # pixel that it meets at the first output
        taps = len(range(tap, size, stride))
        result.append((tap, -first, outputs + first + taps - 1 - side))
    return out, result, before
