"""joint_embedding: texts and images as vectors of one space, close to each other for a pair.

A text encoder and an image encoder are trained together, both from random weights. With
`objective="structured"` the score of image v and text t is the inner product of their vectors, and

    loss = mean over wrong texts t' of max(0, 1 + s(v, t') - s(v, t))
         + mean over wrong images v' of max(0, 1 + s(v', t) - s(v, t))

Reed et al. 2016, "Learning Deep Representations of Fine-grained Visual Descriptions"
(arXiv:1605.05395), eqs. 2 to 4, with the character CNN-RNN of its authors' code for GAN-INT-CLS.
The paper has one image and one text of each class in a batch, and the largest term in place of the
mean; its code has the mean. It encodes images by a pretrained GoogLeNet, here the image encoder is
trained with the text encoder.

With `objective="contrastive"` vectors have length 1, the score is their inner product times a
learned factor, and the loss is the symmetric cross-entropy over the batch: Radford et al. 2021,
"Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), fig. 3.

What the papers leave open:

* The wrong texts and images of a pair are those of the other pairs in the batch, except pairs with
  an equal text.
* The recurrent network has no gates (the authors use a GRU for flowers). Its states are averaged
  over all steps, those of padding included.
* Images are in [0, 1], in training and in `caption_scores`; map samples of other ranges first.
* Normalisation is per example, so training and evaluation compute the same function.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks, losses
from genjax.checks import Dtype, PositiveInt, PositiveInts
from genjax.core import Batch, LossOutput, Traits, Variables, compiled_init
from genjax.core.batches import check_text
from genjax.core.protocols import TextSpec
from genjax.families.joint_embedding.encoders import (
    CharCnnRnn,
    ImageEncoder,
    TransformerEncoder,
    char_cnn_steps,
)

LARGEST_SCALE = 100.0  # of contrastive scores, as in CLIP


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Encoders and objective; the defaults have the text encoder of GAN-INT-CLS."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 64, 3)
    """Shape (H, W, C) of images."""
    vocabulary: PositiveInt = 71
    """Size of the vocabulary of texts, padding included; by default 70 characters and padding."""
    text_length: PositiveInt = 201
    """Tokens of a text, padding included."""
    embedding: PositiveInt = 1024
    """Dimension of the embeddings."""
    text_encoder: Literal["char_cnn_rnn", "transformer"] = "char_cnn_rnn"
    """char_cnn_rnn for characters, transformer for words or byte-pair encoding."""
    text_widths: PositiveInts = (384, 512, 256)
    """Channels of the convolutions of char_cnn_rnn; the last is also its recurrent width."""
    text_kernel: PositiveInt = 4
    """Width of the convolutions' kernels, in characters."""
    text_pool: PositiveInt = 3
    """Window and stride of the max-pooling between convolutions."""
    width: PositiveInt = 256
    """Features of a token in the transformer."""
    layers: PositiveInt = 2
    """Blocks of the transformer."""
    heads: PositiveInt = 4
    """Attention heads of the transformer, a divisor of `width`."""
    image_widths: PositiveInts = (64, 128, 256, 512)
    """Channels of the image encoder's convolutions, each with stride 2."""
    objective: Literal["structured", "contrastive"] = "structured"
    """structured hinge loss, or contrastive cross-entropy."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; embeddings and scores stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.vocabulary < 2:
            raise ValueError(
                f"`vocabulary` includes padding, so it must be at least 2, got {self.vocabulary}."
            )
        if self.width % self.heads:
            raise ValueError(
                f"`width` must be a multiple of `heads`, got {self.width} and {self.heads}."
            )
        if self.text_encoder == "char_cnn_rnn" and recurrent_steps(self) < 1:
            raise ValueError(
                f"{len(self.text_widths)} convolutions and poolings leave nothing of texts of"
                f" {self.text_length} characters; raise text_length, or use fewer text_widths."
            )


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        text_length=8,
        embedding=6,
        text_widths=(8, 6),
        text_kernel=2,
        text_pool=2,
        image_widths=(8,),
        objective="contrastive",
    )


def recurrent_steps(config: Config) -> int:
    """Returns the steps of the recurrent network of char_cnn_rnn; 18 by default."""
    c = config
    return char_cnn_steps(c.text_length, len(c.text_widths), c.text_kernel, c.text_pool)


def traits(config: Config) -> Traits:
    structured = config.objective == "structured"
    return Traits(
        data="images",
        density="none",
        sample_range=(0.0, 1.0),
        metric="matching loss",
        unit="" if structured else "nats",
    )


def text_spec(config: Config) -> TextSpec:
    return TextSpec(config.text_length, config.vocabulary, compared=True)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x`: float32 `[B, H, W, C]` in [0, 1], and `text`: int32 `[B, T]`."""
    return {
        "x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32),
        "text": jax.ShapeDtypeStruct((batch_size, config.text_length), jnp.int32),
    }


def text_encoder(config: Config) -> nn.Module:
    """Returns the text encoder, a module `[B, T] -> [B, E]`."""
    c, dtype = config, jnp.dtype(config.dtype)
    if c.text_encoder == "transformer":
        return TransformerEncoder(c.embedding, c.vocabulary, c.width, c.layers, c.heads, dtype)
    return CharCnnRnn(c.embedding, c.vocabulary, c.text_widths, c.text_kernel, c.text_pool, dtype)


def image_encoder(config: Config) -> ImageEncoder:
    """Returns the image encoder, a module `[B, H, W, C] -> [B, E]`."""
    return ImageEncoder(config.embedding, config.image_widths, jnp.dtype(config.dtype))


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    del batch
    text_key, image_key = jax.random.split(key)
    text = jnp.zeros((1, config.text_length), jnp.int32)
    params = {
        "text": text_encoder(config).init(text_key, text)["params"],
        "image": image_encoder(config).init(image_key, jnp.zeros((1, *config.shape)))["params"],
    }
    if config.objective == "contrastive":
        params["scale"] = jnp.array(math.log(1 / 0.07), jnp.float32)  # log of the factor
    return {"params": params}


def embed_text(config: Config, variables: Variables, text: jax.Array) -> jax.Array:
    """Embeds texts, int32 `[B, T] -> [B, E]`; of length 1 for the contrastive objective.

    Raises:
      ValueError: the texts have the wrong shape or dtype.
    """
    check_text("joint_embedding", text, config.text_length)
    return _embedding(config, text_encoder(config), variables["params"]["text"], text)


def embed_images(config: Config, variables: Variables, images: jax.Array) -> jax.Array:
    """Embeds images in [0, 1], `[B, H, W, C] -> [B, E]`; of length 1 for the contrastive objective.

    Raises:
      ValueError: the images have the wrong shape or dtype.
    """
    checks.events("joint_embedding", images, config.shape)
    return _embedding(config, image_encoder(config), variables["params"]["image"], images)


def encode(
    config: Config, variables: Variables, x: jax.Array, text: jax.Array | None = None
) -> jax.Array:
    """Embeds images, `[B, H, W, C] -> [B, E]`; `text` has no effect."""
    del text
    return embed_images(config, variables, x)


def caption_scores(
    config: Config, variables: Variables, images: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes the score of image i with text i, `[B]`; higher is a better match.

    Args:
      config: of the encoders.
      variables: their variables.
      images: float32 `[B, H, W, C]` in [0, 1].
      text: int32 `[B, T]`.

    Returns:
      The inner product of the embeddings, for the contrastive objective times the learned factor;
      a softmax of these over texts is then the model's probability of each text.

    Raises:
      ValueError: the shapes or dtypes are wrong.
    """
    each = embed_images(config, variables, images) * embed_text(config, variables, text)
    return each.sum(axis=1) * _scale(config, variables)


def score_table(
    config: Config, variables: Variables, images: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes the scores of M images with N texts, `[M, N]`; see `caption_scores`."""
    embedded = embed_images(config, variables, images), embed_text(config, variables, text)
    products = jnp.matmul(embedded[0], embedded[1].T, precision=jax.lax.Precision.HIGHEST)
    return products * _scale(config, variables)


def loss(
    config: Config, variables: Variables, batch: Batch, key: jax.Array | None = None
) -> LossOutput:
    """Computes the loss of each pair in the batch, `[B]`; nats for the contrastive objective.

    aux has `text_accuracy`, 1 for an image whose own text has the highest score of the texts in the
    batch, else 0; `image_accuracy`, the same for a text and the images; and for the contrastive
    objective `scale`, the learned factor.
    """
    del key
    checks.batch("joint_embedding", batch, lambda size: batch_spec(config, size))
    scores = score_table(config, variables, batch["x"], batch["text"])
    same = (batch["text"][:, None] == batch["text"][None]).all(-1)
    objective = {
        "structured": losses.structured_matching,
        "contrastive": losses.contrastive_matching,
    }[config.objective]
    wrong = jnp.where(same, -jnp.inf, scores)
    own = jnp.diagonal(scores)
    aux = {
        "text_accuracy": (own > wrong.max(axis=1)).astype(jnp.float32),
        "image_accuracy": (own > wrong.max(axis=0)).astype(jnp.float32),
    }
    if config.objective == "contrastive":
        aux["scale"] = _scale(config, variables)
    return objective(scores, same), aux


def report(config: Config, variables: Variables, batch: Batch) -> jax.Array:
    """Computes the loss of each pair, `[B]`; it depends on the other pairs in the batch."""
    return loss(config, variables, batch)[0]


def _embedding(config: Config, module: nn.Module, params: Any, inputs: jax.Array) -> jax.Array:
    out = module.apply({"params": params}, inputs)
    if config.objective == "structured":
        return out
    # The vector of an empty text may be 0, where normalisation has no gradient.
    squares = jnp.square(out).sum(axis=1, keepdims=True)
    return out * jax.lax.rsqrt(jnp.maximum(squares, 1e-6))


def _scale(config: Config, variables: Variables) -> jax.Array:
    """Returns the factor of the scores, `[]`."""
    if config.objective == "structured":
        return jnp.ones(())
    scale = variables["params"]["scale"]
    limited = jnp.minimum(scale, math.log(LARGEST_SCALE))
    # The gradient is that without the limit, so that a scale above it can decrease.
    return jnp.exp(scale + jax.lax.stop_gradient(limited - scale))
