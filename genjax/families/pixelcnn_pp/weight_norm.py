"""Weight-normalized causal convolutions.

A kernel is g v / |v| per output. g and the bias are initialized on a batch, so that outputs have
mean 0 and a given standard deviation. Layers compute whole maps, or a single row or pixel. For the
latter, the input is written into a buffer in collection `cache`. A call on whole maps with that
collection mutable makes empty buffers.

Sources: Salimans and Kingma 2016, "Weight Normalization" (arXiv:1602.07868), sections 2 and 3;
Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), figure 2, and the authors' code (shifts).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.causal import cached_kernel
from genjax.nn.convolution import conv, transposed_conv
from genjax.nn.masked import precision

NORMAL = nn.initializers.normal(0.05)
Place = tuple[Any, Any]  # a row, and a column or None, in the resolution of a layer's input


class WeightNorm(nn.Module):
    """Weight-normalized convolution, `[B, H, W, I] -> [B, H', W', O]`."""

    features: int  # number of output features O
    height: int = 1  # size of the kernel; 1 by 1 is a dense layer per pixel
    width: int = 1
    above: int = 0  # rows and columns of zero padding
    left: int = 0
    right: int = 0
    stride: int = 1
    scale: float = 1.0  # standard deviation of the outputs at initialization
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, at: Place | None = None) -> jax.Array:
        steps = (self.stride, self.stride)
        margins = [(0, 0), (self.above, 0), (self.left, self.right), (0, 0)]

        def whole(kernel: jax.Array, x: jax.Array) -> jax.Array:
            return conv(x, kernel, steps, margins[1:3], precision=precision(x.dtype))

        shape = (self.height, self.width, x.shape[-1], self.features)
        kernel, bias = cached_kernel(self, lambda: _weights(self, shape, whole, x))
        x = x.astype(self.dtype)
        if self.height == self.width == 1:
            return whole(kernel, x) + bias
        if at is None:
            if self.is_mutable_collection("cache") and not self.is_initializing():
                self.variable("cache", "inputs", lambda: jnp.zeros_like(jnp.pad(x, margins)))
            return whole(kernel, x) + bias
        row, column = at
        cached = self.variable("cache", "inputs", lambda: None)
        corner = (0, row + self.above, self.left + (0 if column is None else column), 0)
        cached.value = jax.lax.dynamic_update_slice(cached.value, x, corner)
        wide = cached.value.shape[2] if column is None else self.width
        first = 0 if column is None else column // self.stride * self.stride
        part = jax.lax.dynamic_slice(
            cached.value,
            (0, row // self.stride * self.stride, first, 0),
            (x.shape[0], self.height, wide, x.shape[-1]),
        )
        return conv(part, kernel, (1, self.stride), "VALID", precision=precision(part.dtype)) + bias


class WeightNormUp(nn.Module):
    """Weight-normalized transposed convolution, `[B, H, W, I] -> [B, 2 H, 2 W, O]`."""

    features: int  # number of output features O
    width: int  # width of the kernel, whose height is 2
    left: int = 0  # number of output columns removed on the left
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, at: Place | None = None) -> jax.Array:
        """Applies the layer; `at` is a place of the output, for which `x` is a row or a pixel."""
        shape = (2, self.width, x.shape[-1], self.features)

        def whole(kernel: jax.Array, x: jax.Array, rows: int = 2) -> jax.Array:
            out = transposed_conv(x, kernel, (rows, 2), "VALID", precision(x.dtype))
            return out[:, : rows * x.shape[1], self.left : self.left + 2 * x.shape[2]]

        kernel, bias = cached_kernel(self, lambda: _weights(self, shape, whole, x))
        x = x.astype(self.dtype)
        if at is None:
            return whole(kernel, x) + bias
        row, column = at
        # A transposed convolution reads the kernel's rows in reverse.
        kernel = jax.lax.dynamic_slice_in_dim(kernel, 1 - row % 2, 1, axis=0)
        if column is None:
            return whole(kernel, x, rows=1) + bias
        kernel = jax.lax.dynamic_slice_in_dim(kernel, 1 - column % 2, 1, axis=1)
        return conv(x, kernel, padding="VALID", precision=precision(x.dtype)) + bias


def _weights(
    module: nn.Module, shape: tuple[int, ...], whole: Any, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the normalized kernel and the bias in the dtype of the computation."""
    v = module.param("v", NORMAL, shape)
    direction = v / jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2), keepdims=True))
    mean = gain = jnp.zeros(shape[-1:])
    if module.is_initializing():
        first = whole(direction, x.astype(jnp.float32))
        mean = jnp.mean(first, axis=(0, 1, 2))
        var = jnp.var(first, axis=(0, 1, 2))
        # Shifts may leave a map of zeros, which cannot be scaled.
        gain = getattr(module, "scale", 1.0) / jnp.sqrt(jnp.where(var < 1e-6, 1.0, var))
    g = module.param("g", lambda key: gain)
    bias = module.param("bias", lambda key: -mean * gain)
    dtype: Any = getattr(module, "dtype", jnp.float32)
    kernel = (g[None, None, None] * direction).astype(dtype)
    return kernel, bias.astype(dtype)[None, None, None]


def down_shifted(features: int, **settings: Any) -> WeightNorm:
    """Returns a 2x3 convolution of a pixel's row and the row above, with both side columns."""
    return WeightNorm(features, 2, 3, above=1, left=1, right=1, **settings)


def down_right_shifted(features: int, **settings: Any) -> WeightNorm:
    """Returns a 2x2 convolution of a pixel's row and the row above, with the left column."""
    return WeightNorm(features, 2, 2, above=1, left=1, **settings)


def shift_down(x: jax.Array) -> jax.Array:
    """Shifts rows down by one; the first becomes 0."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


def shift_right(x: jax.Array) -> jax.Array:
    """Shifts columns to the right by one; the first becomes 0."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
