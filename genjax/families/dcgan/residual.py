"""Residual networks of WGAN-GP and SNGAN.

Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv:1704.00028),
appendix F; with spectral normalisation and sum pooling, Miyato et al. 2018
(arXiv:1802.05957), table 4.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv
from genjax.nn.resampling import conv_downsample, upsample_conv
from genjax.nn.sizes import sides_of
from genjax.nn.strided import apply_layer, normalize

HE = nn.initializers.he_normal()


class ResidualUp(nn.Module):
    """Generator: `[B, Z] -> [B, H, W, C]`, linear output, float32.

    Attributes:
      shape: of the image.
      widths: channels of the blocks, each of which doubles the map.
      dtype: of the computation.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        heights, columns = (sides_of(s, len(self.widths) + 1)[::-1] for s in self.shape[:2])
        x = nn.Dense(heights[0] * columns[0] * self.widths[0], dtype=self.dtype)(z)
        x = x.reshape(-1, heights[0], columns[0], self.widths[0])

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(normalize("batch", x, train, self.dtype))

        for width, h, w in zip(self.widths, heights[1:], columns[1:], strict=True):
            options: dict[str, Any] = {"kernel_init": HE, "dtype": self.dtype}
            up = {"conv_general_dilated": functools.partial(upsample_conv, size=(h, w))}
            y = Conv(width, (3, 3), use_bias=False, **options, **up)(active(x))
            y = Conv(width, (3, 3), **options)(active(y))
            x = Conv(width, (1, 1), dtype=self.dtype, **up)(x) + y
        return Conv(self.shape[-1], (3, 3), dtype=jnp.float32)(active(x))


class ResidualDown(nn.Module):
    """Discriminator without its head: `[B, H, W, C] -> maps`, one per block, after the ReLU.

    Attributes:
      widths: channels of the blocks, of which all but the last two halve the map.
      norm: `layer`, `spectral` or `none`.
      dtype: of the computation.
    """

    widths: Sequence[int]
    norm: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
        options: dict[str, Any] = {"kernel_init": HE, "dtype": self.dtype}

        def convolve(x: jax.Array, width: int, side: int = 3, down: bool = False) -> jax.Array:
            settings = options if side == 3 else {"dtype": self.dtype}
            settings = settings | ({"conv_general_dilated": conv_downsample} if down else {})
            return apply_layer(self.norm, Conv(width, (side, side), **settings), x, train)

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(normalize(self.norm, x, train, self.dtype))

        out = []
        for i, width in enumerate(self.widths):
            down = i < len(self.widths) - 2
            y = convolve(x if i == 0 else active(x), width)  # the image is not rectified
            y = convolve(active(y) if i else nn.relu(y), width, down=down)
            if i == 0 or down or x.shape[-1] != width:
                x = convolve(x, width, 1, down)
            x = x + y
            out.append(nn.relu(x))
        return out
