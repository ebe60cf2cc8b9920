"""Convolutional residual networks between images and vectors, for VAEs.

Blocks of two 3x3 convolutions, each after an ELU, with a shortcut; the first block of every level
but the first halves the image, and the decoder reverses the levels. Kingma et al. 2016,
"Improved Variational Inference with Inverse Autoregressive Flow", section 6.1 (a convolutional VAE
with the residual blocks of He et al. 2015).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn import MLP, sides_of
from genjax.nn.convolution import Conv
from genjax.nn.resampling import upsample_conv, upsample_nearest


class ResidualBlock(nn.Module):
    """`[B, H, W, C] -> [B, H', W', channels]`; H' is H, half of it, or given by `size`."""

    channels: int
    halve: bool = False  # halves the image by a stride of 2
    # (H', W') of an output at most twice as large, by repeated pixels cropped to size
    size: tuple[int, int] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"strides": 2 if self.halve else 1}
        if self.size is not None:
            options["conv_general_dilated"] = functools.partial(upsample_conv, size=self.size)
        h = self.conv("conv_0", **options)(nn.elu(x))
        h = self.conv("conv_1")(nn.elu(h))
        if self.halve or x.shape[-1] != self.channels:
            x = Conv(self.channels, (1, 1), dtype=self.dtype, name="shortcut", **options)(x)
        elif self.size is not None:
            x = upsample_nearest(x)[:, : self.size[0], : self.size[1]]
        return x + h

    def conv(self, name: str, **options: Any) -> nn.Conv:
        # Padding of (1, 1) for every stride.
        return Conv(self.channels, (3, 3), padding=1, dtype=self.dtype, name=name, **options)


class ResNetEncoder(nn.Module):
    """`x [B, H, W, C]`, condition `[B, K]` or None -> `[B, out]` in float32."""

    channels: Sequence[int]  # feature maps of each level
    blocks: int  # residual blocks per level
    hidden: Sequence[int]  # units of the dense layers after them
    out: int
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        h = Conv(self.channels[0], (3, 3), padding=1, dtype=self.dtype, name="first")(x)
        for level, channels in enumerate(self.channels):
            for i in range(self.blocks):
                halve = level > 0 and i == 0
                h = ResidualBlock(
                    channels, halve=halve, dtype=self.dtype, name=f"level_{level}_{i}"
                )(h)
        h = nn.elu(h).reshape(h.shape[0], -1)
        if condition is not None:
            h = jnp.concatenate([h, condition.astype(h.dtype)], axis=-1)
        return MLP(self.hidden, self.out, nn.elu, self.dtype, self.kernel_init, name="dense")(h)


class ResNetDecoder(nn.Module):
    """`z [B, Z] -> [B, H, W, out]` in float32: the encoder's levels reversed."""

    shape: tuple[int, int]  # (H, W) of the output
    channels: Sequence[int]  # feature maps of each level, in the encoder's order
    blocks: int  # residual blocks per level
    hidden: Sequence[int]  # units of the dense layers before them, in the encoder's order
    out: int
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        levels = len(self.channels)
        sides = list(zip(*(sides_of(side, levels) for side in self.shape), strict=True))
        height, width = sides[-1]
        dense = MLP(
            self.hidden[::-1],
            height * width * self.channels[-1],
            nn.elu,
            self.dtype,
            self.kernel_init,
            name="dense",
        )
        h = dense(z).reshape(-1, height, width, self.channels[-1]).astype(self.dtype)
        for level in reversed(range(levels)):
            for i in range(self.blocks):
                grow = level < levels - 1 and i == 0
                h = ResidualBlock(
                    self.channels[level],
                    size=sides[level] if grow else None,
                    dtype=self.dtype,
                    name=f"level_{level}_{i}",
                )(h)
        last = Conv(self.out, (3, 3), padding=1, dtype=jnp.float32, name="last")
        return last(nn.elu(h).astype(jnp.float32))
