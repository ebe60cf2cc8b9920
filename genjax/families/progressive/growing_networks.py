"""Generator and discriminator of the progressive GAN, at one side of its images.

Karras et al. 2018 (arXiv:1710.10196), section 4 and tables 2 and 3; initialisation, gains and the
place of layers from the authors' code.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.families.progressive.image_parts import split_noise
from genjax.families.progressive.settings import Config, blocks, width
from genjax.nn.equalized import EqualizedConv, EqualizedDense
from genjax.nn.image_pyramid import lerp
from genjax.nn.minibatch import MinibatchDiscrimination, minibatch_stddev
from genjax.nn.norms import pixel_norm
from genjax.nn.resampling import average_pool, upsample_nearest
from genjax.nn.strided import normalize

SLOPE = 0.2  # of LeakyReLU
FIRST_GAIN = math.sqrt(2) / 4  # of the dense layers of the generator


class Generator(nn.Module):
    """`[B, Z], one-hot [B, K] or None, alpha [] -> [B, side, side, C]`, float32.

    In a stage after the first the image is a blend of the newest RGB layer's, with weight alpha,
    and of the upsampled image of the one before. Parameters of earlier RGB layers are not used.

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
        c = self.config
        x: Any = latent_inputs(c, z, condition)
        block = checkpointed(c, GeneratorBlock)
        before = x
        for side in blocks(c, self.side):
            before, x = x, block(c, side, name=f"{side}x{side}")(x, train)
        image = to_rgb(c, self.side)(x)
        if self.side > c.start:
            old = upsample_nearest(to_rgb(c, self.side // 2)(before))
            image = lerp(old, image, alpha)
        return jnp.tanh(image) if c.output == "tanh" else image


class GeneratorBlock(nn.Module):
    """Two layers: `[B, H, W, .] -> [B, 2 H, 2 W, width]`.

    The input of the smallest block is that of the parts, `[B, Z_k]` each.

    Attributes:
      config: the Config.
      side: of the output.
    """

    config: Config
    side: int

    @nn.compact
    def __call__(self, x: Any, train: bool) -> jax.Array:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        channels, bias = width(c, self.side), c.generator_norm != "batch"

        def active(x: jax.Array) -> jax.Array:
            x = normalize(c.generator_norm, x, train, dtype)  # of the batch, with its own bias
            x = nn.relu(x) if c.activation == "relu" else nn.leaky_relu(x, SLOPE)
            return pixel_norm(x, epsilon=epsilon(c)) if c.generator_norm == "pixel" else x

        options: dict[str, Any] = {"equalized": c.equalized, "dtype": dtype}
        if self.side == c.smallest:
            x = first_maps(c, x)
            if bias:  # one per channel, not per unit
                x += self.param("bias", nn.initializers.zeros, (channels,)).astype(dtype)[
                    None, None, None
                ]
        else:
            x = EqualizedConv(channels, resample="up", use_bias=bias, name="up", **options)(x)
        x = active(x)
        return active(EqualizedConv(channels, use_bias=bias, name="conv", **options)(x))


class Discriminator(nn.Module):
    """`[B, side, side, C], alpha [] -> logits [B], logits of the labels [B, K], smallest maps`.

    In a stage after the first the input of the second newest block is a blend of the newest block's
    output, with weight alpha, and of the RGB layer of half the side. The maps are those of each
    image by itself, before the statistics of the batch. Parameters of earlier RGB layers are not
    used.

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
        c = self.config
        block = checkpointed(c, DiscriminatorBlock)
        images, x = x, nn.leaky_relu(from_rgb(c, self.side)(x), SLOPE)
        for side in blocks(c, self.side)[:0:-1]:
            x = block(c, side, name=f"{side}x{side}")(x, train)
            if side == self.side > c.start:
                old = from_rgb(c, side // 2)(average_pool(images))
                x = lerp(nn.leaky_relu(old, SLOPE), x, alpha)
        return discriminator_outputs(c, x, train)


class DiscriminatorBlock(nn.Module):
    """Two layers: `[B, side, side, width] -> [B, side / 2, side / 2, .]`.

    Attributes:
      config: the Config.
      side: of the input.
    """

    config: Config
    side: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        c, (bias, options) = self.config, _discriminator_options(self.config)
        conv = EqualizedConv(width(c, self.side), use_bias=bias, name="conv", **options)
        down = EqualizedConv(
            width(c, self.side // 2), resample="down", use_bias=bias, name="down", **options
        )
        x = _discriminator_active(c, conv(x), train)
        return _discriminator_active(c, down(x), train)


class LastBlock(nn.Module):
    """Statistics of the batch, then two layers: `[B, smallest, smallest, width] -> [B, F]`.

    Attributes:
      config: the Config.
    """

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        c, (bias, options) = self.config, _discriminator_options(self.config)
        if c.minibatch == "stddev":
            x = minibatch_stddev(x, group_size(len(x), c.group))
        conv = EqualizedConv(width(c, c.smallest), use_bias=bias, name="conv", **options)
        x = _discriminator_active(c, conv(x), train)
        dense = EqualizedDense(width(c, c.smallest // 2), use_bias=bias, name="dense", **options)
        x = _discriminator_active(c, dense(x.reshape(len(x), -1)), train)
        if c.minibatch == "discrimination":
            x = MinibatchDiscrimination(equalized=c.equalized, name="similarity")(x)
        return x


def checkpointed(config: Config, block: Any) -> Any:
    """Returns a class of blocks whose gradients recompute them, if configured."""
    return nn.remat(block, static_argnums=(2,)) if config.remat else block


def discriminator_outputs(
    config: Config, x: jax.Array, train: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Applies the last layers within a compact module, to the smallest maps.

    Returns:
      Logits `[B]`, logits of the labels `[B, K]`, and the maps.
    """
    last = checkpointed(config, LastBlock)(config, name=f"{config.smallest}x{config.smallest}")
    head = EqualizedDense(1 + config.classes, gain=1.0, equalized=config.equalized, name="out")
    out = head(last(x, train))  # float32
    return out[:, 0], out[:, 1:], x


def latent_inputs(config: Config, z: jax.Array, condition: jax.Array | None) -> list[jax.Array]:
    """Returns the input of each part: its noise `[B, Z_k]`, and one-hot labels.

    They are pixel-normalised if configured, all parts together unless `part_norm` is set.
    """
    parts = config.layout()

    def joined(z: jax.Array, labels: jax.Array | None) -> jax.Array:
        return z if labels is None else jnp.concatenate([z, labels], axis=-1)

    def normal(x: jax.Array) -> jax.Array:
        return pixel_norm(x, epsilon=epsilon(config)) if config.latent_norm else x

    if len(parts) == 1 or config.part_norm:
        return [normal(joined(own, condition)) for own in split_noise(parts, z)]
    x = normal(joined(z, condition))
    labels = None if condition is None else x[:, config.latent :]
    return [joined(own, labels) for own in split_noise(parts, x[:, : config.latent])]


def first_maps(config: Config, inputs: list[jax.Array]) -> jax.Array:
    """Applies the dense layers of the parts within a compact module.

    Args:
      config: the Config.
      inputs: of the parts, `[B, Z_k]`.

    Returns:
      The first maps `[B, smallest, smallest, width]`, without bias.
    """
    side, parts = config.smallest, config.layout()
    channels, dtype = width(config, side), jnp.dtype(config.dtype)

    def rectangle(x: jax.Array, rows: int, columns: int, name: str) -> jax.Array:
        dense = EqualizedDense(
            rows * columns * channels,
            gain=FIRST_GAIN,
            use_bias=False,
            equalized=config.equalized,
            dtype=dtype,
            name=name,
        )
        return dense(x).reshape(-1, rows, columns, channels)

    if len(parts) == 1 and len(parts[0].rectangles) == 1:
        return rectangle(inputs[0], side, side, "dense")
    maps = jnp.zeros((len(inputs[0]), side, side, channels), dtype)
    for part, x in zip(parts, inputs, strict=True):
        for i, (top, left, rows, columns) in enumerate(part.rectangles):
            values = rectangle(x, rows, columns, f"dense_{part.name}_{i}")
            maps = maps.at[:, top : top + rows, left : left + columns].set(values)
    return maps


def to_rgb(config: Config, side: int) -> EqualizedConv:
    """Returns the layer that maps features of a side to images, float32."""
    return EqualizedConv(
        config.shape[-1], kernel=1, gain=1.0, equalized=config.equalized, name=f"rgb_{side}x{side}"
    )


def from_rgb(config: Config, side: int) -> EqualizedConv:
    """Returns the layer that maps images of a side to features."""
    return EqualizedConv(
        width(config, side),
        kernel=1,
        equalized=config.equalized,
        dtype=jnp.dtype(config.dtype),
        name=f"rgb_{side}x{side}",
    )


def epsilon(config: Config) -> float:
    """Returns the pixel norm's epsilon, larger in half precision, as in the authors' code."""
    return 1e-8 if config.dtype == "float32" else 1e-4


def group_size(batch_size: int, group: int) -> int:
    """Returns the largest divisor of a batch size up to `group`."""
    return max(n for n in range(1, min(group, batch_size) + 1) if batch_size % n == 0)


def _discriminator_options(config: Config) -> tuple[bool, dict[str, Any]]:
    """Returns whether layers have biases, and their options."""
    options = {"equalized": config.equalized, "dtype": jnp.dtype(config.dtype)}
    return config.discriminator_norm == "none", options


def _discriminator_active(config: Config, x: jax.Array, train: bool) -> jax.Array:
    x = normalize(config.discriminator_norm, x, train, jnp.dtype(config.dtype))
    return nn.leaky_relu(x, SLOPE)
