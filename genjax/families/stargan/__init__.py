"""StarGAN: one generator that changes chosen attributes of an image, such as hair colour or age.

    L_D = -L_adv + lambda_cls L_cls(x, c)
    L_G =  L_adv + lambda_cls L_cls(G(x, c'), c') + lambda_rec ||x - G(G(x, c'), c)||_1

Choi et al. 2018, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation" (arXiv:1711.09020), eqs. 1 to 6, networks of tables 4 and 5. c are an image's own
attributes, c' target attributes; the discriminator has a head for real or generated, on patches,
and one for the attributes.

What the paper leaves open follows the authors' code:

* The generator pads with zeros and its instance normalisation is affine; with reflection padding
  the first convolution of constant label planes would be constant, and normalisation would remove
  it. It has no biases. Weights are initially uniform on +-1 / sqrt(fan-in).
* The critic loss is the mean over patches. The gradient penalty bounds the gradient of their sum,
  at one point per image between the image and its translation.
* Binary classification sums over attributes. The discriminator classifies real images only.
* Target attributes are a permutation of the batch's own, which keeps their joint distribution. It
  is drawn for every critic update; the generator's update has the images and targets of the last.
* The losses of all terms are means over the batch, and the reconstruction's also over pixels.

With `second_attributes` (section 3.3) every image has labels of one of two sets, `label` 0 or 1.
The condition is [c1, c2, mask], where the unknown part is 0 and the mask is the one-hot `label`;
only known labels are classified. The authors alternate between the two data sets; here a batch may
mix them. Targets then come from the permuted example together with its set, so that images are also
translated into the other set, as they are at test time.

Beyond the paper: `output="color_mask"` and other objectives, such as non_saturating with r1. Only
the gradient penalty draws noise. The EMA tracks the generator. See `genjax.core.adversarial`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonEmpty, NonNegativeFloat, NonNegativeInt, PositiveInt
from genjax.core import (
    Batch,
    GanObjective,
    LossOutput,
    Traits,
    Variables,
    apply_network,
    compiled_init,
    discriminator_objective,
    generator_objective,
    merge_networks,
)
from genjax.core.batches import check_translation
from genjax.core.protocols import LossFn
from genjax.families.stargan.attribute_sets import (
    attribute_names,
    check_attribute_sets,
    classification_nats,
    condition,
    exclusive_groups,
)
from genjax.families.stargan.attribute_sets import target_attributes as target_attributes
from genjax.nn import sides_of, symmetric_uniform
from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.norms import InstanceNorm
from genjax.nn.strided import join

SLOPE = 0.01  # of LeakyReLU
# Uniform on +-1 / sqrt(fan-in). PyTorch takes the outputs of a transposed convolution for its
# inputs, as here.
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
TRANSPOSED_UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Attributes, networks and objective; the defaults are the paper's for CelebA."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (128, 128, 3)
    """Event shape (H, W, C)."""
    attributes: Annotated[tuple[str, ...], NonEmpty()] = (*HAIR, "Male", "Young")
    """Names of the attributes."""
    exclusive: tuple[str, ...] = HAIR
    """Names of attributes of which exactly one is 1."""
    classification: Literal["binary", "softmax"] = "binary"
    """softmax if exactly one of all attributes is 1 (facial expressions in the paper)."""
    second_attributes: tuple[str, ...] = ()
    """Names of a second set, of joint training: every image has labels of one of the two."""
    second_classification: Literal["binary", "softmax"] = "binary"
    """As `classification`, of the second set."""
    width: PositiveInt = 64
    """Channels of the generator's first layer, doubled by each downsampling."""
    downs: NonNegativeInt = 2
    """Downsamplings of the generator by 2, and upsamplings."""
    blocks: PositiveInt = 6
    """Residual blocks between them."""
    discriminator_width: PositiveInt = 64
    """Channels of the discriminator's first layer, doubled by each further one."""
    discriminator_layers: PositiveInt = 6
    """Layers of the discriminator before its heads; each halves the map."""
    classification_weight: NonNegativeFloat = 1.0
    """lambda_cls."""
    reconstruction: NonNegativeFloat = 10.0
    """lambda_rec."""
    output: Literal["image", "color_mask"] = "image"
    """color_mask returns m x + (1 - m) colour with a generated mask m, so it can keep pixels."""
    objective: GanObjective = dataclasses.field(
        default_factory=lambda: GanObjective(
            loss="wasserstein", gradient_penalty=10.0, critic_steps=5
        )
    )
    """Loss, penalties and update schedule."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_attribute_sets(self)
        side = min(self.shape[:2])
        if side < 2**self.discriminator_layers:
            raise ValueError(
                f"{self.discriminator_layers} layers of the discriminator halve a side of {side}"
                f" pixels below one; use at most {side.bit_length() - 1} discriminator_layers."
            )
        if max(self.shape[:2]) <= side_multiple(self):
            raise ValueError(
                f"{self.downs} downsamplings leave one pixel of {self.shape[0]}x{self.shape[1]}"
                f" images, which instance normalisation removes; use fewer downs."
            )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0), ema=("generator",))


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        attributes=("thick", "thin", "slanted"),
        exclusive=("thick", "thin"),
        second_attributes=("light", "dark"),
        second_classification="softmax",
        width=4,
        downs=1,
        blocks=1,
        discriminator_width=4,
        discriminator_layers=1,
        output="color_mask",
        objective=GanObjective(loss="wasserstein", gradient_penalty=0.1, critic_steps=2),
    )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x` `[B, *shape]`, `attributes` uint8 `[B, A]` and, of two sets, `label` `[B]`."""
    shape = (batch_size, len(attribute_names(config)))
    spec = {
        "x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32),
        "attributes": jax.ShapeDtypeStruct(shape, jnp.uint8),
    }
    if config.second_attributes:
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


class Generator(nn.Module):
    """`[B, H, W, C], condition [B, K] -> [B, H, W, C]` in [-1, 1], for any height and width."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        c, image, channels = self.config, x, x.shape[-1]

        def conv(x: jax.Array, features: int, side: int, stride: int = 1) -> jax.Array:
            layer = Conv(
                features,
                (side, side),
                (stride, stride),
                use_bias=False,
                kernel_init=UNIFORM,
                dtype=jnp.dtype(c.dtype),
            )
            return InstanceNorm(affine=True)(layer(x))

        heights, columns = (sides_of(side, c.downs + 1) for side in x.shape[1:3])
        x = nn.relu(conv(join(x, condition), c.width, 7))
        for i in range(c.downs):
            x = nn.relu(conv(x, c.width * 2 ** (i + 1), 4, 2))
        for _ in range(c.blocks):
            x = x + conv(nn.relu(conv(x, x.shape[-1], 3)), x.shape[-1], 3)
        for i in reversed(range(c.downs)):
            x = ConvTranspose(
                c.width * 2**i,
                (4, 4),
                (2, 2),
                use_bias=False,
                kernel_init=TRANSPOSED_UNIFORM,
                dtype=jnp.dtype(c.dtype),
            )(x)[:, : heights[i], : columns[i]]  # an odd side is cropped by one
            x = nn.relu(InstanceNorm(affine=True)(x))
        masked = c.output == "color_mask"
        options: dict[str, Any] = {"use_bias": False, "kernel_init": UNIFORM, "dtype": jnp.float32}
        y = Conv(channels + masked, (7, 7), **options)(x)
        color = jnp.tanh(y[..., :channels])
        if not masked:
            return color
        mask = jax.nn.sigmoid(y[..., channels:])  # [B, H, W, 1]
        return mask * image + (1 - mask) * color


class Discriminator(nn.Module):
    """`[B, *shape] -> logits of patches [B, h, w], logits of attributes [B, A]`."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        c = self.config
        for i in range(c.discriminator_layers):
            x = Conv(
                c.discriminator_width * 2**i,
                (4, 4),
                (2, 2),
                kernel_init=UNIFORM,
                bias_init=symmetric_uniform((16 * x.shape[-1]) ** -0.5),
                dtype=jnp.dtype(c.dtype),
            )(x)
            x = nn.leaky_relu(x, SLOPE)
        options: dict[str, Any] = {"use_bias": False, "kernel_init": UNIFORM, "dtype": jnp.float32}
        patches = Conv(1, (3, 3), name="patches", **options)(x)[..., 0]
        labels = len(attribute_names(c))
        whole = Conv(labels, x.shape[1:3], padding="VALID", name="attributes", **options)
        return patches, whole(x)[:, 0, 0]


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    x = jnp.zeros((1, *config.shape))
    labels = len(attribute_names(config)) + 2 * bool(config.second_attributes)
    networks = {
        "generator": Generator(config).init(generator_key, x, jnp.zeros((1, labels))),
        "discriminator": Discriminator(config).init(discriminator_key, x),
    }
    return merge_networks(networks, config.objective)


def discriminator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the critic's loss, penalty and classification of real images, `[B]`."""
    target_key, objective_key = jax.random.split(key)
    x, own = _inputs(config, batch)
    targets = _permuted(own, target_key)
    fake = apply_network(Generator(config), variables, "generator", x, targets)
    loss, aux, (on_real, _) = discriminator_objective(
        config.objective, _discriminator(config, variables), variables, x, fake, objective_key
    )
    classification = classification_nats(config, on_real, own)
    aux |= {"classification": classification, "outputs": {"targets": targets}}
    return loss + config.classification_weight * classification, aux


def generator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the generator's loss, classification and reconstruction, `[B]`.

    Targets are those of the last critic update, `batch["outputs"]["targets"]`, or without it drawn.
    `change` in aux, the mean of |G(x, c') - x|, is near 0 for a generator that returns its input.
    """
    target_key, objective_key = jax.random.split(key)
    x, own = _inputs(config, batch)
    outputs: Any = batch.get("outputs", {})
    targets = outputs["targets"] if "targets" in outputs else _permuted(own, target_key)
    generate = functools.partial(apply_network, Generator(config), variables, "generator")
    fake = generate(x, targets)
    adversarial, aux, on_fake = generator_objective(
        config.objective, _discriminator(config, variables), variables, x, fake, objective_key
    )
    classification = classification_nats(config, on_fake, targets)
    reconstruction = jnp.mean(jnp.abs(x - generate(fake, own)), axis=(1, 2, 3))
    aux |= {
        "adversarial": adversarial,
        "classification": classification,
        "reconstruction": reconstruction,
        "change": jnp.mean(jnp.abs(fake - x)),
    }
    loss = adversarial + config.classification_weight * classification
    return loss + config.reconstruction * reconstruction, aux


LOSSES: Mapping[str, LossFn] = {"discriminator": discriminator_loss, "generator": generator_loss}


def _inputs(config: Config, batch: Batch) -> tuple[jax.Array, jax.Array]:
    checks.batch("stargan", batch, functools.partial(batch_spec, config))
    return batch["x"], condition(config, batch["attributes"], batch.get("label"))


def _permuted(own: jax.Array, key: jax.Array) -> jax.Array:
    return own[jax.random.permutation(key, len(own))]


def _discriminator(config: Config, variables: Variables) -> Any:
    """Returns the discriminator without statistics, as the functions of objectives take it."""

    def discriminate(x: jax.Array, key: jax.Array, statistics: Any) -> tuple[Any, Any, Any]:
        del key
        patches, labels = apply_network(Discriminator(config), variables, "discriminator", x)
        return patches, statistics, labels

    return discriminate


def targets(config: Config) -> tuple[str, ...]:
    del config
    return ()


def side_multiple(config: Config) -> int:
    return 2**config.downs


def translate(
    config: Config,
    variables: Variables,
    images: jax.Array,
    *,
    attributes: jax.Array,
    label: jax.Array | None = None,
) -> jax.Array:
    """Translates images to have the given attributes.

    Args:
      config: the Config.
      variables: its variables.
      images: float32 `[B, H, W, C]` in [-1, 1].
      attributes: `[B, A]` in {0, 1}, of both sets if there are two.
      label: with two sets, `[B]`: 0 changes attributes of the first set, 1 of the second. None
        changes those of the first, then in the result those of the second.

    Returns:
      float32 `[B, H, W, C]` in [-1, 1].

    Raises:
      ValueError: the images have the wrong shape or dtype, or the attributes or labels the wrong
        shape.
    """
    count = len(attribute_names(config))
    check_translation("stargan", images, config.shape[-1])
    if jnp.shape(attributes) != (len(images), count):
        raise ValueError(
            f"stargan: translation needs `attributes` [{len(images)}, {count}], one column for each"
            f" of {', '.join(attribute_names(config))}, got {checks.describe(attributes)}."
        )
    if config.second_attributes and label is not None and jnp.shape(label) != (len(images),):
        raise ValueError(
            f"stargan: `label` must be [{len(images)}], the set of attributes that changes in each"
            f" image, 0 or 1, got {checks.describe(label)}."
        )
    height, width = images.shape[1:3]
    multiple = side_multiple(config)
    x = images
    if max(height, width) <= multiple:  # maps of one pixel cannot be normalised
        x = jnp.pad(
            x, ((0, 0), (0, 2 * multiple - height), (0, 2 * multiple - width), (0, 0)), mode="edge"
        )
    labels: list[Any] = [label]
    if config.second_attributes and label is None:
        labels = [jnp.full(len(images), known) for known in (0, 1)]
    for known in labels:
        c = condition(config, attributes, known)
        x = apply_network(Generator(config), variables, "generator", x, c)
    return x[:, :height, :width]


def predict_attributes(config: Config, variables: Variables, images: jax.Array) -> jax.Array:
    """Returns the attributes that the discriminator sees in images, for those without labels.

    Args:
      config: the Config.
      variables: its variables.
      images: float32 `[B, H, W, C]` in [-1, 1]; they are resized to the Config's shape.

    Returns:
      uint8 `[B, A]`, with exactly one 1 among attributes that exclude each other.

    Raises:
      ValueError: the images have the wrong shape or dtype.
    """
    check_translation("stargan", images, config.shape[-1])
    x = jax.image.resize(images, (len(images), *config.shape), "linear")
    logits = apply_network(Discriminator(config), variables, "discriminator", x)[1]
    out = logits > 0
    for group in exclusive_groups(config):
        best = jnp.argmax(logits[:, group], axis=1)
        out = out.at[:, group].set(jax.nn.one_hot(best, len(group), dtype=bool))
    return out.astype(jnp.uint8)
