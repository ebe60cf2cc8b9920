"""U-Net: image to image through a stack of halved maps, with skip connections at every size.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks"
(arXiv:1611.07004), section 3.2 and appendix 6.1. In the appendix the three innermost blocks have
dropout; in the code that the authors released, the three around the innermost. The network follows
the code unless `dropout_blocks` is given.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.resampling import upsample_conv
from genjax.nn.translation import INIT, SLOPE, Norm, Upsampling, normalize

LARGEST = 8  # largest multiple of `width`
UNDROPPED = 4  # the outermost blocks, which double the channels, have no dropout


class UNet(nn.Module):
    """`[B, H, W, C] -> [B, H, W, channels]` in [-1, 1], float32.

    Sides are halved `downs` times, an odd one rounded up; in the authors' code both are multiples
    of `2 ** downs`. As there, all convolutions have a bias with norm `instance`, and only the last
    one with norm `batch`.

    Batch normalisation uses batch statistics with `train=True` and running ones otherwise. Dropout
    is applied with `train=True`, in translation as well as in training, and takes its key from the
    stream `dropout`.

    Attributes:
      channels: of the output.
      width: channels of the largest maps; they double from map to map, up to `8 * width`.
      downs: number of times that the sides are halved; at least 2.
      norm: `batch` or `instance` (without scale and shift), after every layer except the first, the
        innermost and the last.
      dropout: rate.
      dropout_blocks: number of blocks with dropout, from the innermost outwards; None is as in the
        authors' code: all but the innermost and the four outermost, which is 3 of 8.
      upsampling: `transposed` convolutions of 4x4, or `resize`: nearest-neighbour upsampling and
        a 3x3 convolution, which has no checkerboard artefacts.
      dtype: of the computation.
    """

    channels: int
    width: int = 64
    downs: int = 8
    norm: Norm = "batch"
    dropout: float = 0.0
    dropout_blocks: int | None = None
    upsampling: Upsampling = "transposed"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        widths = [self.width * min(2**i, LARGEST) for i in range(self.downs)]
        bias = self.norm == "instance"
        dropped = dropped_blocks(self.downs, self.dropout_blocks)

        def normalized(x: jax.Array) -> jax.Array:
            return normalize(self.norm, x, train, self.dtype)

        def up(x: jax.Array, channels: int, size: tuple[int, int], **options: Any) -> jax.Array:
            options = {"kernel_init": INIT, "dtype": self.dtype} | options
            if self.upsampling == "transposed":
                x = ConvTranspose(channels, (4, 4), strides=(2, 2), **options)(x)
                return x[:, : size[0], : size[1]]  # an odd side is cropped by one
            resize = functools.partial(upsample_conv, size=size)
            return Conv(channels, (3, 3), conv_general_dilated=resize, **options)(x)

        sides = [(x.shape[1], x.shape[2])]
        maps: list[jax.Array] = []
        for i, channels in enumerate(widths):
            x = nn.leaky_relu(x, SLOPE) if i else x
            options: dict[str, Any] = {"kernel_init": INIT, "dtype": self.dtype}
            x = Conv(channels, (4, 4), strides=(2, 2), use_bias=bias, **options)(x)
            x = normalized(x) if 0 < i < self.downs - 1 else x
            maps.append(x)
            sides.append((x.shape[1], x.shape[2]))
        for i in reversed(range(1, self.downs)):
            x = normalized(up(nn.relu(x), widths[i - 1], sides[i], use_bias=bias))
            if i in dropped:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = jnp.concatenate([maps[i - 1], x], axis=-1)
        return jnp.tanh(up(nn.relu(x), self.channels, sides[0], dtype=jnp.float32))


def dropped_blocks(downs: int, blocks: int | None) -> range:
    """Returns the indices of the blocks with dropout; block 0 is the outermost.

    Raises:
      ValueError: there are fewer than two blocks, or not enough for dropout.
    """
    if downs < 2:
        raise ValueError(f"a U-Net halves its sides at least twice, got {downs}; use more.")
    if blocks is None:
        return range(UNDROPPED, downs - 1)
    if not 0 <= blocks < downs:
        raise ValueError(
            f"{blocks} blocks with dropout are not between 0 and {downs - 1}, the number of blocks"
            " inside the outermost; use fewer."
        )
    return range(downs - blocks, downs)
