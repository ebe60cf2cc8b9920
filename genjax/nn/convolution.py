"""Convolutions and transposed convolutions of images.

`conv` and `transposed_conv` compute what `jax.lax` does. On a CPU the value and each gradient have
the form that is fastest for the shape (`conv_forms.py`). On a GPU a convolution whose kernel is
larger than its output, and transposed ones, have forms that multiply no zeros (`transposed.py`).
Everything else is XLA's own. Derivatives exist in both modes, to any order.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn import conv_forms, transposed
from genjax.nn.conv_forms import NHWC, Pads, Precision, Sides
from genjax.nn.padding import pad_or_crop
from genjax.nn.transposed import Padding

Layer = Callable[[jax.Array, jax.Array], jax.Array]
# Options that only XLA's own convolutions support.
UNSUPPORTED = (
    *("lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count"),
    "preferred_element_type",
)


def conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "SAME",
    **options: Any,
) -> Any:
    """Computes a convolution: `[B, H, W, I]`, kernel `[h, w, I, O]` -> `[B, H', W', O]`.

    Args:
      x: maps.
      kernel: weights.
      strides: of rows and columns.
      padding: `SAME`, `VALID`, or numbers of zeros before and after rows and columns; negative
        numbers crop.
      options: as of `jax.lax.conv_general_dilated`; with dilations, groups or other layouts the
        convolution is XLA's. So is it for explicitly sharded maps.
    """
    options.setdefault("dimension_numbers", NHWC)
    if not isinstance(padding, str):
        padding = tuple((low, high) for low, high in padding)
    static = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    return _conv(x, kernel, tuple(strides), padding, tuple(static.items()))


# JAX keeps the trace of a jitted function: layers of equal shapes and options are traced once.
@functools.partial(jax.jit, static_argnums=(2, 3, 4), inline=True)
def _conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    named: tuple[tuple[str, Any], ...],
) -> Any:
    options = dict(named)

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)

    if not _has_forms(x, kernel, options):
        return plain(x, kernel)
    precision = options.get("precision")
    steps = (strides[0], strides[1])
    pads = _pads(x.shape[1:3], kernel.shape, steps, padding)
    if x.shape[1:3] == kernel.shape[:2] and not any(map(any, pads)):
        return jnp.einsum("bhwi,hwio->bo", x, kernel, precision=precision)[:, None, None]
    sides = conv_forms.output_sides(x, kernel, steps, pads)
    if min(sides) < 1:
        return plain(x, kernel)  # raises the error or is empty
    settings: dict[str, Any] = {"strides": steps, "pads": pads, "precision": precision}
    on_gpu = on_other = plain
    if not isinstance(padding, str) and any(low != high for low, high in pads):
        # XLA has no fast convolution with asymmetric padding for a GPU.
        def on_other(x: jax.Array, kernel: jax.Array) -> jax.Array:
            x = pad_or_crop(x, pads)
            return jax.lax.conv_general_dilated(x, kernel, strides, "VALID", **options)

        on_gpu = on_other
    if math.prod(steps) > 1 and transposed.is_larger(kernel, sides):
        # In bfloat16 each of its sums is rounded, which doubles the rounding error.
        on_gpu = functools.partial(conv_forms.phases, **settings, form=conv_forms.by_xla)

    forms = conv_forms.select(x.shape, kernel.shape, steps, sides, x.dtype)
    if set(forms) == {conv_forms.direct} and on_gpu is on_other is plain and any(map(any, pads)):
        return plain(x, kernel)
    value, by_input, by_kernel = (
        _on_each_device(functools.partial(f, **settings), on_gpu, on_other) for f in forms
    )
    if len(set(forms)) == 1:
        return value(x, kernel)
    return bilinear(value, by_input, by_kernel, x, kernel)


def _has_forms(x: jax.Array, kernel: jax.Array, options: dict[str, Any]) -> bool:
    """Returns whether a convolution can be computed in other forms than XLA's."""
    if any(options.get(name) not in (None, 1, (1, 1)) for name in UNSUPPORTED):
        return False
    if x.ndim != 4 or x.dtype != kernel.dtype or _explicitly_sharded(x):
        return False
    layout = options["dimension_numbers"]
    if isinstance(layout, jax.lax.ConvDimensionNumbers):  # as Flax passes it
        return layout == jax.lax.conv_dimension_numbers(x.shape, kernel.shape, NHWC)
    return layout == NHWC


def _explicitly_sharded(x: jax.Array) -> bool:
    """Returns whether the sharding is part of the type; then reshapes in the forms need theirs."""
    return any(jax.typeof(x).sharding.spec)


def _pads(
    sides: Sequence[int],
    kernel: Sequence[int],
    strides: Sides,
    padding: str | Sequence[tuple[int, int]],
) -> Pads:
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(sides, kernel[:2], strides, padding)
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def transposed_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Padding,
    precision: Precision = None,
) -> jax.Array:
    """Computes `jax.lax.conv_transpose`: `[B, H, W, I]`, kernel `[h, w, I, O]` -> `[B, ., ., O]`.

    A side becomes side * stride with SAME, and side * stride + max(kernel - stride, 0) with VALID.
    A pair of numbers is the padding of the dilated image, each at most kernel - 1.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning"
    (arXiv:1603.07285), chapter 4.
    """
    if not isinstance(padding, str):
        padding = (padding[0], padding[1])
    return _transposed_conv(x, kernel, (strides[0], strides[1]), padding, precision)


@functools.partial(jax.jit, static_argnums=(2, 3, 4), inline=True)
def _transposed_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    precision: Precision,
) -> jax.Array:
    def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        pads = padding if isinstance(padding, str) else [padding] * 2
        return jax.lax.conv_transpose(
            x, kernel, strides, pads, dimension_numbers=NHWC, precision=precision
        )

    if _explicitly_sharded(x):
        return dilated(x, kernel)

    def form(of: Callable[..., jax.Array]) -> Layer:
        return lambda x, kernel: of(x, kernel, strides, padding, precision)

    by_remainder, as_gradient = form(transposed.by_remainder), form(transposed.as_gradient)
    # XLA maps the layer and its gradient by x to cuDNN's calls; the gradient by the kernel only in
    # the form by remainders.
    on_gpu = by_remainder if transposed.is_larger(kernel, x.shape[1:3]) else as_gradient
    (height, _, top), (width, _, left) = (
        transposed.axis(x.shape[i + 1], kernel.shape[i], strides[i], padding) for i in range(2)
    )
    # The layer is the transpose of this convolution of its output.
    before = kernel.shape[0] - 1 - top, kernel.shape[1] - 1 - left
    after = [
        (x.shape[i + 1] - 1) * strides[i] + kernel.shape[i] - (height, width)[i] - before[i]
        for i in range(2)
    ]
    settings: dict[str, Any] = {
        "strides": strides,
        "pads": ((before[0], after[0]), (before[1], after[1])),
        "precision": precision,
    }
    sides = (height, width)
    large = (x.shape[0], *sides, kernel.shape[-1])
    swapped = (*kernel.shape[:2], kernel.shape[3], kernel.shape[2])
    forms = conv_forms.select(large, swapped, strides, (x.shape[1], x.shape[2]), x.dtype)
    on_cpu = (
        conv_forms.transposed(forms.by_input, sides),
        # Not `value`: the gradient of a gradient penalty would be a dilated convolution.
        conv_forms.transposed(forms.by_input, sides),
        conv_forms.transposed_by_kernel(forms.by_kernel, sides),
    )
    value, by_input, by_kernel = (functools.partial(f, **settings) for f in on_cpu)
    return bilinear(
        _on_each_device(value, on_gpu, dilated),
        _on_each_device(by_input, on_gpu, dilated),
        _on_each_device(by_kernel, by_remainder, dilated),
        x,
        kernel,
    )


def _on_each_device(cpu: Layer, gpu: Layer, other: Layer) -> Layer:
    platforms = {"cpu": cpu} if gpu is other else {"cpu": cpu, "cuda": gpu}

    def apply(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(x, kernel, default=other, **platforms)

    return apply


def bilinear(
    value: Layer, by_input: Layer, by_kernel: Layer, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """Applies a bilinear function, with separate implementations for its gradients.

    The gradient by x is the transpose of `by_input`, that by the kernel of `by_kernel`.
    """

    @jax.custom_jvp
    def layer(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return value(x, kernel)

    @layer.defjvp
    def tangent(primals: Any, tangents: Any) -> Any:
        (x, kernel), (dx, dkernel) = primals, tangents
        return layer(x, kernel), by_input(dx, kernel) + by_kernel(x, dkernel)

    return layer(x, kernel)


# Parameters, names and values as of Flax's layer.
Conv = functools.partial(nn.Conv, conv_general_dilated=conv)


class ConvTranspose(nn.Module):
    """`nn.ConvTranspose` with the same parameters, `[B, H, W, I] -> [B, ., ., O]`."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32
    precision: Precision = None

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
