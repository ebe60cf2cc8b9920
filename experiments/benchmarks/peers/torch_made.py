"""MADE: masked dense layers; sampling runs the whole network per pixel.

A single mask is computed once, several are computed in every step. See `genjax.families.made`.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    ACTIVATIONS,
    Leaves,
    bernoulli_nll,
    dense_leaves,
    device_of,
    prefixed,
    with_weights,
)
from genjax.families import made
from genjax.nn import draw_degrees


def degrees_of(config: Any) -> list[np.ndarray]:
    """Of the inputs and of each hidden layer, for every mask: `[masks, units]`."""
    dims, masks = math.prod(config.shape), range(config.masks)
    places = np.stack([np.argsort(made.order(config, k)) + 1 for k in masks])
    drawn = [
        draw_degrees(dims, config.hidden, config.mask_seed, k if config.resample_degrees else 0)
        for k in masks
    ]
    return [places, *(np.stack(layer) for layer in zip(*drawn, strict=True))]


class MaskedLinear(nn.Linear):
    """A dense layer under a mask `[out, in]`."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """`[B, in] -> [B, out]`."""
        return F.linear(x, self.weight * mask, self.bias)


class MADE(nn.Module):
    """`x [B, D]` -> logits `[B, D]` under one mask."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        dims = math.prod(config.shape)
        self.act, self.masks = ACTIVATIONS[config.activation], config.masks
        self.share = config.dropout
        sizes = [dims, *config.hidden]
        self.hidden = nn.ModuleList(MaskedLinear(a, b) for a, b in itertools.pairwise(sizes))
        self.out = MaskedLinear(sizes[-1], dims)
        self.direct = MaskedLinear(dims, dims, bias=False) if config.direct else None
        degrees = [torch.from_numpy(d.astype(np.int32)) for d in degrees_of(config)]
        self.depth = len(degrees)
        for i, table in enumerate(degrees):
            self.register_buffer(f"degrees_{i}", table, persistent=False)
        self.loops = ("evaluate",) if self.masks > 1 else ()
        if self.masks == 1:
            for i, mask in enumerate(self.compute_masks(0)):
                self.register_buffer(f"mask_{i}", mask, persistent=False)

    def compute_masks(self, mask: Any) -> list[Tensor]:
        """`[out, in]` of each hidden layer, of the output and of the direct connections."""
        number = torch.as_tensor(mask, device=self.out.weight.device).reshape(1)
        tables = (getattr(self, f"degrees_{i}") for i in range(self.depth))
        low = [table.index_select(0, number)[0] for table in tables]  # [mask] would synchronise
        hidden = [b[:, None] >= a[None] for a, b in itertools.pairwise(low)]
        return [*hidden, low[0][:, None] > low[-1][None], low[0][:, None] > low[0][None]]

    def forward(self, x: Tensor, mask: Any = 0, train: bool = False) -> Tensor:
        """`mask` is a number, or a tensor `[]` if there are several."""
        if self.masks == 1:
            masks = [getattr(self, f"mask_{i}") for i in range(self.depth + 1)]
        else:
            masks = self.compute_masks(mask)
        h = x
        for layer, m in zip(self.hidden, masks, strict=False):
            h = self.act(layer(h, m))
            h = F.dropout(h, self.share, train)
        logits = self.out(h, masks[-2])
        return logits if self.direct is None else logits + self.direct(x, masks[-1])

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"hidden_{i}": dense_leaves(layer) for i, layer in enumerate(self.hidden)}
        found["out"] = dense_leaves(self.out)
        if self.direct is not None:
            found["direct"] = dense_leaves(self.direct)
        return prefixed(**found)


def build(config: Any, variables: Any = None) -> MADE:
    """Builds the network, with Flax's weights if they are given."""
    return with_weights(MADE(config), variables)


def loss(network: MADE, config: Any, batch: dict[str, Tensor], noise: int | None = None) -> Tensor:
    """-log p(x) under one mask, `[B]` nats; `noise` is its number."""
    x = batch["x"].flatten(1)
    mask: Any = noise
    if noise is None and config.masks > 1:
        mask = torch.randint(config.masks, (), device=x.device)
    return bernoulli_nll(network(x, mask, train=True), x)


def evaluate(network: MADE, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`; of several masks the log of their mean probability."""
    x = batch["x"].flatten(1)
    each = torch.stack([-bernoulli_nll(network(x, k), x) for k in range(config.masks)])
    return torch.logsumexp(each, 0) - math.log(config.masks)


@torch.inference_mode()
def sample(network: MADE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`, all under one mask."""
    mask = int(np.random.default_rng().integers(config.masks))
    x = torch.zeros(n, math.prod(config.shape), device=device_of(network))
    for pixel in made.order(config, mask).tolist():
        x[:, pixel] = torch.bernoulli(torch.sigmoid(network(x, mask)[:, pixel].float()))
    return x.reshape(n, *config.shape)
