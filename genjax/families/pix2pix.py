"""pix2pix: paired image translation by a U-Net, a conditional discriminator and an L1 loss.

    min_G max_D  E[log D(x, y)] + E[log(1 - D(x, G(x)))],   and G also descends  l1 E|y - G(x)|

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks"
(arXiv:1611.07004), eq. 4; details from the code that the authors released. The generator descends
-log D(x, G(x)). G's only noise is its dropout. The ablations of the paper's table 1 are
`adversarial=0` (L1 alone), `l1=0` (without it), and `conditional=False`, where D sees y or G(x)
without x.

What the paper leaves open is as in the code:

* Updates are sequential, D first. Both see one fake: G's update computes it again with the dropout
  key of D's, and is taken against the new D.
* D's loss is the mean over real and fake images, each in a batch of its own, real ones first.
* Batch normalisation of both networks uses the statistics of the current batch, in training and in
  translation. No running statistics are kept; the EMA of the weights needs none.
* `translate` applies dropout, and normalises every image by its own statistics, as the code with
  its batches of one image. All images have the same dropout masks, so that the translation of an
  image depends on the key, not on its batch.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks, losses
from genjax.checks import Dtype, NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from genjax.core import Traits, compiled_init, merge_networks, train_network
from genjax.core.batches import check_translation
from genjax.core.protocols import LossFn
from genjax.nn.sizes import sides_of
from genjax.nn.translation import Norm, PatchDiscriminator, PixelDiscriminator, Upsampling
from genjax.nn.unet import UNet, dropped_blocks

TARGET = "b"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and weights of the losses; the defaults are the paper's at 256x256."""

    shape: checks.PositiveInts = (256, 256, 3)
    """Shape (H, W, C) of `x` and `y` in training."""
    width: PositiveInt = 64
    """Channels of the generator's largest maps; they double up to eight times as many."""
    downs: PositiveInt = 8
    """Number of times that the generator halves the sides, at least 2."""
    dropout: UnitInterval = 0.5
    """Rate of the generator's dropout."""
    dropout_blocks: NonNegativeInt | None = None
    """Number of the generator's blocks with dropout, from the innermost outwards; None is as in the
    code: all but the innermost and the four outermost, which is 3 of 8, and none of 5."""
    norm: Norm = "batch"
    """Normalisation of both networks."""
    upsampling: Upsampling = "transposed"
    """transposed convolutions, or resize: nearest-neighbour upsampling before a convolution."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """Logits of patches, 70x70 with three layers, or of single pixels."""
    discriminator_width: PositiveInt = 64
    """Channels of the discriminator's first map."""
    discriminator_layers: PositiveInt = 3
    """patch: number of times that the discriminator halves the sides."""
    conditional: bool = True
    """Whether the discriminator sees `x` too."""
    l1: NonNegativeFloat = 100.0
    """Weight of the L1 loss."""
    adversarial: NonNegativeFloat = 1.0
    """Weight of the adversarial loss in the generator's; 0 trains it by L1 alone."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        dropped_blocks(self.downs, self.dropout_blocks)
        _check_sides(self, self.shape[:2])
        patches = [side // 2**self.discriminator_layers - 2 for side in self.shape[:2]]
        if self.discriminator == "patch" and min(patches) < 1:
            raise ValueError(
                f"discriminator_layers {self.discriminator_layers} leave no patch of"
                f" {self.shape[0]}x{self.shape[1]} images; use fewer, larger images, or"
                " discriminator pixel."
            )
        if not (self.adversarial or self.l1):
            raise ValueError("the generator has no loss; set adversarial or l1 above 0.")


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        width=4,
        downs=2,
        dropout_blocks=1,
        discriminator="pixel",
        discriminator_width=4,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0), ema=("generator",))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x` and its partner `y`, float32 `[B, *shape]`."""
    images = jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)
    return {"x": images, "y": images}


def generator(config: Config) -> UNet:
    """Returns the module `[B, H, W, C] -> [B, H, W, C]` in [-1, 1]."""
    return UNet(
        config.shape[-1],
        config.width,
        config.downs,
        config.norm,
        config.dropout,
        config.dropout_blocks,
        config.upsampling,
        jnp.dtype(config.dtype),
    )


def discriminator(config: Config) -> PatchDiscriminator | PixelDiscriminator:
    """Returns the module `[B, H, W, C] -> logits [B, h, w]`."""
    width, dtype = config.discriminator_width, jnp.dtype(config.dtype)
    if config.discriminator == "pixel":
        return PixelDiscriminator(width, config.norm, dtype)
    return PatchDiscriminator(width, config.discriminator_layers, config.norm, dtype)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    x = jnp.zeros((1, *config.shape))
    networks = {
        "generator": generator(config).init(generator_key, x),
        "discriminator": discriminator(config).init(discriminator_key, _seen(config, x, x)),
    }
    return {"params": merge_networks(networks)["params"]}


def discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Computes (-log D(x, y) - log(1 - D(x, G(x)))) / 2, means over patches: `[B]` nats."""
    checks.batch("pix2pix", batch, functools.partial(batch_spec, config))
    fake = jax.lax.stop_gradient(_generate(config, variables, batch["x"], key))
    real_logits = _discriminate(config, variables, batch["x"], batch["y"])
    fake_logits = _discriminate(config, variables, batch["x"], fake)
    loss = losses.minimax_discriminator(real_logits, fake_logits)  # sums over patches
    return loss / (2 * real_logits[0].size), {
        "real_logit": real_logits,
        "fake_logit": fake_logits,
        "real_probability": jax.nn.sigmoid(real_logits),
        "fake_probability": jax.nn.sigmoid(fake_logits),
        "outputs": {"dropout": jax.random.clone(key)},
    }


def generator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, Any], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Computes -log D(x, G(x)), its mean over patches, and l1 |y - G(x)|, over pixels: `[B]`."""
    checks.batch("pix2pix", batch, functools.partial(batch_spec, config))
    key = batch.get("outputs", {}).get("dropout", key)  # of the discriminator's update
    fake = _generate(config, variables, batch["x"], key)
    l1 = jnp.mean(jnp.abs(batch["y"] - fake), axis=(1, 2, 3))
    if not config.adversarial:
        return config.l1 * l1, {"l1": l1}
    logits = _discriminate(config, variables, batch["x"], fake)
    adversarial = losses.non_saturating_generator(logits) / logits[0].size
    loss = config.adversarial * adversarial + config.l1 * l1
    return loss, {"l1": l1, "adversarial": adversarial}


LOSSES: Mapping[str, LossFn] = {"discriminator": discriminator_loss, "generator": generator_loss}


def targets(config: Config) -> tuple[str, ...]:
    """Returns the domain of `y`, to which images are translated."""
    del config
    return (TARGET,)


def side_multiple(config: Config) -> int:
    """Returns the number that every map of the generator halves exactly, `2 ** downs`."""
    return 2**config.downs


def translate(
    config: Config,
    variables: dict[str, Any],
    images: jax.Array,
    *,
    to: str = TARGET,
    key: jax.Array | None = None,
) -> jax.Array:
    """Translates images, `[B, H, W, C] -> [B, H, W, C]` in [-1, 1].

    Sides need not be multiples of `side_multiple`; an odd side of a map is rounded up.

    Args:
      config: of the family.
      variables: `params`.
      images: float32 in [-1, 1], with the Config's number of channels.
      to: domain, `b`.
      key: of the dropout, the same for every image; None is `jax.random.key(0)`.

    Raises:
      ValueError: `images` or `to` are invalid, or the images too small.
    """
    checks.one_of(targets(config), to=to)
    check_translation("pix2pix", images, config.shape[-1], 1)
    _check_sides(config, images.shape[1:3])
    key = jax.random.key(0) if key is None else key
    translate_one = lambda x: _generate(config, variables, x[None], key)[0]  # noqa: E731
    return jax.vmap(translate_one)(images)


def _generate(config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
    """Computes G(x) with dropout and the statistics of the batch."""
    return train_network(generator(config), variables, "generator", x, key=key)[0]


def _discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, y: jax.Array
) -> jax.Array:
    """Computes logits `[B, h, w]` of y being the partner of x."""
    inputs = _seen(config, x, y)
    return train_network(discriminator(config), variables, "discriminator", inputs)[0]


def _seen(config: Config, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns what the discriminator sees of a pair."""
    return jnp.concatenate([x, y], axis=-1) if config.conditional else y


def _check_sides(config: Config, sides: tuple[int, ...]) -> None:
    """Checks that every normalised map has more than one pixel."""
    if all(sides_of(side, config.downs)[-1] == 1 for side in sides):
        raise ValueError(
            f"downs {config.downs} reduce {sides[0]}x{sides[1]} images to 1x1 maps before the"
            " innermost, which normalisation sets to a constant; use fewer, or larger images."
        )
