"""The decoder-only transformer over text and image tokens.

    begin, text 1 .. T, image 1 .. N - 1   ->   logits of text 1 .. T, image 1 .. N

The parameters of all blocks are stacked, so that a scan applies them: compiling 64 layers takes as
long as compiling `UNROLL`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import Variables, named_key
from genjax.families.dalle.dalle_config import Config
from genjax.families.dalle.gradient_scaling import scale_gradients
from genjax.families.dalle.masks import sequence_mask
from genjax.nn.attention import TransformerBlock, dense

Params = dict[str, Any]
UNROLL = 4  # layers per iteration of the scan
HEAD_SCALE = 0.01  # variance of the initial logits


def block_of(config: Config) -> TransformerBlock:
    """Returns the module of one layer."""
    return TransformerBlock(
        config.heads,
        dropout=config.dropout,
        dtype=jnp.dtype(config.dtype),
        split_heads=True,
        qk_norm=config.qk_norm,
        kernel=config.attention_kernel,
    )


def init_transformer(config: Config, key: jax.Array) -> Params:
    """Returns initial parameters; weights have variance 1 / (number of inputs).

    Those of the blocks are truncated normal, others normal. The last weights of residual branches
    are divided by sqrt(2 layers), and those of the output layers by 10.
    """
    width, (rows, columns) = config.width, config.grid
    tables = {
        "text_embedding": config.vocabulary + config.text_length,
        "text_position": config.text_length,
        "begin": 1,
        "image_embedding": config.codes,
        "row_position": rows,
        "column_position": columns,
    }
    params: Params = {
        name: jax.random.normal(named_key(key, 0, name), (size, width)) * width**-0.5
        for name, size in tables.items()
    }
    x, block = jnp.zeros((1, 1, width)), block_of(config)
    keys = jax.random.split(named_key(key, 0, "blocks"), config.layers)
    blocks = jax.vmap(lambda key: block.init(key, x)["params"])(keys)
    for part in (blocks, blocks["attention"]):
        part["out"]["kernel"] *= (2 * config.layers) ** -0.5
    head = nn.initializers.variance_scaling(HEAD_SCALE, "fan_in", "normal")
    sizes = {"text_head": config.vocabulary, "image_head": config.codes}
    for name, size in sizes.items():
        layer = nn.Dense(size, kernel_init=head)
        params[name] = layer.init(named_key(key, 0, name), x)["params"]
    norm = nn.LayerNorm().init(key, x)["params"]
    return {**params, "blocks": blocks, "norm": norm}


def embed_text(config: Config, params: Params, text: jax.Array) -> jax.Array:
    """Embeds the begin token and text `[B, T]`: `[B, T + 1, width]`.

    Padding has a learned token for every position (section 2.2).
    """
    pads = config.vocabulary + jnp.arange(config.text_length)
    tokens = jnp.where(text == 0, pads[None], text)
    x = params["text_embedding"][tokens] + params["text_position"][None]
    begin = jnp.broadcast_to(params["begin"], (len(text), 1, config.width))
    return jnp.concatenate([begin, x], axis=1)


def embed_image(config: Config, params: Params, tokens: jax.Array, start: Any = 0) -> jax.Array:
    """Embeds image tokens `[B, n]` at positions start .. start + n - 1: `[B, n, width]`."""
    row, column = jnp.divmod(start + jnp.arange(tokens.shape[1]), config.grid[1])
    position = params["row_position"][row] + params["column_position"][column]
    return params["image_embedding"][tokens] + position[None]


def masks_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct masks, bool `[P, T + N, T + N]`, and their index per layer."""
    kinds = sorted(set(config.patterns))
    masks = [sequence_mask(k, config.text_length, config.grid, config.kernel) for k in kinds]
    return np.stack(masks), np.array([kinds.index(kind) for kind in config.patterns])


def run_blocks(
    config: Config, params: Params, x: jax.Array, dropout_key: jax.Array | None = None
) -> jax.Array:
    """Applies all blocks to the first n positions of the sequence, `[B, n, width]` float32."""
    length = x.shape[1]
    masks, index = masks_of(config)
    allowed = jnp.asarray(masks[:, :length, :length])
    block, train = block_of(config), dropout_key is not None
    keys = None if dropout_key is None else jax.random.split(dropout_key, config.layers)

    def apply(p: Params, x: jax.Array, mask: jax.Array, key: Any) -> jax.Array:
        rngs = {"dropout": key} if train else {}
        return block.apply({"params": p}, x, mask[None, None], train, rngs=rngs)

    if config.dtype == "float16":
        apply = functools.partial(scale_gradients, apply)
    if config.remat:
        apply = jax.checkpoint(apply)

    def layer(x: jax.Array, inputs: Any) -> tuple[jax.Array, None]:
        p, kind, key = inputs
        return apply(p, x, allowed[kind], key), None

    inputs = (params["blocks"], jnp.asarray(index), keys)
    x, _ = jax.lax.scan(layer, x, inputs, unroll=min(UNROLL, config.layers))
    return x


def features(
    config: Config,
    params: Params,
    text: jax.Array,
    tokens: jax.Array,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Computes the normalised features of begin, text `[B, T]` and image tokens `[B, n]`.

    Returns:
      `[B, T + 1 + n, width]` float32.
    """
    x = embed_text(config, params, text)
    x = jnp.concatenate([x, embed_image(config, params, tokens)], axis=1)
    x = run_blocks(config, params, x, dropout_key)
    return nn.LayerNorm().apply({"params": params["norm"]}, x)


def head(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Computes the logits of `text_head` or `image_head` from features, float32."""
    layer = nn.Dense(params[name]["bias"].size).bind({"params": params[name]})
    return dense(layer, x)


def all_logits(
    config: Config,
    variables: Variables,
    text: jax.Array,
    tokens: jax.Array,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Computes the logits of text `[B, T, V]` and of image tokens `[B, N, K]`.

    Args:
      config: of the network.
      variables: with its `params`.
      text: int32 `[B, T]`.
      tokens: int32 `[B, N]`; the last one has no effect.
      dropout_key: key of dropout, in training; None is without dropout.
    """
    params = variables["params"]
    x = features(config, params, text, tokens[:, :-1], dropout_key)
    last = config.text_length
    return head(params, "text_head", x[:, :last]), head(params, "image_head", x[:, last:])


def text_logits(config: Config, variables: Variables, text: jax.Array) -> jax.Array:
    """Computes the logits of text tokens, `[B, T, V]`, of text `[B, T]` without an image."""
    params = variables["params"]
    x = features(config, params, text, jnp.zeros((len(text), 0), jnp.int32))
    return head(params, "text_head", x[:, :-1])


def check_text(config: Config, text: Any) -> None:
    """Checks that text is int32 `[B, T]` of the vocabulary, padded at the end.

    Raises:
      ValueError: it is not.
    """
    expected = f"int32[B, {config.text_length}]"
    shape = tuple(getattr(text, "shape", ()))
    if len(shape) != 2 or shape[1] != config.text_length or text.dtype != jnp.int32:
        raise ValueError(
            f"dalle: text must be {expected}, got {checks.describe(text)}; encode captions with the"
            " run's tokenizer and this length."
        )
    if not checks.concrete(text):
        return
    values = np.asarray(text)
    if values.size and not 0 <= values.min() <= values.max() < config.vocabulary:
        raise ValueError(
            f"dalle: tokens of text must be in 0 .. {config.vocabulary - 1}, got {values.min()} .."
            f" {values.max()}; use the tokenizer of the run."
        )
    if ((values[:, 1:] != 0) & (values[:, :-1] == 0)).any():
        raise ValueError("dalle: padding (0) in text must follow all other tokens; move it there.")


def check_tokens(config: Config, tokens: Any) -> jax.Array:
    """Returns image tokens as `[B, N]`.

    Raises:
      ValueError: they are not int32 `[B, N]` or `[B, rows, columns]`.
    """
    shape = tuple(getattr(tokens, "shape", ()))
    if shape[1:] not in ((config.image_length,), config.grid) or tokens.dtype != jnp.int32:
        rows, columns = config.grid
        raise ValueError(
            f"dalle: tokens must be int32[B, {config.image_length}] or int32[B, {rows}, {columns}],"
            f" got {checks.describe(tokens)}; encode images with encode_tokens."
        )
    return tokens.reshape(shape[0], -1)
