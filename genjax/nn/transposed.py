"""Strided and transposed convolutions that do not multiply zeros.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285),
chapters 2 and 4. A transposed convolution equals a convolution of the input dilated with zeros, and
so does a strided convolution's gradient by its input. XLA computes them in that form:

* On a CPU the gradient by the kernel is then 14 to 28 times slower than the layer.
* On a GPU cuDNN multiplies the zeros, unless XLA recognises a convolution's gradient. It does not
  where the kernel is larger than the image, because it first exchanges the two.

Every output is a sum over the taps of the kernel that meet a pixel instead of a zero. The remainder
of the output's position modulo the stride determines these taps. So a transposed convolution is
stride x stride plain convolutions, one per remainder of the output's position; a strided
convolution is a sum of as many, one per remainder of the input's position.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.causal import NHWC, with_kernel_gradient

Padding = Literal["SAME", "VALID"]
Taps = tuple[int, int, int]  # first tap, padding before and after
# Options that convolutions by remainder do not support.
UNSUPPORTED = (
    *("lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count"),
    "preferred_element_type",
)


def transposed_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """Computes `jax.lax.conv_transpose`: `[B, H, W, I]`, kernel `[h, w, I, O]` -> `[B, ., ., O]`.

    A side becomes side * stride with SAME, and side * stride + max(kernel - stride, 0) with VALID.
    """

    def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(
            x, kernel, strides, padding, dimension_numbers=NHWC, precision=precision
        )

    def by_remainder(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _by_remainder(x, kernel, strides, padding, precision)

    def as_gradient(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_gradient(x, kernel, strides, padding, precision)

    def on(cuda: Callable[..., Any]) -> Callable[..., Any]:
        def chosen(x: jax.Array, kernel: jax.Array) -> jax.Array:
            platforms = {"cpu": by_remainder, "cuda": cuda}
            return jax.lax.platform_dependent(x, kernel, default=dilated, **platforms)

        return chosen

    # XLA maps the layer and its gradient by x to cuDNN's calls; the gradient by the kernel only in
    # the form by remainders.
    by_kernel = on(by_remainder)
    by_input = by_kernel if _swapped(kernel, x) else on(as_gradient)
    return with_kernel_gradient(by_input, by_kernel, x, kernel)


def _swapped(kernel: jax.Array, image: Any) -> bool:
    """Returns whether XLA exchanges the roles of kernel and image, the kernel being larger."""
    return math.prod(kernel.shape[:2]) > math.prod(image.shape[1:3])


def strided_conv(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> Any:
    """Computes `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=)`.

    On a GPU a kernel that is larger than the output is applied by remainders; in bfloat16 each of
    their sums is rounded, which doubles the rounding error.
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)

    def by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _by_phase(x, kernel, strides, padding, options.get("precision"))

    supported = all(options.get(name) in (None, 1, (1, 1)) for name in UNSUPPORTED) and x.ndim == 4
    if not supported or math.prod(strides) == 1:
        return plain(x, kernel)
    if not _swapped(kernel, jax.eval_shape(plain, x, kernel)):
        return plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cuda=by_phase, default=plain)


def _by_phase(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Any, precision: Any
) -> jax.Array:
    """Computes a strided convolution as a sum over the remainders of the input's position."""
    sides = x.shape[1:3]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(sides, kernel.shape[:2], strides, padding)
    rows, columns = (_phases(sides[i], kernel.shape[i], strides[i], *padding[i]) for i in range(2))

    def part(row: Taps, column: Taps, i: int, j: int) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x[:, i :: strides[0], j :: strides[1]],
            kernel[row[0] :: strides[0], column[0] :: strides[1]],
            (1, 1),
            (row[1:], column[1:]),
            dimension_numbers=NHWC,
            precision=precision,
        )

    parts = [part(r, c, i, j) for i, r in rows for j, c in columns]
    return sum(parts[1:], parts[0])


def _phases(side: int, size: int, stride: int, low: int, high: int) -> list[tuple[int, Taps]]:
    """Returns the remainders of the input's position along an axis, with their taps.

    Tap t of output o meets position stride o + t - low. With t - low = stride q + p it is number
    o + q of the positions with remainder p.
    """
    out = (side + low + high - size) // stride + 1
    result = []
    for p in range(min(stride, side)):
        tap = (p + low) % stride
        first = (tap - low - p) // stride  # q of the first tap, 0 or below
        taps, positions = len(range(tap, size, stride)), len(range(p, side, stride))
        if taps:  # none if the stride is longer than the kernel
            result.append((p, (tap, -first, out + first + taps - 1 - positions)))
    return result


def _as_gradient(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
) -> jax.Array:
    """Computes a transposed convolution as a gradient, which cuDNN does in one call."""
    # XLA recognises the form by the second flip; without the barrier it would cancel both.
    flipped = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    pads = []
    for i in range(2):
        side, _, before = _axis(x.shape[i + 1], kernel.shape[i], strides[i], padding)
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


def _by_remainder(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
) -> jax.Array:
    batch, features = x.shape[0], kernel.shape[-1]
    (height, rows, _), (width, columns, _) = (
        _axis(x.shape[i + 1], kernel.shape[i], strides[i], padding) for i in range(2)
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


def _axis(side: int, size: int, stride: int, padding: Padding) -> tuple[int, list[Taps], int]:
    """Returns an axis's output side, the taps of each remainder, and the padding before.

    Pixel m has position `before + stride m` in the dilated input; tap t of output o meets position
    o + t.
    """
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


class ConvTranspose(nn.Module):
    """`nn.ConvTranspose` with the same parameters, `[B, H, W, I] -> [B, ., ., O]`."""

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
