"""Convolutions under weight normalisation, shifted so that they see earlier pixels alone.

Salimans and Kingma 2016, "Weight Normalization" (arXiv:1602.07868), sections 2 and 3: a kernel is
g v / |v| per output, and g and the bias begin where a first batch gives outputs of mean 0 and the
wanted deviation. Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), figure 2, and the code that
its authors released: the shifts.

A layer works on whole maps, or on a row or a pixel of them: then its input is written into a buffer
of collection `cache`, beside what came before, and only the output there is computed. A whole map
with that collection mutable makes empty buffers, and with `kernels` mutable it keeps the kernels,
so that a pixel need not begin with the norms of all weights.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.causal import cached_kernel, valid_conv
from genjax.nn.masked import precision
from genjax.nn.transposed import transposed_conv

NORMAL = nn.initializers.normal(0.05)
Place = tuple[Any, Any]  # a row, and a column or None, in the resolution of a layer's input


class WeightNorm(nn.Module):
    """A weight-normalised linear map of `[B, H, W, I]`: dense, or a convolution.

    features: O.
    height, width: of the kernel; 1 by 1 is a dense layer a pixel.
    above, left, right: rows and columns of zeros around the input; below there are none.
    stride: of rows and columns.
    scale: deviation of the first batch's outputs.
    """

    features: int
    height: int = 1
    width: int = 1
    above: int = 0
    left: int = 0
    right: int = 0
    stride: int = 1
    scale: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, at: Place | None = None) -> jax.Array:
        steps = (self.stride, self.stride)
        margins = [(self.above, 0), (self.left, self.right)]

        def whole(kernel: jax.Array, x: jax.Array) -> jax.Array:
            # The margin is laid first: a convolution with one on one side alone is slow on GPU.
            wide = jnp.pad(x, _pads(margins))
            return valid_conv(wide, kernel, steps)

        shape = (self.height, self.width, x.shape[-1], self.features)
        kernel, bias = _weights(self, shape, whole, x)
        x = x.astype(self.dtype)
        if self.height == self.width == 1:
            return whole(kernel, x) + bias
        if at is None:
            if self.is_mutable_collection("cache") and not self.is_initializing():
                self.variable("cache", "inputs", lambda: jnp.zeros_like(jnp.pad(x, _pads(margins))))
            return whole(kernel, x) + bias
        row, column = at
        kept = self.variable("cache", "inputs", lambda: None)
        corner = (0, row + self.above, self.left + (0 if column is None else column), 0)
        kept.value = jax.lax.dynamic_update_slice(kept.value, x, corner)
        wide = kept.value.shape[2] if column is None else self.width
        first = 0 if column is None else column // self.stride * self.stride
        part = jax.lax.dynamic_slice(
            kept.value,
            (0, row // self.stride * self.stride, first, 0),
            (x.shape[0], self.height, wide, x.shape[-1]),
        )
        return valid_conv(part, kernel, (1, self.stride)) + bias


class WeightNormUp(nn.Module):
    """Its transpose, twice as large: `[B, H, W, I] -> [B, 2 H, 2 W, O]`.

    features: O.
    width: of the kernel, whose height is 2.
    left: columns cut off on the left.
    """

    features: int
    width: int
    left: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, at: Place | None = None) -> jax.Array:
        """With `at`, a place of the output, of an `x` that is the input's row or pixel there."""
        shape = (2, self.width, x.shape[-1], self.features)

        def whole(kernel: jax.Array, x: jax.Array, rows: int = 2) -> jax.Array:
            out = transposed_conv(x, kernel, (rows, 2), "VALID", precision(x.dtype))
            return out[:, : rows * x.shape[1], self.left : self.left + 2 * x.shape[2]]

        kernel, bias = _weights(self, shape, whole, x)
        x = x.astype(self.dtype)
        if at is None:
            return whole(kernel, x) + bias
        row, column = at
        # A transposed convolution takes the kernel's rows from the last to the first.
        kernel = jax.lax.dynamic_slice_in_dim(kernel, 1 - row % 2, 1, axis=0)
        if column is None:
            return whole(kernel, x, rows=1) + bias
        kernel = jax.lax.dynamic_slice_in_dim(kernel, 1 - column % 2, 1, axis=1)
        return valid_conv(x, kernel) + bias


def _weights(
    module: nn.Module, shape: tuple[int, ...], whole: Any, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The kernel and the bias, in the dtype of the computation."""
    return cached_kernel(module, lambda: _normalized(module, shape, whole, x))


def _normalized(
    module: nn.Module, shape: tuple[int, ...], whole: Any, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    v = module.param("v", NORMAL, shape)
    direction = v / jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2), keepdims=True))
    mean = gain = jnp.zeros(shape[-1:])
    if module.is_initializing():
        first = whole(direction, x.astype(jnp.float32))
        mean = jnp.mean(first, axis=(0, 1, 2))
        var = jnp.var(first, axis=(0, 1, 2))
        # Where shifts have left a map of zeros, nothing varies that could be brought to a scale.
        gain = getattr(module, "scale", 1.0) / jnp.sqrt(jnp.where(var < 1e-6, 1.0, var))
    g = module.param("g", lambda key: gain)
    bias = module.param("bias", lambda key: -mean * gain)
    dtype: Any = getattr(module, "dtype", jnp.float32)
    kernel = (g[None, None, None] * direction).astype(dtype)
    return kernel, bias.astype(dtype)[None, None, None]


def _pads(margins: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(0, 0), *margins, (0, 0)]


def down_shifted(features: int, **settings: Any) -> WeightNorm:
    """2x3: a pixel's row and the one above it, a column to either side."""
    return WeightNorm(features, 2, 3, above=1, left=1, right=1, **settings)


def down_right_shifted(features: int, **settings: Any) -> WeightNorm:
    """2x2: a pixel's row and the one above it, and the column on the left."""
    return WeightNorm(features, 2, 2, above=1, left=1, **settings)


def shift_down(x: jax.Array) -> jax.Array:
    """Every row one lower; the first is 0."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


def shift_right(x: jax.Array) -> jax.Array:
    """Every column one further right; the first is 0."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
