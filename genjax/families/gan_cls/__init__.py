"""gan_cls: a GAN conditioned on text, whose discriminator also rejects images of other texts.

    L_D = -log D(x, t) - 1/2 log(1 - D(x', t)) - 1/2 log(1 - D(G(z, t), t))
    L_G = mean of -log D(G(z, t), t) over texts t and midpoints of two texts

Reed et al. 2016, "Generative Adversarial Text to Image Synthesis" (arXiv:1605.05396), algorithm 1
and eq. 5: GAN-INT-CLS. t is the embedding of a text, x an image of it, and x' a wrong image, of
another text. `matching_aware=False` removes the second term of L_D and doubles the third (no CLS).
`interpolation=0` removes the midpoints (no INT).

The text encoder is that of a `joint_embedding`, trained in an earlier run (`parts`). Its variables
are in `buffers` and do not change. What the paper leaves open follows the authors' code:

* t is the mean of the embeddings of several captions of the image, the same in both updates; in
  `sample` it is the embedding of one caption. Unlike in the authors' code, embeddings are divided
  by their root mean square. Features of them are concatenated with noise of variance 1, beside
  which small embeddings would have little effect at first.
* The discriminator is updated first, then the generator against the new discriminator, with new
  noise.
* Right, wrong and generated images pass through the discriminator in three batches, each with its
  own batch-norm statistics. All three update the running statistics.
* The wrong image of an example is the image of the next example in the batch. If the two have a
  caption in common, there is no wrong image, and the generated image has its weight. (The authors
  draw an image of another class.)
* Midpoints are those of examples i and i + B / 2. The generator's batch is the B texts followed by
  B / 2 midpoints. Its loss is the mean over all 3 B / 2, with weight 1 for texts and
  `interpolation` for midpoints. The discriminator's update has no midpoints.
* Convolutions have no bias: the authors set theirs to 0 before each update. The dense layer before
  the discriminator's batch normalisation has no bias either.
* The discriminator's last two strided convolutions have batch normalisation, and no activation
  before the residual block.

The EMA tracks the generator. The batch-norm statistics of averaged weights are those of images of
64 texts of the last batch, which are in `buffers`, so that evaluation needs no data. See
`genjax.core.adversarial` for the rest.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonNegativeFloat, PositiveInt
from genjax.core import (
    Batch,
    GanObjective,
    LossOutput,
    Traits,
    Variables,
    apply_network,
    check_gradient_penalties,
    compiled_init,
    merge_networks,
    train_network,
)
from genjax.core.adversarial import LOG_ODDS
from genjax.core.batches import check_text
from genjax.core.protocols import LossFn, TextSpec
from genjax.core.sample_diversity import diversity, nearest_distance
from genjax.families import joint_embedding
from genjax.families.gan_cls.text_networks import Discriminator, Generator, steps

WRONG = 0.5  # weight of wrong images in the discriminator's loss
KEPT = 64  # texts of the last batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Networks and losses; the defaults are those of GAN-INT-CLS on CUB."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 64, 3)
    """Shape (S, S, C) of images; S is 8, 16, 32, ..."""
    width: PositiveInt = 128
    """Channels of the generator's largest map, doubled by each smaller one."""
    discriminator_width: PositiveInt = 64
    """Channels of the discriminator's largest map, doubled by each smaller one."""
    latent: PositiveInt = 100
    """Dimension of the noise."""
    text_width: PositiveInt = 128
    """Features of the text in each network."""
    matching_aware: bool = True
    """Whether the discriminator's loss has a term of wrong images (CLS)."""
    interpolation: NonNegativeFloat = 1.0
    """Weight of midpoints between texts in the generator's loss (INT); 0 removes them."""
    interpolation_at: checks.UnitInterval = 0.5
    """Weight of the first of two texts in their midpoint, beta."""
    captions: PositiveInt = 4
    """Captions of an image whose embeddings are averaged in training."""
    embedding: joint_embedding.Config = dataclasses.field(default_factory=joint_embedding.Config)
    """The family that embeds texts; it determines their length and vocabulary."""
    objective: GanObjective = dataclasses.field(default_factory=GanObjective)
    """Loss and update schedule, without penalties."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.shape[0] != self.shape[1] or not steps(self.shape[0]):
            raise ValueError(
                f"`shape` must have equal sides of 8, 16, 32, ... pixels, got {self.shape}; resize"
                f" the images."
            )
        check_gradient_penalties(self.objective, "batch")
        if self.objective.drift or self.objective.loss == "relativistic":
            raise ValueError(
                "gan_cls has no drift and no relativistic loss; use another loss, without drift."
            )


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        width=4,
        discriminator_width=4,
        latent=3,
        text_width=3,
        captions=2,
        embedding=dataclasses.replace(joint_embedding.tiny(), objective="structured"),
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0), ema=("generator",))


def parts(config: Config) -> dict[str, tuple[str, Any]]:
    """Returns `embedding`: the family that embeds texts, and its Config."""
    return {"embedding": ("joint_embedding", config.embedding)}


def text_spec(config: Config) -> TextSpec:
    length, vocabulary = config.embedding.text_length, config.embedding.vocabulary
    return TextSpec(length, vocabulary, config.captions, compared=config.matching_aware)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x`: float32 `[B, S, S, C]` in [-1, 1], and `text`: int32 `[B, K, T]`."""
    texts = (batch_size, config.captions, config.embedding.text_length)
    return {
        "x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32),
        "text": jax.ShapeDtypeStruct(texts, jnp.int32),
    }


def generator(config: Config) -> Generator:
    """Returns the generator: a module of noise `[B, Z]` and embeddings `[B, E]` -> images."""
    side, _, channels = config.shape
    dtype = jnp.dtype(config.dtype)
    return Generator(side, channels, config.width, config.text_width, dtype)


def discriminator(config: Config) -> Discriminator:
    """Returns the discriminator: a module of images and embeddings `[B, E]` -> logits `[B]`."""
    dtype = jnp.dtype(config.dtype)
    return Discriminator(config.shape[0], config.discriminator_width, config.text_width, dtype)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    del batch
    generator_key, discriminator_key, embedding_key = jax.random.split(key, 3)
    z, x = jnp.zeros((1, config.latent)), jnp.zeros((1, *config.shape))
    text = jnp.zeros((1, config.embedding.embedding))
    variables = merge_networks(
        {
            "generator": generator(config).init(generator_key, z, text),
            "discriminator": discriminator(config).init(discriminator_key, x, text),
        }
    )
    embedding = joint_embedding.init(config.embedding, embedding_key)
    captions = jnp.zeros(batch_spec(config, KEPT)["text"].shape, jnp.int32)
    return {**variables, "buffers": {"embedding": embedding, "captions": captions}}


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws noise from N(0, 1), `[n, Z]`."""
    return jax.random.normal(key, (n, config.latent))


def embed(config: Config, variables: Variables, text: jax.Array) -> jax.Array:
    """Computes the embedding of texts `[B, T]`, or the mean over K captions `[B, K, T]`: `[B, E]`.

    The embedding of a single caption is divided by its root mean square.

    Raises:
      ValueError: the texts have the wrong shape or dtype.
    """
    part = variables["buffers"]["embedding"]
    flat = text.reshape(-1, text.shape[-1])
    found = joint_embedding.embed_text(config.embedding, part, flat)
    found = found * jax.lax.rsqrt(jnp.square(found).mean(axis=1, keepdims=True) + 1e-12)
    return found.reshape(len(text), -1, found.shape[1]).mean(axis=1)


def images_of(
    config: Config, variables: Variables, z: jax.Array, embedding: jax.Array
) -> jax.Array:
    """Computes G(z, t), `[B, Z]` and embeddings `[B, E] -> [B, S, S, C]` in [-1, 1].

    Embeddings need not be those of a text: points between two embeddings are valid too.
    """
    return apply_network(generator(config), variables, "generator", z, embedding)


def discriminator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the discriminator's loss, `[B]`.

    aux has `real_logit` and `fake_logit`, with `matching_aware` also `wrong_logit`; the same as
    `real_probability`, ... for losses whose logits are log-odds; and `outputs`, the embeddings.
    """
    checks.batch("gan_cls", batch, lambda size: batch_spec(config, size))
    x, text = batch["x"], embed(config, variables, batch["text"])
    z = noise(config, key, len(x))
    fake, _ = train_network(generator(config), variables, "generator", z, text)
    passes = {"real": x, "wrong": jnp.roll(x, -1, axis=0), "fake": jax.lax.stop_gradient(fake)}
    if not config.matching_aware:
        del passes["wrong"]
    statistics, logits, aux = variables["batch_stats"]["discriminator"], {}, {}
    for name, images in passes.items():
        logits[name], statistics = train_network(
            discriminator(config), variables, "discriminator", images, text, statistics=statistics
        )
        aux[f"{name}_logit"] = logits[name]
        if config.objective.loss in LOG_ODDS:
            aux[f"{name}_probability"] = jax.nn.sigmoid(logits[name])
    loss = config.objective.discriminator_loss(logits["real"], logits["fake"])
    if config.matching_aware:
        share = jnp.where(_shares_a_caption(batch["text"]), 0.0, WRONG)
        wrong = config.objective.discriminator_loss(logits["real"], logits["wrong"])
        loss = (1 - share) * loss + share * wrong
    updates = {"batch_stats": {"discriminator": statistics}}
    return loss, {**aux, "updates": updates, "outputs": {"embedding": text}}


def generator_loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array
) -> LossOutput:
    """Computes the generator's loss, `[B]`; that of a midpoint is divided between its two examples.

    aux has `diversity` and `nearest` of the images of texts, and with interpolation
    `midpoint_loss`, the loss at midpoints. Embeddings are those in `batch["outputs"]`, if any.
    """
    checks.batch("gan_cls", batch, lambda size: batch_spec(config, size))
    outputs: Any = batch.get("outputs", {})
    text = outputs["embedding"] if outputs else embed(config, variables, batch["text"])
    size = len(text)
    half = size // 2 if config.interpolation else 0
    at = config.interpolation_at
    midpoints = at * text[:half] + (1 - at) * text[half : 2 * half]
    text = jnp.concatenate([text, midpoints])
    z = noise(config, key, size + half)
    images, statistics = train_network(generator(config), variables, "generator", z, text)
    logits, _ = train_network(discriminator(config), variables, "discriminator", images, text)
    each = config.objective.generator_loss(logits)
    loss = each[:size]
    aux: dict[str, Any] = {
        "diversity": diversity(batch["x"], images[:size]),
        "nearest": nearest_distance(batch["x"], images[:size]),
        "updates": {
            "batch_stats": {"generator": statistics},
            "buffers": {"captions": jnp.resize(batch["text"], (KEPT, *batch["text"].shape[1:]))},
        },
    }
    if half:
        aux["midpoint_loss"] = each[size:]
        own = jnp.pad(jnp.tile(each[size:], 2), (0, size - 2 * half)) / 2
        loss = (loss + config.interpolation * own) * (size / (size + half))
    return loss, aux


LOSSES: Mapping[str, LossFn] = {"discriminator": discriminator_loss, "generator": generator_loss}


def sample(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int | None = None,
    *,
    text: jax.Array,
) -> jax.Array:
    """Draws images of texts, float32 `[n, S, S, C]` in [-1, 1]; one image without `n`.

    Args:
      config: of the networks.
      variables: their variables.
      key: of the noise.
      n: number of images.
      text: int32 `[n, T]`; `[1, T]` without `n`.

    Raises:
      ValueError: the texts have the wrong shape or dtype, or there are not n.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    check_text("gan_cls", text, config.embedding.text_length)
    if len(text) != count:
        raise ValueError(
            f"gan_cls: {count} images need as many texts, got {len(text)}; repeat them."
        )
    z = noise(config, key, count)
    x = images_of(config, variables, z, embed(config, variables, text))
    return x if n else x[0]


def sampling_options(config: Config) -> dict[str, Any]:
    """Returns no options."""
    del config
    return {}


def caption_scores(
    config: Config, variables: Variables, images: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes the discriminator's logits of image i with text i, `[B]`.

    Without `matching_aware` the discriminator was not trained on images with a wrong text.

    Args:
      config: of the networks.
      variables: their variables.
      images: float32 `[B, S, S, C]` in [-1, 1].
      text: int32 `[B, T]`.

    Raises:
      ValueError: the shapes or dtypes are wrong.
    """
    checks.events("gan_cls", images, config.shape)
    check_text("gan_cls", text, config.embedding.text_length)
    embedding = embed(config, variables, text)
    return apply_network(discriminator(config), variables, "discriminator", images, embedding)


def _shares_a_caption(text: jax.Array) -> jax.Array:
    """Returns whether an example and the next have a caption in common: `[B, K, T] -> [B]`."""
    other = jnp.roll(text, -1, axis=0)
    equal = (text[:, :, None] == other[:, None]).all(axis=-1)  # [B, K, K]
    return equal.any(axis=(1, 2))
