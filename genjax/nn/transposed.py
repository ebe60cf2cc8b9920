"""Convolutions with strides and their transposes, said so that XLA multiplies no zeros.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285),
chapters 2 and 4. A transposed convolution is a convolution of its input with zeros between the
pixels, and so is the gradient of one with strides by its input. XLA takes it so:

* On a CPU it has no quick way to the gradient by the kernel then: that alone was 14 to 28 times the
  time of the layer.
* On a GPU it gives cuDNN the zeros to multiply, four of five or more, unless the kernel is turned
  round by an instruction of its own; and where a kernel has more places than the image it lets the
  two change roles, so that no form of cuDNN's for gradients fits (`experiments.benchmarks.compile_ahead` shows
  what became of a program).

Seen from an output, only every `stride`-th tap of the kernel meets a pixel that is not such a zero;
which ones depends on the remainder of the output's place. So it is stride x stride plain
convolutions, one a remainder, with nothing multiplied in vain. And a convolution with strides is a
sum of as many, one a remainder of the input's place.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.causal import NHWC, with_kernel_gradient

Padding = Literal["SAME", "VALID"]
Taps = tuple[int, int, int]  # the first, and zeros before and after all pixels
# What a convolution that goes by remainders is not told.
UNTOLD = (
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

    def as_gradient(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_gradient(x, kernel, strides, padding, precision)

    def on(cuda: Callable[..., Any]) -> Callable[..., Any]:
        def chosen(x: jax.Array, kernel: jax.Array) -> jax.Array:
            ways = {"cpu": by_remainder, "cuda": cuda}
            return jax.lax.platform_dependent(x, kernel, default=whole, **ways)

        return chosen

    # cuDNN has one call for the layer and one for its gradient by x; for that by the kernel XLA
    # finds it by remainders alone.
    by_kernel = on(by_remainder)
    by_input = by_kernel if _swapped(kernel, x) else on(as_gradient)
    return with_kernel_gradient(by_input, by_kernel, x, kernel)


def _swapped(kernel: jax.Array, image: Any) -> bool:
    """Whether XLA lets a kernel and an image change roles: the kernel has more places."""
    return math.prod(kernel.shape[:2]) > math.prod(image.shape[1:3])


def strided_conv(x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **said: Any) -> Any:
    """`jax.lax.conv_general_dilated` for `nn.Conv(conv_general_dilated=)`, `[B, H, W, C]`.

    On a GPU a kernel with more places than what comes out goes by remainders; in bfloat16 each of
    their sums is rounded, which doubles the rounding of the whole.
    """

    def whole(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **said)

    def by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _by_phase(x, kernel, strides, padding, said.get("precision"))

    plain = all(said.get(name) in (None, 1, (1, 1)) for name in UNTOLD) and x.ndim == 4
    if not plain or math.prod(strides) == 1:
        return whole(x, kernel)
    if not _swapped(kernel, jax.eval_shape(whole, x, kernel)):
        return whole(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cuda=by_phase, default=whole)


def _by_phase(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Any, precision: Any
) -> jax.Array:
    """A convolution with strides as a sum over the remainders of the input's place."""
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
    """Of one axis: remainders of the input's place that a tap meets, each with its taps.

    Tap t of output o meets place stride o + t - low, that is place o + q of those with remainder p,
    where stride q + p = t - low.
    """
    out = (side + low + high - size) // stride + 1
    found = []
    for p in range(min(stride, side)):
        tap = (p + low) % stride
        first = (tap - low - p) // stride  # q of the first tap, 0 or below
        taps, places = len(range(tap, size, stride)), len(range(p, side, stride))
        if taps:  # else a stride longer than the kernel passes these by
            found.append((p, (tap, -first, out + first + taps - 1 - places)))
    return found


def _as_gradient(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding, precision: Any
) -> jax.Array:
    """As the gradient by its input of a convolution with strides, as cuDNN has it in one call."""
    # Turned round twice: XLA knows the form by the second, and would take both away without a wall.
    turned = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    pads = []
    for i in range(2):
        side, _, before = _axis(x.shape[i + 1], kernel.shape[i], strides[i], padding)
        spread = (x.shape[i + 1] - 1) * strides[i] + 1  # with the zeros between
        pads.append((before, side - spread - before + kernel.shape[i] - 1))
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(turned, (0, 1)),
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


def _axis(side: int, size: int, stride: int, padding: Padding) -> tuple[int, list[Taps], int]:
    """Of one axis: the side of what comes out, of every remainder its taps, and the place of the
    first pixel among the zeros.

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
    return out, found, before


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
