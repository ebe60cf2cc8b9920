"""FVSBN of `genjax.families.fvsbn`: a product with a masked matrix; samples pixel by pixel."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    bernoulli_nll,
    device_of,
    same,
    with_weights,
)
from genjax.families import fvsbn


class FVSBN(nn.Module):
    """`x [B, D]` -> logits `[B, D]`."""

    mask: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        dims = math.prod(config.shape)
        self.order = fvsbn.order(config).tolist()
        place = torch.from_numpy(np.argsort(self.order))
        self.register_buffer("mask", (place[:, None] < place[None]).float(), persistent=False)
        self.W = nn.Parameter(torch.zeros(dims, dims))  # [from, to]
        self.b = nn.Parameter(torch.zeros(dims))

    def forward(self, x: Tensor) -> Tensor:
        """All conditionals at once."""
        return x @ (self.W * self.mask) + self.b

    def advance(self, logits: Tensor, row: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
        """Draws a pixel, `[B]`, and updates the logits; `pixel [1]` is a tensor, because a compiler
        would compile a graph per number."""
        x = torch.bernoulli(torch.sigmoid(logits.index_select(1, pixel)))
        return logits + x * row, x[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {"W": (self.W, same), "b": (self.b, same)}


def build(config: Any, variables: Any = None) -> FVSBN:
    """Builds the network, with Flax's weights if they are given."""
    return with_weights(FVSBN(config), variables)


def loss(network: FVSBN, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats; with dropout, of inputs that are 0 or scaled up."""
    x = batch["x"].flatten(1)
    return bernoulli_nll(network(F.dropout(x, config.dropout)), x)


def evaluate(network: FVSBN, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    x = batch["x"].flatten(1)
    return -bernoulli_nll(network(x), x)


@torch.inference_mode()
def sample(network: FVSBN, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    weights = (network.W * network.mask).unbind()
    logits = network.b.expand(n, -1).float()
    out = torch.zeros(n, len(network.order), device=device_of(network))
    places = torch.tensor(network.order, device=device_of(network)).split(1)
    for pixel, place in zip(network.order, places, strict=True):
        logits, out[:, pixel] = network.advance(logits, weights[pixel], place)
    return out.reshape(n, *config.shape)


def pieces(network: FVSBN) -> list[tuple[nn.Module, str]]:
    """Functions that are compiled."""
    return [(network, "advance")]
