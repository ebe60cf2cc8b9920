"""Networks that translate images: residual generators, and discriminators of patches and pixels.

Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"
(arXiv:1703.10593), appendix 7.2, with the padding and biases of the authors' code; patches after
Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks"
(arXiv:1611.07004), section 3.2.2. Weights are initialised from N(0, 0.02^2).
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.norms import InstanceNorm
from genjax.nn.padding import pad
from genjax.nn.resampling import upsample_conv

Norm = Literal["batch", "instance"]
Upsampling = Literal["transposed", "resize"]

INIT = nn.initializers.normal(0.02)
SLOPE = 0.2  # of LeakyReLU below 0
DOUBLINGS = 3  # of the discriminator's channels at most
ONE = ((1, 1), (1, 1))  # zeros around maps


def normalize(norm: Norm, x: jax.Array, train: bool, dtype: Any) -> jax.Array:
    """Applies batch normalisation, or instance normalisation without affine parameters.

    Within a compact module. Batch normalisation uses batch statistics in training and running ones
    otherwise; its scales are initialised from N(1, 0.02^2).
    """
    if norm == "instance":
        return InstanceNorm()(x)
    initial = lambda key, shape, dtype=jnp.float32: 1 + INIT(key, shape, dtype)  # noqa: E731
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, scale_init=initial, dtype=dtype
    )(x)


def up(features: int, upsampling: Upsampling, x: jax.Array, dtype: Any) -> jax.Array:
    """Doubles the sides of maps within a compact module: `[B, H, W, C] -> [B, 2 H, 2 W, features]`.

    `transposed` is a 3x3 transposed convolution of stride 2, whose output pixels have unequal
    numbers of taps; `resize` repeats pixels before a 3x3 convolution, which has no such pattern
    (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts").
    """
    if upsampling == "resize":
        options: dict[str, Any] = {"kernel_init": INIT, "dtype": dtype}
        return Conv(features, (3, 3), conv_general_dilated=upsample_conv, **options)(x)
    # Padding (1, 2) of the dilated maps is padding 1 with output padding 1.
    return ConvTranspose(features, (3, 3), (2, 2), (1, 2), kernel_init=INIT, dtype=dtype)(x)


class ResnetGenerator(nn.Module):
    """Residual generator: `[B, H, W, I] -> [B, H, W, channels]` in (-1, 1), float32.

    H and W are multiples of 2^downs. Reflection pads the first and last convolution and the
    residual blocks, zeros the others. Instance normalisation without affine parameters follows
    every convolution except the last.

    Attributes:
      channels: of the output.
      width: channels of the first map, doubled by every halving.
      blocks: residual blocks.
      downs: halvings of the side, and doublings after the blocks.
      kernel: side of the first and the last convolution, odd.
      upsampling: see `up`.
      dtype: of the computation; the last convolution is float32.
    """

    channels: int
    width: int = 64
    blocks: int = 9
    downs: int = 2
    kernel: int = 7
    upsampling: Upsampling = "transposed"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        conv = functools.partial(Conv, kernel_init=INIT, dtype=self.dtype)

        def reflected(x: jax.Array, features: int, side: int, **options: Any) -> jax.Array:
            x = pad(x, side // 2, "reflect")
            return conv(features, (side, side), padding="VALID", **options)(x)

        def active(x: jax.Array) -> jax.Array:
            return nn.relu(InstanceNorm()(x))

        x = active(reflected(x, self.width, self.kernel))
        for i in range(1, self.downs + 1):
            x = active(conv(self.width * 2**i, (3, 3), (2, 2), padding=ONE)(x))
        features = x.shape[-1]
        for _ in range(self.blocks):
            y = active(reflected(x, features, 3))
            x = x + InstanceNorm()(reflected(y, features, 3))
        for i in reversed(range(self.downs)):
            x = active(up(self.width * 2**i, self.upsampling, x, self.dtype))
        return jnp.tanh(reflected(x, self.channels, self.kernel, dtype=jnp.float32))


class PatchDiscriminator(nn.Module):
    """Discriminator of overlapping patches: `[B, H, W, C] -> logits [B, h, w]`, float32.

    4x4 convolutions padded by 1: `layers` halve the side, two of stride 1 follow, so h is
    floor(H / 2^layers) - 2. The receptive field of a logit is 70 pixels with 3 layers, 34 with 2.

    Attributes:
      width: channels of the first map, doubled by each layer at most three times.
      layers: halvings of the side, above 0.
      norm: normalisation after every convolution except the first and the last.
      dtype: of the computation; the last convolution is float32.
    """

    width: int = 64
    layers: int = 3
    norm: Norm = "instance"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        conv = functools.partial(Conv, kernel_size=(4, 4), padding=ONE, kernel_init=INIT)
        for i in range(self.layers + 1):
            stride = (2, 2) if i < self.layers else (1, 1)
            bias = i == 0 or self.norm != "batch"  # batch normalisation has its own
            features = self.width * 2 ** min(i, DOUBLINGS)
            x = conv(features, strides=stride, use_bias=bias, dtype=self.dtype)(x)
            x = nn.leaky_relu(normalize(self.norm, x, train, self.dtype) if i else x, SLOPE)
        return conv(1, dtype=jnp.float32)(x)[..., 0]


class PixelDiscriminator(nn.Module):
    """Discriminator of single pixels by 1x1 convolutions: `[B, H, W, C] -> logits [B, H, W]`.

    Attributes:
      width: channels of the first of two hidden layers; the second has twice as many.
      norm: normalisation of the second.
      dtype: of the computation; the last convolution is float32.
    """

    width: int = 64
    norm: Norm = "instance"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        conv = functools.partial(Conv, kernel_size=(1, 1), kernel_init=INIT)
        bias = self.norm != "batch"
        x = nn.leaky_relu(conv(self.width, dtype=self.dtype)(x), SLOPE)
        x = conv(2 * self.width, use_bias=bias, dtype=self.dtype)(x)
        x = nn.leaky_relu(normalize(self.norm, x, train, self.dtype), SLOPE)
        return conv(1, use_bias=bias, dtype=jnp.float32)(x)[..., 0]
