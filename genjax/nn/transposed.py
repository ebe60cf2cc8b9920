"""Transposed convolutions, whose gradient is quick on CPU too.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285),
chapter 4. A transposed convolution is a convolution of its input with zeros between the pixels.
XLA takes it so, and on CPU it has no quick way to the gradient by the kernel then: that alone was
14 to 28 times the time of the layer. Seen from an output, only every `stride`-th tap of the kernel
meets a pixel that is not such a zero; which ones depends on the remainder of the output's place.
So it is stride x stride plain convolutions, one a remainder, with nothing multiplied in vain.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.causal import NHWC

Padding = Literal["SAME", "VALID"]
Taps = tuple[int, int, int]  # the first, and zeros before and after all pixels


def transposed_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """What `jax.lax.conv_transpose` gives: `[B, H, W, I]`, kernel `[h, w, I, O]` -> `[B, ., ., O]`.

    With SAME a side becomes side * stride; with VALID it becomes that, and what the kernel is
    longer than the stride.
    """

    def whole(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(
            x, kernel, strides, padding, dimension_numbers=NHWC, precision=precision
        )

    def by_remainder(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _by_remainder(x, kernel, strides, padding, precision)

    return jax.lax.platform_dependent(x, kernel, cpu=by_remainder, default=whole)


def _by_remainder(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
) -> jax.Array:
    batch, features = x.shape[0], kernel.shape[-1]
    (height, rows), (width, columns) = (
        _axis(x.shape[i + 1], kernel.shape[i], strides[i], padding) for i in range(2)
    )
    many = -(-height // strides[0]), -(-width // strides[1])  # outputs of one remainder

    def part(row: Taps, column: Taps) -> jax.Array:
        seen = kernel[row[0] :: strides[0], column[0] :: strides[1]]
        if not seen.size:  # a stride longer than the kernel: nothing is met
            return jnp.zeros((batch, *many, features), x.dtype)
        return jax.lax.conv_general_dilated(
            x, seen, (1, 1), (row[1:], column[1:]), dimension_numbers=NHWC, precision=precision
        )

    y = jnp.stack([jnp.stack([part(r, c) for c in columns], axis=3) for r in rows], axis=2)
    # [B, H, stride, W, stride, O]
    y = y.reshape(batch, many[0] * strides[0], many[1] * strides[1], features)
    return y[:, :height, :width]


def _axis(side: int, size: int, stride: int, padding: Padding) -> tuple[int, list[Taps]]:
    """Of one axis: the side of what comes out, and of every remainder its taps.

    Pixel m lies at `before + stride m` among the zeros, and tap t of output o meets place o + t.
    """
    total = size + stride - 2 + (max(size - stride, 0) if padding == "VALID" else 0)
    whole = padding == "VALID" or stride > size - 1
    before = size - 1 if whole else -(-total // 2)
    out = (side - 1) * stride + 2 + total - size
    many = -(-out // stride)
    found = []
    for remainder in range(stride):
        tap = (before - remainder) % stride
        first = (remainder + tap - before) // stride  # the pixel that it meets at the first output
        taps = len(range(tap, size, stride))
        found.append((tap, -first, many + first + taps - 1 - side))
    return out, found


class ConvTranspose(nn.Module):
    """Flax's layer of that name, with the same parameters: `[B, H, W, I] -> [B, ., ., O]`.

    features: O.
    kernel_size: height and width.
    strides: of rows and columns.
    dtype: of the computation.
    precision: of its products.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32
    precision: jax.lax.Precision | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        y = transposed_conv(x, kernel, self.strides, self.padding, self.precision)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)[None, None, None]
        return y
