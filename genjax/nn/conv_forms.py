"""Convolutions in the forms that are fast on a CPU, and the rule that selects them.

A form is a function of `x [B, H, W, I]`, `kernel [h, w, I, O]`, strides, padding and precision. All
forms compute the same convolution, `[B, H', W', O]`, and their derivatives of any order are in the
same form: the gradient by x is the form's transpose by x, the gradient by the kernel its transpose
by the kernel. `select` names the form of the value and of each gradient; the measurement behind it
is printed by `python -m experiments.benchmarks.convolutions`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.nn.padding import pad_or_crop
from genjax.nn.winograd import is_supported, tiles_conv

NHWC = ("NHWC", "HWIO", "NHWC")
Sides = tuple[int, int]
Pads = tuple[Sides, Sides]  # before and after, of rows and columns
Precision = jax.lax.Precision | None
Form = Callable[[jax.Array, jax.Array, Sides, Pads, Precision], jax.Array]
Taps = tuple[int, int, int]  # first tap, padding before and after

# Bytes of patches made at a time. More do not fit a CPU's caches, and the pages of new memory cost
# more than the product.
PATCH_BYTES = 8 * 2**20
WINOGRAD_BYTES = 16 * 2**20  # transformed inputs and products held at a time
WINOGRAD_FEATURES = 64  # fewer inputs or outputs spend more on the transforms than they save
FEW_INPUTS = 16
BAND = 4  # outputs of a row computed together by `bands`
BAND_FEATURES = 8  # inputs or outputs below which `bands` is faster than `direct`
BAND_TAPS = 25  # smaller kernels spend more on the zeros of the matrix than they save
FEW_IMAGES = 4  # `patches` are fastest for a kernel of more weights per value of the maps


class Forms(NamedTuple):
    """The form of a convolution's value, and those whose transposes are its gradients."""

    value: Form
    by_input: Form
    by_kernel: Form


def select(
    shape: Sequence[Any], kernel: Sequence[int], strides: Sides, outputs: Sides, dtype: Any
) -> Forms:
    """Returns the fastest forms of a convolution on a CPU.

    Args:
      shape: of the maps, `[B, H, W, I]`.
      kernel: shape of the kernel, `[h, w, I, O]`.
      strides: of rows and columns.
      outputs: height and width of the output.
      dtype: of the maps.
    """
    taps = math.prod(kernel[:2])
    # XLA exchanges kernel and image where the kernel is larger, and its gradients are slow then.
    if taps == 1 or taps >= math.prod(outputs):
        return Forms(patches, patches, patches)
    # With few images the other forms spend their time on the kernel.
    if isinstance(shape[0], int) and math.prod(kernel) > FEW_IMAGES * math.prod(shape):
        return Forms(patches, patches, patches)
    if strides == (1, 1):
        if taps >= BAND_TAPS and min(kernel[2:]) < BAND_FEATURES:
            form = bands if kernel[2] <= kernel[3] else bands_transposed
            return Forms(form, form, form)
        # Of a single row or column half of each tile would be dropped.
        if _multiplies_less(kernel, strides, dtype) and min(outputs) > 1:
            # Not for gradients: second derivatives of tiles take half a minute to compile.
            return Forms(winograd, direct, direct)
        return Forms(direct, direct, direct)
    whole = all(kernel[i] % strides[i] == 0 for i in range(2))
    if kernel[2] < FEW_INPUTS:
        return Forms(patches, patches, patches) if whole else Forms(direct, direct, patches)
    # XLA's second derivatives of `direct` by the kernel, as of a gradient penalty, are
    # 10 to 100 times slower.
    fits = all(kernel[i] <= 2 * strides[i] for i in range(2))
    return Forms(direct if fits else phases, phases, direct)


def _multiplies_less(kernel: Sequence[int], strides: Sides, dtype: Any) -> bool:
    """Returns whether `winograd` is faster than `direct`."""
    return (
        is_supported(kernel, strides)
        and min(kernel[2:]) >= WINOGRAD_FEATURES
        and jnp.dtype(dtype) == jnp.float32
    )


def output_sides(x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads) -> Sides:
    """Returns the height and width of the output."""
    height, width = (
        (x.shape[i + 1] + sum(pads[i]) - kernel.shape[i]) // strides[i] + 1 for i in range(2)
    )
    return height, width


def by_xla(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution by XLA's own, as it is."""
    return jax.lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=NHWC, precision=precision
    )


def direct(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution by XLA's own."""
    # Without padding XLA calls another library for a CPU, which is 3 to 6 times slower.
    unpadded = not any(map(any, pads))
    if unpadded:
        pads = (pads[0], (0, strides[1]))
    out = by_xla(x, kernel, strides, pads, precision)
    return out[:, :, :-1] if unpadded else out


def winograd(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution of stride 1 with fewer multiplications, see `tiles_conv`."""
    sides = output_sides(x, kernel, strides, pads)
    products = math.prod((n + 1) / 2 for n in kernel.shape[:2])  # per output
    image = math.prod(sides) * products * sum(kernel.shape[2:]) * x.dtype.itemsize

    def some(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return tiles_conv(x, kernel, sides, (pads[0][0], pads[1][0]), precision)

    return _by_parts(some, x, kernel, WINOGRAD_BYTES / image)


def patches(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution as a product of patches `[B H' W', h w I]` with the kernel."""
    sides = output_sides(x, kernel, strides, pads)
    taps, features = math.prod(kernel.shape[:2]), kernel.shape[-1]

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = pad_or_crop(x, pads)
        ends = [(n - 1) * s + 1 for n, s in zip(sides, strides, strict=True)]
        parts = [
            x[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]]
            for i in range(kernel.shape[0])
            for j in range(kernel.shape[1])
        ]
        rows = jnp.concatenate(parts, axis=-1)  # [n, H', W', h w I]
        out = jnp.matmul(
            rows.reshape(-1, rows.shape[-1]), kernel.reshape(-1, features), precision=precision
        )
        return out.reshape(-1, *sides, features)

    if taps == 1:  # the map is its own patches
        return product(x, kernel)
    # Every part reads the whole kernel.
    limit = max(PATCH_BYTES, kernel.size * kernel.dtype.itemsize)
    image = math.prod(sides) * taps * x.shape[-1] * x.dtype.itemsize
    return _by_parts(product, x, kernel, limit / image)


def bands(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution of few inputs as a product with a banded matrix.

    `BAND` neighbouring outputs of a row have `h m I` inputs, m = (BAND - 1) stride + w. The matrix
    `[h m I, BAND O]` repeats the kernel, each time shifted by the stride; most of it is not zero.
    There are fewer and longer copies than of `patches`, and the product has more columns.
    """
    sides = output_sides(x, kernel, strides, pads)
    (height, width), (down, right) = kernel.shape[:2], strides
    count, columns = -(-sides[1] // BAND), (BAND - 1) * right + width
    needed = (count - 1) * BAND * right + columns
    fitted = (pads[1][0], needed - x.shape[2] - pads[1][0])
    copies = [(i * right, (BAND - 1 - i) * right) for i in range(BAND)]

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = pad_or_crop(x, (pads[0], fitted))
        starts = range(0, count * BAND * right, BAND * right)
        parts = [x[:, :, i : i + columns].reshape(*x.shape[:2], -1) for i in starts]
        joined = jnp.stack(parts, 2)  # [n, H + h - 1, count, m I]
        end = (sides[0] - 1) * down + 1
        rows = jnp.concatenate([joined[:, i : i + end : down] for i in range(height)], axis=-1)
        matrix = jnp.stack([jnp.pad(kernel, ((0, 0), c, (0, 0), (0, 0))) for c in copies], 3)
        out = jnp.matmul(
            rows.reshape(-1, rows.shape[-1]),
            matrix.reshape(rows.shape[-1], -1),
            precision=precision,
        )
        return out.reshape(-1, sides[0], count * BAND, kernel.shape[-1])[:, :, : sides[1]]

    image = sides[0] * count * height * columns * x.shape[-1] * x.dtype.itemsize
    return _by_parts(product, x, kernel, PATCH_BYTES / image)


def bands_transposed(
    x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
) -> jax.Array:
    """Computes a convolution of few outputs, of stride 1, as the transpose of `bands` by x."""
    rest = [[kernel.shape[i] - 1 - side for side in pads[i]] for i in range(2)]
    full = (rest[0][0], rest[0][1]), (rest[1][0], rest[1][1])
    form = transposed(bands, output_sides(x, kernel, strides, pads))
    return form(x, kernel, strides, full, precision)


def _by_parts(
    some: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    kernel: jax.Array,
    limit: float,
) -> jax.Array:
    """Applies a layer to at most `limit` images at a time, or to one. Gradients recompute it."""
    batch = x.shape[0]
    # A symbolic batch size has no parts.
    parts = [n for n in range(1, batch + 1) if batch % n == 0] if isinstance(batch, int) else []
    images = max([1, *(n for n in parts if n <= limit)])
    if not parts or images == batch:
        return jax.checkpoint(some)(x, kernel)
    again = jax.checkpoint(some, prevent_cse=False)
    # A part takes every n-th image, so that a batch that is sharded over devices stays where it is.
    rows = x.reshape(images, -1, *x.shape[1:]).swapaxes(0, 1)
    out = jax.lax.map(lambda part: again(part, kernel), rows)
    return out.swapaxes(0, 1).reshape(batch, *out.shape[2:])


def phases(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sides,
    pads: Pads,
    precision: Precision,
    form: Form = direct,
) -> jax.Array:
    """Computes a strided convolution as a sum over the remainders of the input's position.

    `form` computes the plain convolution of each remainder.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning"
    (arXiv:1603.07285), chapter 4.
    """
    rows, columns = (
        _phases(x.shape[i + 1], kernel.shape[i], strides[i], *pads[i]) for i in range(2)
    )

    def part(row: Taps, column: Taps, i: int, j: int) -> jax.Array:
        return form(
            x[:, i :: strides[0], j :: strides[1]],
            kernel[row[0] :: strides[0], column[0] :: strides[1]],
            (1, 1),
            (row[1:], column[1:]),
            precision,
        )

    parts = [part(r, c, i, j) for i, r in rows for j, c in columns]
    if not parts:  # every tap meets padding
        sides = output_sides(x, kernel, strides, pads)
        return jnp.zeros((x.shape[0], *sides, kernel.shape[-1]), x.dtype)
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


def _like(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns an array of a shape that varies over the same devices as `x` in a `shard_map`."""
    return jnp.broadcast_to(0 * x[:, :1, :1, :1], shape)


def transposed(form: Form, sides: Sides) -> Form:
    """Returns a form's transpose by x, to maps of these sides: `[B, H', W', I] -> [B, H, W, O]`.

    Its kernel is that of a transposed convolution, `[h, w, I, O]`: reversed, and with the features
    exchanged.
    """

    def apply(
        x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
    ) -> jax.Array:
        flipped = jax.lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
        large = _like(x, (x.shape[0], *sides, kernel.shape[-1]))

        def strided(y: jax.Array) -> jax.Array:
            return form(y, flipped, strides, pads, precision)

        (out,) = jax.linear_transpose(strided, large)(x)
        return out

    return apply


def transposed_by_kernel(form: Form, sides: Sides) -> Form:
    """Returns `transposed(form, sides)` for its kernel's gradient.

    Its transpose by the kernel is that of `form`, with the roles of input and output exchanged.
    """

    def apply(
        x: jax.Array, kernel: jax.Array, strides: Sides, pads: Pads, precision: Precision
    ) -> jax.Array:
        flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        large = _like(x, (x.shape[0], *sides, kernel.shape[-1]))

        def gradient(y: jax.Array) -> jax.Array:
            def strided(kernel: jax.Array) -> jax.Array:
                return form(y, kernel, strides, pads, precision)

            (out,) = jax.linear_transpose(strided, flipped)(x)
            return out

        (out,) = jax.linear_transpose(gradient, large)(flipped)
        return out

    return apply
