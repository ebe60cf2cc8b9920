"""DALL-E: a transformer over the tokens of a text and of an image.

    text -> t_1 .. t_T (tokenizer of the run),  image -> z_1 .. z_N (discrete VAE, fixed)
    p(t, z) = prod_i p(t_i | t_<i) prod_j p(z_j | t, z_<j),   p(x | t) = sum_z p(x | z) p(z | t)

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (arXiv:2102.12092), sections 2.2 and 2.4,
appendix B. The attention patterns are in `masks.py`. What the paper leaves open, or differs:

* The sequence begins with a learned token, so that the first text token is predicted as well.
* Each text position has a learned padding token, which image tokens attend to. Padding is not
  predicted: the mean nats of a text are over its tokens alone, and p(t) is conditional on its
  length.
* Nats are averaged over the tokens of an example, and then over the examples of a batch.
* Text and image tokens have separate embeddings and output layers; the blocks are shared.
* float16 scales the gradients of every block (`gradient_scaling.py`); bfloat16 has the range of
  float32 and does not need it. Embeddings, logits and losses are float32, as in appendix D.
* Initial weights have variance 1 / (number of inputs): a truncated normal distribution in the
  blocks, a normal one elsewhere. The last layers of residual branches have variance
  1 / (2 layers) times that, the output layers a hundredth of it.

Not in the paper: classifier-free guidance, QK-norm, top-k and top-p. Guidance needs training with
null captions, texts of padding alone.

The variables of the discrete VAE are `variables["buffers"]["image_tokenizer"]`. `init` draws them
at random, and a run loads trained ones by `parts_from`. Without `text`, samples and densities are
those of the null caption; they need a model that was trained with `null_captions` above 0.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from genjax import checks
from genjax.core import Batch, LossOutput, Traits, Variables, compiled_init, named_key
from genjax.core.batches import batch_spec as image_spec
from genjax.core.protocols import TextSpec
from genjax.families import dvae
from genjax.families.dalle.dalle_config import Config as Config
from genjax.families.dalle.token_sampling import SAMPLING_OPTIONS, check_null_captions
from genjax.families.dalle.token_sampling import sample_tokens as sample_tokens
from genjax.families.dalle.token_sampling import sample_tokens_naive as sample_tokens_naive
from genjax.families.dalle.token_transformer import (
    all_logits,
    check_text,
    check_tokens,
    init_transformer,
    text_logits,
)
from genjax.losses import categorical_nats


def tiny() -> Config:
    return Config(
        shape=(8, 8, 1),
        image_tokenizer=dvae.tiny(),
        vocabulary=5,
        text_length=4,
        width=8,
        layers=3,
        heads=2,
        kernel=3,
        qk_norm=True,
        null_captions=0.2,
        dropout=0.1,
    )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="bound", metric="NLL of an image token")


def text_spec(config: Config) -> TextSpec:
    """Returns the shape of the texts."""
    return TextSpec(config.text_length, config.vocabulary)


def sampling_options(config: Config) -> Mapping[str, Any]:
    """Returns the options of `sample` and their defaults; see `sample_tokens`.

    Only a model that was trained on null captions has the option `guidance`.
    """
    left_out = () if config.null_captions else ("guidance",)
    return {name: value for name, value in SAMPLING_OPTIONS.items() if name not in left_out}


def parts(config: Config) -> Mapping[str, tuple[str, Any]]:
    """Returns the discrete VAE that makes the image tokens."""
    return {"image_tokenizer": ("dvae", config.image_tokenizer)}


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x`: float32 `[B, *shape]` in [0, 1], and `text`: int32 `[B, T]`."""
    text = jax.ShapeDtypeStruct((batch_size, config.text_length), jnp.int32)
    return {**image_spec(config, batch_size), "text": text}


def sharding_rules(config: Config) -> list[tuple[str, PartitionSpec]]:
    """Returns (regular expression, PartitionSpec) of the parameters.

    The mesh has the axes `data`, over which every large array is divided, and `model`, over which
    attention is divided by heads and feed-forward networks by hidden units. The discrete VAE is
    replicated.
    """
    del config
    whole = PartitionSpec()
    return [
        (r"image_tokenizer", whole),
        (r"blocks.*query_key_value.kernel", PartitionSpec(None, "data", None, "model", None)),
        (r"blocks.*query_key_value.bias", PartitionSpec(None, None, "model", None)),
        (r"blocks.*hidden.kernel", PartitionSpec(None, "data", "model")),
        (r"blocks.*hidden.bias", PartitionSpec(None, "model")),
        (r"blocks.*out.kernel", PartitionSpec(None, "model", "data")),
        (r"(text|image)_embedding", PartitionSpec(None, "data")),
        (r"(text|image)_head.kernel", PartitionSpec("data", None)),
        (r"", whole),  # biases, scales and embeddings of positions
    ]


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    tokenizer = dvae.init(config.image_tokenizer, named_key(key, 0, "image_tokenizer"))
    return {
        "params": init_transformer(config, key),
        "buffers": {"image_tokenizer": tokenizer},
    }


def image_tokens(config: Config, variables: Variables, images: jax.Array) -> jax.Array:
    """Computes the tokens of images `[B, *shape]` in [0, 1], int32 `[B, N]`, without gradient."""
    checks.events("dalle", images, config.shape)
    tokenizer = variables["buffers"]["image_tokenizer"]
    tokens = dvae.encode_tokens(config.image_tokenizer, tokenizer, images)
    return jax.lax.stop_gradient(tokens).reshape(len(images), -1)


def token_images(config: Config, variables: Variables, tokens: jax.Array) -> jax.Array:
    """Computes images `[B, *shape]` in [0, 1] of tokens `[B, N]`; NaN where a token is -1."""
    tokenizer = variables["buffers"]["image_tokenizer"]
    grids = tokens.reshape(-1, *config.grid)
    return dvae.decode_tokens(config.image_tokenizer, tokenizer, grids)


def token_logits(
    config: Config, variables: Variables, tokens: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes the logits of every image token given the text and the previous image tokens.

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      tokens: int32 `[B, N]` or `[B, rows, columns]`.
      text: int32 `[B, T]`.

    Returns:
      `[B, N, K]` float32.

    Raises:
      ValueError: tokens or text have the wrong shape or dtype, or invalid values.
    """
    check_text(config, text)
    return all_logits(config, variables, text, check_tokens(config, tokens))[1]


def token_log_prob(
    config: Config, variables: Variables, tokens: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes log p(token | text, previous tokens), `[B, N]` nats; arguments of `token_logits`."""
    logits = token_logits(config, variables, tokens, text)
    return -categorical_nats(logits, check_tokens(config, tokens))


def text_log_prob(config: Config, variables: Variables, text: jax.Array) -> jax.Array:
    """Computes log p(text token | previous ones) of text `[B, T]`: `[B, T]` nats, 0 at padding."""
    check_text(config, text)
    nats = categorical_nats(text_logits(config, variables, text), text)
    return jnp.where(text != 0, -nats, 0.0)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes text_weight * nats per text token + (1 - text_weight) * nats per image token, `[B]`.

    Both are means over the tokens of an example (section 2.2); padding is not predicted. aux has
    both, as `text_nats` and `image_nats`. Texts that are replaced by null captions do not count in
    the mean of `text_nats` over the batch.
    """
    checks.batch("dalle", batch, lambda size: batch_spec(config, size))
    text, tokens = batch["text"], image_tokens(config, variables, batch["x"])
    if config.null_captions:
        shape = (len(text), 1)
        null = jax.random.bernoulli(named_key(key, 0, "null"), config.null_captions, shape)
        text = jnp.where(null, 0, text)
    dropout_key = named_key(key, 0, "dropout") if config.dropout else None
    of_text, of_image = all_logits(config, variables, text, tokens, dropout_key)
    return mean_nats(config, text, of_text, tokens, of_image)


def mean_nats(
    config: Config, text: jax.Array, of_text: jax.Array, tokens: jax.Array, of_image: jax.Array
) -> LossOutput:
    """Computes the loss and its parts from logits of text `[B, T, V]` and image `[B, N, K]`."""
    image_nats = categorical_nats(of_image, tokens).mean(-1)
    given = text != 0
    text_nats = jnp.where(given, categorical_nats(of_text, text), 0.0).sum(-1)
    text_nats = text_nats / jnp.maximum(given.sum(-1), 1)
    nats = config.text_weight * text_nats + (1 - config.text_weight) * image_nats
    # The mean of this over the batch is the mean over the texts that are not null captions.
    texts = jnp.maximum(given.any(-1).sum(), 1)
    return nats, {"text_nats": text_nats * len(text) / texts, "image_nats": image_nats}


def report(config: Config, variables: Variables, batch: Batch) -> jax.Array:
    """Computes the mean of -log p(token | text, previous tokens) over image tokens, `[B]` nats."""
    tokens = image_tokens(config, variables, batch["x"])
    return -token_log_prob(config, variables, tokens, batch["text"]).mean(-1)


def caption_scores(
    config: Config, variables: Variables, images: jax.Array, text: jax.Array
) -> jax.Array:
    """Computes log p(tokens of image i | text i), `[B]` nats.

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      images: float32 `[B, *shape]` in [0, 1].
      text: int32 `[B, T]`.
    """
    tokens = image_tokens(config, variables, images)
    return token_log_prob(config, variables, tokens, text).sum(-1)


def log_weight(
    config: Config, variables: Variables, x: jax.Array, key: jax.Array, text: Any = None
) -> jax.Array:
    """Computes log p(phi(x) | z) + log p(z | text) - log q(z | x), z drawn from q, `[B]` nats.

    p(phi(x) | z) and q(z | x) are those of the discrete VAE, in which phi(x) = 0.8 x + 0.1. So the
    mean of exp(log_weight) is p(phi(x) | text); log p(x | text) is H W C log 0.8 more. With vq and
    fsq, q has one z, and log_weight is a lower bound of log p(phi(x) | text).

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      x: float32 `[B, *shape]` in [0, 1].
      key: of z.
      text: int32 `[B, T]`; by default null captions.

    Raises:
      ValueError: an array is invalid, or there is no text and the model has no null captions.
    """
    text = _given_or_null(config, text, len(x))
    tokenizer = variables["buffers"]["image_tokenizer"]
    tokens, log_q = dvae.draw_tokens(config.image_tokenizer, tokenizer, x, key)
    log_p = dvae.log_likelihood(config.image_tokenizer, tokenizer, x, tokens)
    return log_p + token_log_prob(config, variables, tokens, text).sum(-1) - log_q


def null_text(config: Config, n: int) -> jax.Array:
    """Returns n null captions, int32 zeros `[n, T]`."""
    return jnp.zeros((n, config.text_length), jnp.int32)


def sample(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int | None = None,
    *,
    text: jax.Array | None = None,
    **options: Any,
) -> jax.Array:
    """Draws float32 images `[n, *shape]` in [0, 1]; one image without `n`.

    The image of drawn tokens is the location of p(x | tokens), without noise.

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      key: typed key.
      n: number of images.
      text: int32 `[n, T]`, `[1, T]` without `n`; by default null captions.
      options: those of `sample_tokens`.

    Raises:
      ValueError: text or an option is invalid, or there is no text and the model has no null
        captions.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    text = _given_or_null(config, text, count)
    if len(text) != count:
        raise ValueError(f"dalle: `text` must have a row for each of {count} samples.")
    x = token_images(config, variables, sample_tokens(config, variables, key, text, **options))
    return x if n else x[0]


def _given_or_null(config: Config, text: jax.Array | None, n: int) -> jax.Array:
    """Returns text, or n null captions for None."""
    if text is not None:
        return text
    check_null_captions(config, "sampling or a density without `text`")
    return null_text(config, n)
