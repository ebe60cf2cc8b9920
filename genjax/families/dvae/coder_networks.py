"""Encoder and decoder: residual networks without normalisation.

Initial weights are N(0, 1 / (k^2 in)) for a k x k kernel with `in` input channels, biases are zero.
A residual block adds a branch, times 1 / (number of blocks)^2, to its input. In the branch, a ReLU
precedes every convolution.

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (arXiv:2102.12092), appendix A.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import conv
from genjax.nn.resampling import upsample_conv

WEIGHTS = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


def _conv(features: int, side: int, dtype: Any, name: str, up: bool = False) -> nn.Conv:
    """Returns a convolution; with `up`, of the maps after nearest-neighbour upsampling."""
    return nn.Conv(
        features,
        (side, side),
        kernel_init=WEIGHTS,
        dtype=dtype,
        name=name,
        conv_general_dilated=upsample_conv if up else conv,
    )


def max_pool(x: jax.Array) -> jax.Array:
    """Takes the maximum of 2x2 pixels: `[B, 2 H, 2 W, C] -> [B, H, W, C]`.

    The gradient is divided among equal pixels.
    """
    x = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])


class Block(nn.Module):
    """Residual block: `[B, H, W, I] -> [B, H, W, features]`, or `[B, 2 H, 2 W, features]`.

    Attributes:
      features: channels of the result; the branch has a quarter of them.
      sides: sides of the branch's kernels.
      gain: factor of the branch.
      up: whether to upsample the input. Convolutions with 1x1 kernels are computed before the
        upsampling, with the same result.
      dtype: of the computation.
    """

    features: int
    sides: tuple[int, ...]
    gain: float
    up: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branch, up = x, self.up
        last = len(self.sides) - 1
        for i, side in enumerate(self.sides):
            features = self.features if i == last else self.features // 4
            here = up and side > 1
            branch = _conv(features, side, self.dtype, f"conv_{i}", here)(nn.relu(branch))
            up = up and not here
        if x.shape[-1] != self.features or self.up:
            x = _conv(self.features, 1, self.dtype, "skip", self.up)(x)
        return x + self.gain * branch


class Encoder(nn.Module):
    """Encodes images: `[B, H, W, C] -> [B, h, w, features]` float32, with h = H / 2^(groups - 1).

    Attributes:
      features: channels of the result.
      hidden: channels of the first group; each group has twice as many as the previous one.
      groups: groups of blocks, with a 2x2 max-pooling between groups.
      blocks: residual blocks per group.
      dtype: of the hidden layers.
    """

    features: int
    hidden: int
    groups: int
    blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = 1 / (self.groups * self.blocks) ** 2
        x = _conv(self.hidden, 7, self.dtype, "in")(x)
        for group in range(self.groups):
            x = max_pool(x) if group else x
            for block in range(self.blocks):
                name, width = f"group_{group}_block_{block}", self.hidden * 2**group
                x = Block(width, (3, 3, 3, 1), gain, dtype=self.dtype, name=name)(x)
        return _conv(self.features, 1, jnp.float32, "out")(nn.relu(x).astype(jnp.float32))


class Decoder(nn.Module):
    """Decodes codes: `[B, h, w, inputs] -> [B, H, W, features]` float32.

    The first layer is a 1x1 convolution. For one-hot codes its kernel is the codebook, and the
    input may be tokens, integers `[B, h, w]`, which select its rows.

    Attributes:
      inputs: dimensions of a code.
      features: channels of the result.
      width: channels of the first layer.
      hidden: channels of the last group; each group has half as many as the previous one.
      groups: groups of blocks, with upsampling between groups.
      blocks: residual blocks per group.
      dtype: of the hidden layers.
    """

    inputs: int
    features: int
    width: int
    hidden: int
    groups: int
    blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        kernel = self.param("codebook", WEIGHTS, (self.inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        if jnp.issubdtype(code.dtype, jnp.integer):
            x = kernel.at[code].get(mode="fill", fill_value=jnp.nan)
        else:
            x = code @ kernel
        x = (x + bias[None, None, None]).astype(self.dtype)
        gain = 1 / (self.groups * self.blocks) ** 2
        for group in range(self.groups):
            width = self.hidden * 2 ** (self.groups - 1 - group)
            for block in range(self.blocks):
                up, name = group > 0 and block == 0, f"group_{group}_block_{block}"
                x = Block(width, (1, 3, 3, 3), gain, up, self.dtype, name=name)(x)
        return _conv(self.features, 1, jnp.float32, "out")(nn.relu(x).astype(jnp.float32))
