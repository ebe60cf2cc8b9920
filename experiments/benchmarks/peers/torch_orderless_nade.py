"""Orderless NADE: a dense network of visible pixels and their mask; ensembles of orders.

Density and sampling visit the pixels in an order; each pixel adds its row of W to the
pre-activations. See `genjax.families.orderless_nade`.
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    ACTIVATIONS,
    Leaves,
    bernoulli_nats,
    device_of,
    same,
    with_weights,
)
from genjax.families import orderless_nade


class OrderlessNADE(nn.Module):
    """`x, visible [B, D]` -> logits `[B, D]`."""

    orders: Tensor
    loops = ("evaluate",)

    def __init__(self, c: Any) -> None:
        super().__init__()
        dims, self.share = math.prod(c.shape), c.dropout
        self.act = ACTIVATIONS[c.activation]
        orders = torch.from_numpy(orderless_nade.orders(c).copy())
        self.register_buffer("orders", orders, persistent=False)
        into = math.sqrt(dims)
        self.W = nn.Parameter(torch.randn(dims, c.hidden[0]) / into)
        self.M = nn.Parameter(torch.randn(dims, c.hidden[0]) / into) if c.input_masks else None
        self.c = nn.Parameter(torch.zeros(c.hidden[0]))
        pairs = list(itertools.pairwise(c.hidden))
        self.U = nn.ParameterList(torch.randn(a, b) * math.sqrt(2 / a) for a, b in pairs)
        self.u = nn.ParameterList(torch.zeros(b) for _, b in pairs)
        self.V = nn.Parameter(torch.randn(dims, c.hidden[-1]) / math.sqrt(c.hidden[-1]))
        self.b = nn.Parameter(torch.zeros(dims))

    def forward(self, x: Tensor, visible: Tensor, train: bool = False) -> Tensor:
        """Logits of all pixels given the visible ones."""
        a = (x * visible) @ self.W + self.c
        a = a if self.M is None else a + visible @ self.M
        return F.linear(self.units(a, train), self.V, self.b)

    def units(self, a: Tensor, train: bool = False) -> Tensor:
        """Last hidden layer from the first pre-activations, `[..., H]`."""
        h = F.dropout(self.act(a), self.share, train)
        for U, u in zip(self.U, self.u, strict=True):
            h = F.dropout(self.act(h @ U + u), self.share, train)
        return h

    def logits(self, a: Tensor, pixel: Tensor) -> Tensor:
        """Logits of one pixel per row: `a [..., B, H]`, `pixel [...]` -> `[..., B]`."""
        h = self.units(a)
        return (h @ self.V[pixel][..., None])[..., 0].float() + self.b[pixel][..., None]

    def added(self, x: Tensor, pixel: Tensor) -> Tensor:
        """Contribution of a pixel to `a`: `x [..., B]`, `pixel [...]` -> `[..., B, H]`."""
        a = x[..., None] * self.W[pixel][..., None, :]
        return a if self.M is None else a + self.M[pixel][..., None, :]

    def advance_density(
        self, a: Tensor, nats: Tensor, x: Tensor, pixel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Adds one pixel of each of `[C]` orders: `a [C, B, H]`, `nats, x [C, B]`."""
        return a + self.added(x, pixel), nats + bernoulli_nats(self.logits(a, pixel), x)

    def advance_sample(self, a: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
        """Samples one pixel per sample, each in its own order: `a [n, 1, H]`, `pixel [n]`."""
        x = torch.bernoulli(torch.sigmoid(self.logits(a, pixel)))
        return a + self.added(x, pixel), x[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        names = [n for n in ("W", "M", "c", "V", "b") if getattr(self, n) is not None]
        found: Leaves = {n: (getattr(self, n), same) for n in names}
        for i, (U, u) in enumerate(zip(self.U, self.u, strict=True), 1):
            found |= {f"U_{i}": (U, same), f"u_{i}": (u, same)}
        return found


def build(config: Any, variables: Any = None) -> OrderlessNADE:
    """Builds the network, with Flax's weights if they are given."""
    return with_weights(OrderlessNADE(config), variables)


def loss(
    network: OrderlessNADE, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """Unbiased estimate of -log p(x) over orders, `[B]` nats; `noise` is the visible mask."""
    x = batch["x"].flatten(1)
    visible = noise
    if visible is None:
        ranks = torch.rand_like(x)
        pixel = torch.randint(x.shape[1], (len(x), 1), device=x.device)
        visible = (ranks < ranks.gather(1, pixel)).float()
    hidden = 1 - visible
    nats = (hidden * bernoulli_nats(network(x, visible, train=True), x)).sum(1)
    return nats * x.shape[1] / hidden.sum(1)


def evaluate(network: OrderlessNADE, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x) of the ensemble, `[B]`; in batches of at most `ROWS` images times orders."""
    x = batch["x"].flatten(1)
    columns, found = x.t().contiguous(), []
    for perms in network.orders.split(max(1, orderless_nade.ROWS // len(x))):
        nats = torch.zeros(len(perms), len(x), device=x.device)
        a = network.c.expand(*nats.shape, -1)
        for pixel in perms.unbind(1):
            a, nats = network.advance_density(a, nats, columns[pixel], pixel)
        found.append(-nats)
    return torch.logsumexp(torch.cat(found), 0) - math.log(config.orders)


@torch.inference_mode()
def sample(network: OrderlessNADE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`, each along one order of the ensemble."""
    device = device_of(network)
    perms = network.orders[torch.randint(config.orders, (n,), device=device)]  # [n, D]
    a = network.c.expand(n, 1, -1)
    found = []
    for pixel in perms.unbind(1):
        a, x = network.advance_sample(a, pixel)
        found.append(x)
    x = torch.empty(perms.shape, device=device).scatter_(1, perms, torch.stack(found, 1))
    return x.reshape(n, *config.shape)


def pieces(network: OrderlessNADE) -> list[tuple[nn.Module, str]]:
    """Methods to compile."""
    return [(network, "advance_density"), (network, "advance_sample")]
