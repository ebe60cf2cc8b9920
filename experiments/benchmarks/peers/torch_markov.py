"""Markov model of binary images, as `genjax.families.markov`: a step adds a batch to the counts."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import Leaves, require, same
from genjax.families.markov import contexts

ROWS = 1000  # of a batch at once


class Markov(nn.Module):
    """Counts `[D, 2^(k+1)]`: cell 2 c + v counts value v in context c."""

    counts: Tensor
    pixels: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        dims = math.prod(config.shape)
        tables = dims if config.by_position else 1
        self.register_buffer("counts", torch.zeros(tables, 2 ** (config.k + 1), dtype=torch.int32))
        self.register_buffer("pixels", torch.from_numpy(contexts(config)), persistent=False)
        self.alpha = config.alpha

    def cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the context's first cell in the flat table, and the values: `[B, D]` each."""
        bits = x.flatten(1).long()
        outside = torch.cat([bits, bits.new_zeros(len(bits), 1)], 1)
        context = torch.zeros_like(bits)
        for j in range(self.pixels.shape[1]):
            context = 2 * context + outside[:, self.pixels[:, j]]
        rows = torch.arange(len(self.counts), device=x.device) * self.counts.shape[1]
        return rows + 2 * context, bits

    def forward(self, x: Tensor) -> Tensor:
        """log p(x), `[B]`."""
        first, bits = self.cells(x)
        flat = self.counts.view(-1)
        zero, one = flat[first].float() + self.alpha, flat[first + 1].float() + self.alpha
        return (torch.log(torch.where(bits > 0, one, zero)) - torch.log(zero + one)).sum(1)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {"counts": (self.counts, same)}


def build(config: Any, variables: Any = None) -> Markov:
    """Builds the model, with the counts of Flax's buffers if they are given."""
    require("markov", config, smoothing="flat")
    network = Markov(config)
    if variables is not None:
        network.counts.copy_(torch.tensor(variables["buffers"]["counts"]))
    return network


@torch.no_grad()
def update(network: Markov, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """Adds a batch to the counts; returns the mean of -log p(x) under the new ones."""
    flat = network.counts.view(-1)
    for part in batch["x"].split(ROWS):
        first, bits = network.cells(part)
        flat += torch.bincount((first + bits).flatten(), minlength=len(flat)).int()
    return -evaluate(network, config, batch).mean()


def evaluate(network: Markov, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    return torch.cat([network(part) for part in batch["x"].split(ROWS)])


@torch.inference_mode()
def sample(network: Markov, config: Any, n: int) -> Tensor:
    """`[n, *shape]`, pixel by pixel."""
    x = torch.zeros(n, len(network.pixels), device=network.counts.device)
    for d in range(x.shape[1]):
        first, _ = network.cells(x)
        flat = network.counts.view(-1)
        zero = flat[first[:, d]].float() + network.alpha
        one = flat[first[:, d] + 1].float() + network.alpha
        x[:, d] = torch.bernoulli(one / (zero + one))
    return x.reshape(n, *config.shape)
