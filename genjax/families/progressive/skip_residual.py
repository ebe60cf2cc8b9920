"""Skip generator and residual discriminator, which train at their final side without growing.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (arXiv:1912.04958),
section 4 and figure 7, without style modulation: the blocks are those of the progressive GAN. All
resampling repeats or averages 2x2 pixels as in those, where the paper interpolates linearly.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.progressive.growing_networks import (
    SLOPE,
    DiscriminatorBlock,
    GeneratorBlock,
    checkpointed,
    discriminator_outputs,
    from_rgb,
    latent_inputs,
    to_rgb,
)
from genjax.families.progressive.settings import Config, blocks, width
from genjax.nn.equalized import EqualizedConv
from genjax.nn.resampling import upsample_nearest


class SkipGenerator(nn.Module):
    """`[B, Z], one-hot [B, K] or None -> [B, side, side, C]`, float32.

    The image is the sum of the RGB layers of all sides: that of the smallest side is upsampled and
    added to the next, and so on. All of them train from the first step; alpha has no effect.

    Attributes:
      config: the Config.
      side: of the images.
    """

    config: Config
    side: int

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        condition: jax.Array | None = None,
        alpha: jax.Array | float = 1.0,
        train: bool = False,
    ) -> jax.Array:
        del alpha
        c = self.config
        block, images = checkpointed(c, GeneratorBlock), []
        x: Any = latent_inputs(c, z, condition)
        for side in blocks(c, self.side):
            x = block(c, side, name=f"{side}x{side}")(x, train)
            images.append(to_rgb(c, side)(x))
        image = functools.reduce(lambda total, rgb: upsample_nearest(total) + rgb, images)
        return jnp.tanh(image) if c.output == "tanh" else image


class ResidualDiscriminator(nn.Module):
    """`[B, side, side, C] -> logits [B], logits of the labels [B, K], smallest maps`.

    The outputs are those of the progressive discriminator. Alpha has no effect.

    Attributes:
      config: the Config.
      side: of the images.
    """

    config: Config
    side: int

    @nn.compact
    def __call__(
        self, x: jax.Array, alpha: jax.Array | float = 1.0, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        del alpha
        c = self.config
        x = nn.leaky_relu(from_rgb(c, self.side)(x), SLOPE)
        block = checkpointed(c, ResidualBlock)
        for side in blocks(c, self.side)[:0:-1]:
            x = block(c, side, name=f"{side}x{side}")(x, train)
        return discriminator_outputs(c, x, train)


class ResidualBlock(nn.Module):
    """Two layers beside a 1x1 convolution: `[B, side, side, width] -> [B, side / 2, side / 2, .]`.

    Both outputs have half the side. Their sum is divided by sqrt 2, which keeps its variance if
    they are uncorrelated.

    Attributes:
      config: the Config.
      side: of the input.
    """

    config: Config
    side: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        c = self.config
        layers = DiscriminatorBlock(c, self.side, name="layers")
        skip = EqualizedConv(
            width(c, self.side // 2),
            kernel=1,
            gain=1.0,
            resample="down",
            equalized=c.equalized,
            use_bias=False,
            dtype=jnp.dtype(c.dtype),
            name="skip",
        )
        return (layers(x, train) + skip(x)) / math.sqrt(2)
