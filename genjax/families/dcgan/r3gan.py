"""R3GAN's residual networks without normalisation, whose scale is set by their initialisation.

Grouped bottlenecks whose last convolution is initialised at 0, linear interpolation between
scales, a learnt basis at 4x4. Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN
Baseline" (arXiv:2501.05441), section 3 (config E); initialisation after Zhang et al. 2019, "Fixup
Initialization" (arXiv:1901.09321).
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv
from genjax.nn.resampling import blur_pool, upsample_linear
from genjax.nn.sizes import sides_of

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through a LeakyReLU
EXPANSION = 2
BLOCKS = 2  # per stage


def scaled(gain: float) -> Any:
    """Returns a normal initializer with variance gain^2 / fan-in."""
    if not gain:
        return nn.initializers.zeros
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """Bottleneck with a shortcut: 1x1 up, grouped 3x3, 1x1 down; initially the identity.

    Attributes:
      group: channels per group of the 3x3 convolution.
      blocks: residual blocks in the whole network; initial weights are smaller with more of them.
      dtype: of the computation.
    """

    group: int
    blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        expanded = EXPANSION * x.shape[-1]
        gain = GAIN * self.blocks ** (-1 / 4)  # Fixup with three convolutions: 1 / (2 * 3 - 2)
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": scaled(gain)}
        y = nn.leaky_relu(Conv(expanded, (1, 1), **options)(x), SLOPE)
        groups = max(1, expanded // self.group)
        y = Conv(expanded, (3, 3), feature_group_count=groups, **options)(y)
        options |= {"kernel_init": scaled(0), "use_bias": False}
        return x + Conv(x.shape[-1], (1, 1), **options)(nn.leaky_relu(y, SLOPE))


class R3GanUp(nn.Module):
    """Generator: `[B, Z] -> [B, H, W, C]`, linear output, float32.

    Attributes:
      shape: of the image.
      widths: channels of the stages, smallest map first.
      group: channels per group.
      dtype: of the computation.
    """

    shape: Sequence[int]
    widths: Sequence[int]
    group: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        heights, columns = (sides_of(s, len(self.widths))[::-1] for s in self.shape[:2])
        options: dict[str, Any] = {"dtype": self.dtype, "use_bias": False}
        basis = self.param(
            "basis", nn.initializers.normal(1.0), (heights[0], columns[0], self.widths[0])
        )
        x = nn.Dense(self.widths[0], kernel_init=scaled(1), **options)(z)
        x = x[:, None, None] * basis[None].astype(self.dtype)  # [B, h, w, width]
        for i, width in enumerate(self.widths):
            if i:
                if width != x.shape[-1]:
                    x = Conv(width, (1, 1), kernel_init=scaled(1), **options)(x)
                x = upsample_linear(x)[:, : heights[i], : columns[i]]
            for _ in range(BLOCKS):
                x = Block(self.group, BLOCKS * len(self.widths), self.dtype)(x)
        options["dtype"] = jnp.float32
        return Conv(self.shape[-1], (1, 1), kernel_init=scaled(1), **options)(x)


class R3GanDown(nn.Module):
    """Discriminator without its head: `[B, H, W, C] -> maps`, one per stage, and `[B, width]`.

    Attributes:
      widths: channels of the stages, largest map first.
      group: channels per group.
      dtype: of the computation.
    """

    widths: Sequence[int]
    group: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        options: dict[str, Any] = {"dtype": self.dtype, "use_bias": False}
        options["kernel_init"] = scaled(1)
        x = Conv(self.widths[0], (1, 1), **options)(x)
        out = []
        for i, width in enumerate(self.widths):
            if i:
                x = blur_pool(x)
                if width != x.shape[-1]:
                    x = Conv(width, (1, 1), **options)(x)
            for _ in range(BLOCKS):
                x = Block(self.group, BLOCKS * len(self.widths), self.dtype)(x)
            out.append(x)
        size = x.shape[1:3]  # a weighted sum over each channel's map
        x = Conv(x.shape[-1], size, padding="VALID", feature_group_count=x.shape[-1], **options)(x)
        out.append(x.reshape(x.shape[0], -1))
        return out
