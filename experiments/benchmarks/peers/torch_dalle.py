"""DALL-E's transformer on the tokens of a discrete VAE, as `genjax.families.dalle`.

Samples are drawn with a cache of keys and values, one token at a time.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers import torch_dvae
from experiments.benchmarks.peers.torch_attention import (
    EPSILON,
    Block,
    Cache,
    norm_leaves,
    stacked,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    dense_leaves,
    device_of,
    frozen,
    prefixed,
    require,
    same,
    with_weights,
)
from genjax.families.dalle.token_transformer import masks_of

TABLES = ("text_embedding", "text_position", "begin", "image_embedding")
POSITIONS = ("row_position", "column_position")


class Transformer(nn.Module):
    """begin, text `[B, T]`, image tokens `[B, N - 1]` -> logits `[B, T, V]` and `[B, N, K]`."""

    masks: Tensor
    pads: Tensor

    def __init__(self, c: Any, tokenizer: torch_dvae.DiscreteVAE) -> None:
        super().__init__()
        self.image_tokenizer, self.text_length = frozen(tokenizer), c.text_length
        masks, kinds = masks_of(c)
        self.kinds: list[int] = np.asarray(kinds).tolist()
        self.register_buffer("masks", torch.from_numpy(masks), persistent=False)
        pads = c.vocabulary + torch.arange(c.text_length)
        self.register_buffer("pads", pads, persistent=False)
        sizes = (c.vocabulary + c.text_length, c.text_length, 1, c.codes, *c.grid)
        tables = zip((*TABLES, *POSITIONS), sizes, strict=True)
        self.tables = nn.ModuleDict({name: nn.Embedding(n, c.width) for name, n in tables})
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.dropout, split_heads=True) for _ in range(c.layers)
        )
        self.norm = nn.LayerNorm(c.width, EPSILON)
        self.text_head = nn.Linear(c.width, c.vocabulary)
        self.image_head = nn.Linear(c.width, c.codes)

    def embed_text(self, text: Tensor) -> Tensor:
        """Text `[B, T]` to `[B, T + 1, width]`, after the begin token."""
        x = self.tables["text_embedding"](torch.where(text == 0, self.pads, text))
        x = x + self.tables["text_position"].weight
        return torch.cat([self.tables["begin"].weight.expand(len(text), 1, -1), x], 1)

    def embed_image(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Image tokens `[B, n]` of positions start .. start + n - 1 to `[B, n, width]`."""
        rows, columns = (self.tables[name].weight for name in POSITIONS)
        positions = (rows[:, None] + columns).flatten(0, 1)
        return self.tables["image_embedding"](tokens) + positions[start : start + tokens.shape[1]]

    def forward(self, text: Tensor, tokens: Tensor, train: bool = False) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = torch.cat([self.embed_text(text), self.embed_image(tokens)], 1)
        size = x.shape[1]
        for block, kind in zip(self.blocks, self.kinds, strict=True):
            x = block(x, self.masks[kind, :size, :size], train)
        x, last = self.norm(x), self.text_length
        return self.text_head(x[:, :last]).float(), self.image_head(x[:, last:]).float()

    def extend(self, x: Tensor, caches: list[Cache], start: int) -> Tensor:
        """Returns the logits `[B, K]` after x, which has positions start .. of the sequence."""
        end = start + x.shape[1]
        for block, kind, cache in zip(self.blocks, self.kinds, caches, strict=True):
            x = block(x, self.masks[kind, start:end, :end], cache=cache, start=start)
        return self.image_head(self.norm(x[:, -1])).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        tables: Any = self.tables.items()
        blocks: Any = self.blocks
        return {name: (table.weight, same) for name, table in tables} | prefixed(
            blocks=stacked([block.leaves() for block in blocks]),
            norm=norm_leaves(self.norm),
            text_head=dense_leaves(self.text_head),
            image_head=dense_leaves(self.image_head),
        )


def build(config: Any, variables: Any = None) -> Transformer:
    """Builds the network, with Flax's weights if they are given.

    Raises:
      ValueError: the peer does not support a setting.
    """
    require("dalle", config, qk_norm=False)
    part = None if variables is None else variables["buffers"]["image_tokenizer"]
    tokenizer = torch_dvae.build(config.image_tokenizer, part)
    return with_weights(Transformer(config, tokenizer), variables)


def pieces(network: Transformer) -> list[tuple[Any, str]]:
    """Returns the parts of a loop that are compiled."""
    return [(network, "extend")]


def nats_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """-log p(token), `[B, n]`."""
    nats = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none")
    return nats.unflatten(0, tokens.shape)


def loss(
    network: Transformer, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """Weighted means of the nats of text and image tokens, `[B]`.

    `noise`: whether a text is replaced by the null caption, `[B, 1]`.
    """
    text = batch["text"]
    with torch.no_grad():
        tokens = network.image_tokenizer.tokens(batch["x"])
    if config.null_captions:
        share = config.null_captions
        null = torch.rand(len(text), 1, device=text.device) < share if noise is None else noise
        text = text.masked_fill(null, 0)
    of_text, of_image = network(text, tokens[:, :-1], True)
    given = text != 0
    text_nats = nats_of(of_text, text).masked_fill(~given, 0).sum(1) / given.sum(1).clamp(min=1)
    weight = config.text_weight
    return weight * text_nats + (1 - weight) * nats_of(of_image, tokens).mean(1)


def evaluate(
    network: Transformer, config: Any, batch: dict[str, Tensor], noise: None = None
) -> Tensor:
    """log p(phi(x) | tokens) + log p(tokens | text), `[B]` nats."""
    tokenizer = network.image_tokenizer
    tokens = tokenizer.tokens(batch["x"])
    log_p = torch_dvae.log_likelihood(tokenizer, config.image_tokenizer, batch["x"], tokens)
    return log_p - nats_of(network(batch["text"], tokens[:, :-1])[1], tokens).sum(1)


@torch.inference_mode()
def sample_tokens(network: Transformer, config: Any, text: Tensor, guidance: float = 1.0) -> Tensor:
    """Draws image tokens given text `[B, T]`, int64 `[B, N]`, with classifier-free guidance."""
    guided = guidance != 1
    texts = torch.cat([text, torch.zeros_like(text)]) if guided else text
    x, first = network.embed_text(texts), config.text_length + 1
    shape = (len(texts), config.heads, network.masks.shape[1], config.width // config.heads)
    low, device = torch.is_autocast_enabled(x.device.type), x.device.type
    dtype = torch.get_autocast_dtype(device) if low else x.dtype
    caches = [
        (x.new_zeros(shape, dtype=dtype), x.new_zeros(shape, dtype=dtype)) for _ in network.kinds
    ]
    drawn: list[Tensor] = []
    logits = network.extend(x, caches, 0)
    for position in range(math.prod(config.grid)):
        if position:
            before = drawn[-1].repeat(2, 1) if guided else drawn[-1]
            x = network.embed_image(before, position - 1)
            logits = network.extend(x, caches, first + position - 1)
        if guided:
            conditional, null = logits.chunk(2)
            logits = null + guidance * (conditional - null)
        drawn.append(torch.multinomial(logits.softmax(1), 1))
    return torch.cat(drawn, 1)


@torch.inference_mode()
def sample(network: Transformer, config: Any, n: int) -> Tensor:
    """Images of n texts without padding, `[n, *shape]` in [0, 1]."""
    text = torch.ones(n, config.text_length, dtype=torch.long, device=device_of(network))
    return network.image_tokenizer.images(sample_tokens(network, config, text))
