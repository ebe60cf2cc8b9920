"""Generator and discriminator of GAN-INT-CLS: strided convolutions with residual blocks.

Reed et al. 2016, "Generative Adversarial Text to Image Synthesis" (arXiv:1605.05396), section 4.1,
with the residual blocks of the authors' code. Every layer doubles or halves the side of its map;
the smallest map is 4x4. 64x64 images have four such layers, smaller images fewer.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.strided import join

SMALLEST = 4  # side of the smallest map
SLOPE = 0.2  # of LeakyReLU
NORMAL = nn.initializers.normal(0.02)
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's dense layers


def near_one(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Draws initial scales of batch normalisation, N(1, 0.02)."""
    return 1 + NORMAL(key, shape, dtype)


def leaky_relu(x: jax.Array) -> jax.Array:
    """Applies a LeakyReLU of slope 0.2."""
    return nn.leaky_relu(x, SLOPE)


def steps(side: int) -> int:
    """Returns log2(side / 4), or 0 if the side is not 4 times a power of two."""
    halvings = side.bit_length() - SMALLEST.bit_length()
    return halvings if halvings > 0 and side == SMALLEST << halvings else 0


def batch_norm(x: jax.Array, train: bool, dtype: Any) -> jax.Array:
    """Applies batch normalisation, by the batch's statistics in training, else by running ones."""
    norm = nn.BatchNorm(
        use_running_average=not train, momentum=0.9, dtype=dtype, scale_init=near_one
    )
    return norm(x)


class BottleneckBlock(nn.Module):
    """Residual block of a 1x1 and two 3x3 convolutions with batch normalisation.

    An activation follows the sum of input and branch.

    Attributes:
      activation: between the convolutions, and after the sum.
      dtype: of the computation.
    """

    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        width, y = x.shape[-1], x
        narrow = max(1, width // 4)
        for i, (features, side) in enumerate(((narrow, 1), (narrow, 3), (width, 3))):
            y = self.activation(y) if i else y
            y = Conv(features, (side, side), use_bias=False, kernel_init=NORMAL, dtype=self.dtype)(
                y
            )
            y = batch_norm(y, train, self.dtype)
        return self.activation(x + y)


class Generator(nn.Module):
    """Noise `[B, Z]` and text embeddings `[B, E]` -> images `[B, S, S, C]` in [-1, 1], float32.

    Attributes:
      side: of the images, S.
      channels: of the images, C.
      width: channels of the last map before the image.
      text_width: features of the text.
      dtype: of the hidden layers.
    """

    side: int
    channels: int
    width: int
    text_width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, text: jax.Array, train: bool = False) -> jax.Array:
        number = steps(self.side)
        dense = nn.Dense(self.text_width, kernel_init=UNIFORM, dtype=self.dtype, name="text")
        x = jnp.concatenate([z.astype(self.dtype), leaky_relu(dense(text))], axis=1)
        widest = self.width * 2 ** (number - 1)
        # A transposed 4x4 convolution of one pixel.
        first = nn.Dense(SMALLEST**2 * widest, use_bias=False, kernel_init=NORMAL, dtype=self.dtype)
        x = first(x).reshape(-1, SMALLEST, SMALLEST, widest)
        for i in range(number):
            if i:
                x = self.upsample(x, widest >> i)
            x = batch_norm(x, train, self.dtype)
            # The maps of 4x4 and 8x8 enter a block without activation.
            x = BottleneckBlock(nn.relu, self.dtype)(x, train) if i < 2 else nn.relu(x)
        return jnp.tanh(self.upsample(x, self.channels, jnp.float32))

    def upsample(self, x: jax.Array, features: int, dtype: Any = None) -> jax.Array:
        """Doubles the sides by a transposed convolution, within the compact call."""
        return ConvTranspose(
            features,
            (4, 4),
            (2, 2),
            use_bias=False,
            kernel_init=NORMAL,
            dtype=dtype or self.dtype,
        )(x)


class Discriminator(nn.Module):
    """Images `[B, S, S, C]` and text embeddings `[B, E]` -> logits `[B]`, float32.

    Attributes:
      side: of the images, S.
      width: channels of the first map.
      text_width: features of the text, which are repeated at each pixel of the smallest map.
      dtype: of the hidden layers.
    """

    side: int
    width: int
    text_width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, text: jax.Array, train: bool = False) -> jax.Array:
        options: dict[str, Any] = {"use_bias": False, "kernel_init": NORMAL, "dtype": self.dtype}
        number = steps(self.side)
        for i in range(number):
            x = Conv(self.width << i, (4, 4), strides=(2, 2), **options)(x)
            x = batch_norm(x, train, self.dtype) if i else x
            # The last two layers have no activation; one follows the sum of the block.
            x = leaky_relu(x) if i == 0 or i < number - 2 else x
        x = BottleneckBlock(leaky_relu, self.dtype)(x, train)
        dense = nn.Dense(
            self.text_width, use_bias=False, kernel_init=UNIFORM, dtype=self.dtype, name="text"
        )
        words = leaky_relu(batch_norm(dense(text), train, self.dtype))
        joined = Conv(x.shape[-1], (1, 1), **options)(join(x, words))
        x = leaky_relu(batch_norm(joined, train, self.dtype))
        head = Conv(1, (SMALLEST, SMALLEST), padding="VALID", **{**options, "dtype": jnp.float32})
        return head(x)[:, 0, 0, 0]
