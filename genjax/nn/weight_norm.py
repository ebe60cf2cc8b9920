"""Convolutions under weight normalisation, shifted so that they see earlier pixels alone.

Salimans and Kingma 2016, "Weight Normalization" (arXiv:1602.07868), sections 2 and 3: a kernel is
g v / |v| per output, and g and the bias begin where a first batch gives outputs of mean 0 and the
wanted deviation. Salimans et al. 2017, "PixelCNN++" (arXiv:1701.05517), section 2.4: the shifts.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMAL = nn.initializers.normal(0.05)


class WeightNorm(nn.Module):
    """A weight-normalised linear map of `[B, H, W, I]`: dense, convolution, or its transpose.

    features: O.
    height, width: of the kernel; 1 by 1 is a dense layer a pixel.
    above, left, right: rows and columns of zeros around the input; below there are none.
    stride: of rows and columns; with `transpose` the output is that much larger.
    scale: deviation of the first batch's outputs.
    """

    features: int
    height: int = 1
    width: int = 1
    above: int = 0
    left: int = 0
    right: int = 0
    stride: int = 1
    transpose: bool = False
    scale: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.height, self.width, x.shape[-1], self.features)
        v = self.param("v", NORMAL, shape)
        direction = v / jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2), keepdims=True))

        def linear(kernel: jax.Array, x: jax.Array) -> jax.Array:
            if self.transpose:
                out = jax.lax.conv_transpose(
                    x,
                    kernel,
                    (self.stride, self.stride),
                    "VALID",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    transpose_kernel=False,
                )
                rows, columns = (self.stride * s for s in x.shape[1:3])
                return out[:, :rows, self.left : self.left + columns]
            return jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                [(self.above, 0), (self.left, self.right)],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )

        if self.is_initializing():
            first = linear(direction, x.astype(jnp.float32))
            mean = jnp.mean(first, axis=(0, 1, 2))
            gain = self.scale / jnp.sqrt(jnp.var(first, axis=(0, 1, 2)) + 1e-8)
        else:
            mean = gain = jnp.zeros((self.features,))
        g = self.param("g", lambda key: gain)
        bias = self.param("bias", lambda key: -mean * gain)
        kernel = (g[None, None, None] * direction).astype(self.dtype)
        return linear(kernel, x.astype(self.dtype)) + bias.astype(self.dtype)[None, None, None]


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
