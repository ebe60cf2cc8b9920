"""Residual networks of WGAN-GP and SNGAN.

Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (arXiv:1704.00028),
appendix F; with spectral normalisation and sum pooling, Miyato et al. 2018
(arXiv:1802.05957), table 4.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.sizes import sides_of
from genjax.nn.strided import apply_layer, normalize

HE = nn.initializers.he_normal()


def double(x: jax.Array) -> jax.Array:
    """Repeats every pixel twice in each direction: `[B, H, W, C] -> [B, 2 H, 2 W, C]`."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def halve(x: jax.Array) -> jax.Array:
    """Averages 2x2 pixels, fewer at an odd edge: `[B, H, W, C] -> [B, H / 2, W / 2, C]`."""
    return nn.avg_pool(x, (2, 2), (2, 2), padding="SAME", count_include_pad=False)


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
            y = double(active(x))[:, :h, :w]
            options: dict[str, Any] = {"kernel_init": HE, "dtype": self.dtype}
            y = nn.Conv(width, (3, 3), use_bias=False, **options)(y)
            y = nn.Conv(width, (3, 3), **options)(active(y))
            x = nn.Conv(width, (1, 1), dtype=self.dtype)(double(x)[:, :h, :w]) + y
        return nn.Conv(self.shape[-1], (3, 3), dtype=jnp.float32)(active(x))


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

        def convolve(x: jax.Array, width: int, side: int = 3) -> jax.Array:
            settings = options if side == 3 else {"dtype": self.dtype}
            return apply_layer(self.norm, nn.Conv(width, (side, side), **settings), x, train)

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(normalize(self.norm, x, train, self.dtype))

        out = []
        for i, width in enumerate(self.widths):
            down = i < len(self.widths) - 2
            y = convolve(x if i == 0 else active(x), width)  # the image is not rectified
            y = convolve(active(y) if i else nn.relu(y), width)
            y = halve(y) if down else y
            if i == 0:
                x = convolve(halve(x) if down else x, width, 1)
            elif down or x.shape[-1] != width:
                x = convolve(x, width, 1)
                x = halve(x) if down else x
            x = x + y
            out.append(nn.relu(x))
        return out
