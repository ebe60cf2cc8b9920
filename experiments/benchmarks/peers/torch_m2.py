"""M2: classifier, and encoder and decoder of every class at once, as `genjax.families.m2`."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    ACTIVATIONS,
    MLP,
    Leaves,
    bernoulli_nats,
    dense_leaves,
    device_of,
    prefixed,
    require,
    standard_kl,
    with_weights,
)


class Pair(nn.Module):
    """An MLP on a vector and a class, whose first layer adds a product with either."""

    def __init__(self, inputs: int, classes: int, hidden: Any, out: int, activation: str) -> None:
        super().__init__()
        first, *rest = hidden
        self.activation = ACTIVATIONS[activation]
        self.vector = nn.Linear(inputs, first)
        self.label = nn.Linear(classes, first, bias=False)
        self.mlp = MLP(first, rest, out, activation)

    def forward(self, a: Tensor, y: Tensor) -> Tensor:
        """`a [B, 1 or P, F]`, one-hot `y [P, C]` -> `[B, P, out]`."""
        return self.mlp(self.activation(self.vector(a) + self.label(y)))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        own = prefixed(vector=dense_leaves(self.vector), label=dense_leaves(self.label))
        return own | prefixed(MLP_0=self.mlp.leaves())


class M2(nn.Module):
    """The three networks."""

    classes: Tensor

    def __init__(self, c: Any) -> None:
        super().__init__()
        dims = math.prod(c.shape)
        self.classifier = MLP(dims, c.hidden, c.classes, c.activation)
        self.encoder = Pair(dims, c.classes, c.hidden, 2 * c.latent, c.activation)
        self.decoder = Pair(c.latent, c.classes, c.hidden[::-1], dims, c.activation)
        self.register_buffer("classes", torch.eye(c.classes), persistent=False)

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | x), `[B, C]`."""
        return F.log_softmax(self.classifier(x).float(), -1)

    def bounds(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """-L(x, y) of every class, `[B, C]`."""
        mean, log_variance = self.encoder(x[:, None], self.classes).float().chunk(2, -1)
        log_std = 0.5 * log_variance
        z = mean + torch.exp(log_std) * (torch.randn_like(mean) if noise is None else noise)
        logits = self.decoder(z, self.classes)  # [B, C, D]
        nll = bernoulli_nats(logits, x[:, None].expand_as(logits)).sum(-1)
        return -nll - standard_kl(mean, log_std).sum(-1) - math.log(len(self.classes))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts: Any = ("classifier", "encoder", "decoder")
        return prefixed(**{name: getattr(self, name).leaves() for name in parts})


def build(config: Any, variables: Any = None) -> M2:
    """Builds the network, with Flax's weights if they are given.

    Raises:
      ValueError: settings that the peer does not support.
    """
    require("m2", config, gradient_classes=0)
    return with_weights(M2(config), variables)


def marginal(bounds: Tensor, log_q: Tensor) -> Tensor:
    """-U(x), `[B]`."""
    return (torch.exp(log_q) * (bounds - log_q)).sum(1)


def loss(network: M2, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None) -> Tensor:
    """L or U, classification loss and prior of the weights, `[B]`; `noise [B, C, Z]`."""
    x, label = batch["x"].flatten(1), batch["label"].long()
    known, index = label >= 0, label.clamp(min=0)[:, None]
    bounds, log_q = network.bounds(x, noise), network.classify(x)
    bound = torch.where(known, bounds.gather(1, index)[:, 0], marginal(bounds, log_q))
    cross_entropy = torch.where(known, -log_q.gather(1, index)[:, 0], 0.0)
    squares = sum(p.square().sum() for p in network.parameters())
    prior = 0.5 * config.weight_prior * squares
    return config.alpha / config.labelled * cross_entropy - bound + prior


def evaluate(
    network: M2, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-U(x), `[B]`."""
    x = batch["x"].flatten(1)
    return marginal(network.bounds(x, noise), network.classify(x))


@torch.inference_mode()
def sample(network: M2, config: Any, n: int) -> Tensor:
    """`[n, *shape]`, of classes drawn uniformly."""
    device = device_of(network)
    y = network.classes[torch.randint(config.classes, (n,), device=device)]
    logits = network.decoder(torch.randn(n, config.latent, device=device), y)
    return torch.bernoulli(torch.sigmoid(logits.float())).reshape(n, *config.shape)


def pieces(network: M2) -> list[tuple[nn.Module, str]]:
    """Functions that are compiled."""
    return [(network.decoder, "forward")]
