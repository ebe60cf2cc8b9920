"""Mixture of Bernoullis, as `genjax.families.mixture`: a step is one iteration of EM."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import Leaves, same, with_weights

ROWS = 1000  # of the E step at once


class Mixture(nn.Module):
    """Parameters: `weights [K]` under softmax, `logits [K, D]` under sigmoid."""

    def __init__(self, components: int, dims: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(components), requires_grad=False)
        self.logits = nn.Parameter(0.1 * torch.randn(components, dims), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """log w_k + log p(x | k): `[B, D] -> [B, K]`."""
        one, zero = F.logsigmoid(self.logits), F.logsigmoid(-self.logits)
        return F.log_softmax(self.weights, 0) + x @ one.t() + (1 - x) @ zero.t()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {"weights": (self.weights, same), "logits": (self.logits, same)}


def build(config: Any, variables: Any = None) -> Mixture:
    """Builds the mixture, with Flax's parameters if they are given."""
    return with_weights(Mixture(config.components, math.prod(config.shape)), variables)


@torch.no_grad()
def update(network: Mixture, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """One iteration of EM; returns the mean of -log p(x) before it."""
    x = batch["x"].flatten(1)
    counts, ones = torch.zeros_like(network.weights), torch.zeros_like(network.logits)
    nats = x.new_zeros(())
    for part in x.split(ROWS):
        joint = network(part)
        log_p = joint.logsumexp(1)
        share = torch.exp(joint - log_p[:, None])
        nats -= log_p.sum()
        counts += share.sum(0)
        ones += share.t() @ part
    one = ones + config.mean_prior
    zero = (counts[:, None] - ones).clamp(min=0) + config.mean_prior
    network.logits.copy_(torch.log(one) - torch.log(zero))
    total = counts.sum() + config.components * config.weight_prior
    network.weights.copy_(torch.log((counts + config.weight_prior) / total))
    return nats / len(x)


def evaluate(network: Mixture, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    return torch.cat([network(part).logsumexp(1) for part in batch["x"].flatten(1).split(ROWS)])


@torch.inference_mode()
def sample(network: Mixture, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    which = torch.multinomial(F.softmax(network.weights, 0), n, replacement=True)
    return torch.bernoulli(torch.sigmoid(network.logits[which])).reshape(n, *config.shape)
