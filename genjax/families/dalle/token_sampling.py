"""Samplers of image tokens given text: one with a key-value cache, and a reference without.

Every token is drawn from one uniform number by the inverse of its cumulative distribution. So both
samplers draw the same tokens from the same key, up to rounding.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import Variables, draw_noise
from genjax.families.dalle.dalle_config import Config
from genjax.families.dalle.token_transformer import (
    all_logits,
    block_of,
    check_text,
    embed_image,
    embed_text,
    head,
    masks_of,
)
from genjax.nn.attention import KeyValues

SAMPLING_OPTIONS = {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def check_null_captions(config: Config, what: str) -> None:
    """Checks that the model was trained on null captions, which `what` evaluates.

    Raises:
      ValueError: it was not.
    """
    if not config.null_captions:
        raise ValueError(
            f"dalle: {what} evaluates null captions, and the model was trained without; give text"
            " and leave `guidance` at 1, or train with `null_captions` above 0, such as 0.1."
        )


def check_options(config: Config, options: dict[str, Any]) -> None:
    """Checks the options of sampling, which are Python numbers.

    Raises:
      ValueError: one is out of range, or the model has no null captions for guidance.
    """
    guidance, temperature, top_k, top_p = (options[name] for name in SAMPLING_OPTIONS)
    if not guidance >= 0:
        raise ValueError(f"`guidance` must be non-negative, got {guidance}; 1 is without.")
    if guidance != 1:
        check_null_captions(config, f"`guidance` {guidance:g}")
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive, got {temperature}; top_k=1 is greedy.")
    if not (hasattr(top_k, "__index__") and 0 <= top_k <= config.codes):
        raise ValueError(
            f"`top_k` must be an integer in 0 .. {config.codes}, the number of codes, got {top_k};"
            " 0 keeps all."
        )
    if not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be in (0, 1], got {top_p}; 1 keeps all.")


def filtered_logits(
    logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> jax.Array:
    """Divides logits `[..., K]` by the temperature and sets those of codes left out to -inf.

    Args:
      logits: of the K codes.
      temperature: above 0.
      top_k: keeps the k most probable codes, and codes as probable as the k-th; 0 keeps all.
      top_p: keeps the fewest most probable codes whose total probability, among those that top_k
        keeps, is at least p. Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration",
        section 3.1.

    Returns:
      `[..., K]`.
    """
    logits = logits / temperature
    if top_k:
        least = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if top_p < 1:
        ordered = -jnp.sort(-logits, axis=-1)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        kept = jnp.where(before < top_p, ordered, jnp.inf)
        logits = jnp.where(logits < kept.min(-1, keepdims=True), -jnp.inf, logits)
    return logits


def guided_logits(logits: jax.Array, guidance: float) -> jax.Array:
    """Computes the logits of classifier-free guidance, null + guidance (conditional - null).

    Args:
      logits: `[2 B, ..., K]`, given B texts and then given B null captions; `[B, ..., K]` where
        `guidance` is 1, which returns them.
      guidance: scale, 0 or above.

    Returns:
      `[B, ..., K]`.

    Source: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance" (arXiv:2207.12598); for
    logits, Gafni et al. 2022, "Make-A-Scene" (arXiv:2203.13131), section 3.4.
    """
    if guidance == 1:
        return logits
    conditional, null = jnp.split(logits, 2)
    return null + guidance * (conditional - null)


def with_null_texts(text: jax.Array, guidance: float) -> jax.Array:
    """Returns text `[B, T]`, followed by B null captions where `guidance` is not 1."""
    return text if guidance == 1 else jnp.concatenate([text, jnp.zeros_like(text)])


def _drawn(logits: jax.Array, noise: jax.Array, options: dict[str, Any]) -> jax.Array:
    """Draws tokens `[n]` from logits `[n or 2 n, K]`; -1 where a logit is NaN."""
    filters = {name: value for name, value in options.items() if name != "guidance"}
    logits = filtered_logits(guided_logits(logits, options["guidance"]), **filters)
    sums = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    total = sums[:, -1:]  # 1 up to rounding
    token = jnp.sum(noise[:, None] * total >= sums[:, :-1], axis=-1, dtype=jnp.int32)
    return jnp.where(jnp.isnan(total[:, 0]), -1, token)


def sample_tokens(
    config: Config,
    variables: Variables,
    key: jax.Array,
    text: jax.Array,
    *,
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> jax.Array:
    """Draws image tokens given text, int32 `[B, N]`, in raster order.

    The text is evaluated at once, and then one image token at a time, with a cache of the keys and
    values of earlier positions. Options are Python numbers, not traced arrays.

    Args:
      config: of the network.
      variables: of `init`, a train state or its average.
      key: typed key.
      text: int32 `[B, T]`.
      guidance: scale of classifier-free guidance; at 1 the null caption is not evaluated. Others
        are for models with `null_captions` above 0.
      temperature: divides the logits.
      top_k: number of codes that are kept; 0 keeps all.
      top_p: total probability of the codes that are kept; 1 keeps all.

    Returns:
      tokens in 0 .. K - 1, or -1 where the logits are NaN.

    Raises:
      ValueError: text or an option is invalid.
    """
    options = dict(guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p)
    check_options(config, options)
    check_text(config, text)
    noise = draw_noise(key, len(text), (config.image_length,)).T  # [N, B]
    params, block, first = variables["params"], block_of(config), config.text_length + 1
    blocks = [jax.tree.map(lambda p, i=i: p[i], params["blocks"]) for i in range(config.layers)]
    masks, kinds = masks_of(config)
    allowed = jnp.asarray(masks)

    def extend(x: jax.Array, caches: Any, start: Any) -> tuple[jax.Array, list[KeyValues]]:
        """Returns the logits after positions `start` .. of x `[B, n, width]`, and the caches."""
        new = []
        rows = jax.lax.dynamic_slice_in_dim(allowed, start, x.shape[1], axis=1)  # [P, n, S]
        for p, kind, cache in zip(blocks, kinds, caches, strict=True):
            mask = rows[int(kind)][None, None]
            x, cache = block.apply({"params": p}, x, mask, cache, start, method="extend")
            new.append(cache)
        x = nn.LayerNorm().apply({"params": params["norm"]}, x[:, -1])
        return head(params, "image_head", x), new

    x = embed_text(config, params, with_null_texts(text, guidance))
    shape = (len(x), config.heads, masks.shape[1], config.width // config.heads)
    empty = jnp.zeros(shape, jnp.dtype(config.dtype))
    caches = [KeyValues(empty, empty) for _ in blocks]
    logits, caches = extend(x, caches, 0)

    def step(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        logits, caches = carry
        uniform, position = inputs
        token = _drawn(logits, uniform, options)
        both = token if guidance == 1 else jnp.concatenate([token, token])
        x = embed_image(config, params, both[:, None], position)
        return extend(x, caches, first + position), token

    positions = jnp.arange(config.image_length - 1)
    (logits, _), tokens = jax.lax.scan(step, (logits, caches), (noise[:-1], positions))
    last = _drawn(logits, noise[-1], options)
    return jnp.concatenate([tokens, last[None]]).T


def sample_tokens_naive(
    config: Config, variables: Variables, key: jax.Array, text: jax.Array, **options: Any
) -> jax.Array:
    """Draws image tokens as `sample_tokens`, each from an evaluation of the whole sequence."""
    options = {**SAMPLING_OPTIONS, **options}
    check_options(config, options)
    check_text(config, text)
    noise = draw_noise(key, len(text), (config.image_length,))
    texts = with_null_texts(text, options["guidance"])

    def step(k: jax.Array, tokens: jax.Array) -> jax.Array:
        both = jnp.tile(tokens, (len(texts) // len(text), 1))
        _, logits = all_logits(config, variables, texts, both)
        logits = jax.lax.dynamic_index_in_dim(logits, k, axis=1, keepdims=False)
        token = _drawn(logits, noise[:, k], options)
        return jax.lax.dynamic_update_index_in_dim(tokens, token, k, axis=1)

    start = jnp.zeros((len(text), config.image_length), jnp.int32)
    return jax.lax.fori_loop(0, config.image_length, step, start)
