"""RNADE by cumulative sums over its few dimensions; samples dimension by dimension.

See `genjax.families.rnade`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    gaussian_nats,
    require,
    same,
    with_weights,
)
from genjax.families import rnade


class RNADE(nn.Module):
    """`x [B, D]` in order -> weights' logits, means and log scales, `[B, D, K]` each, in order."""

    order: Tensor
    back: Tensor

    def __init__(self, c: Any) -> None:
        super().__init__()
        dims = math.prod(c.shape)
        self.low = c.min_log_scale
        order = torch.from_numpy(rnade.order(c).copy())
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)
        self.W = nn.Parameter(torch.randn(dims, c.hidden) / math.sqrt(dims))
        self.c = nn.Parameter(torch.zeros(c.hidden))
        self.rho = nn.Parameter(torch.ones(dims))
        out = (dims, c.hidden, 3, c.components)
        self.V = nn.Parameter(0.1 * torch.randn(out) / math.sqrt(c.hidden))
        self.b = nn.Parameter(torch.zeros(dims, 3, c.components))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor, ...]:
        """`keep [B, H]` is a dropout mask or None."""
        terms = x[:, :-1, None] * self.W[self.order][:-1]  # [B, D - 1, H]
        a = F.pad(terms.cumsum(1), (0, 0, 1, 0)) + self.c
        h = F.relu(a * self.rho[self.order][:, None])  # [B, D, H]
        h = h if keep is None else h * keep[:, None]
        # One matrix product per dimension: [D, B, H] with [D, H, 3 K].
        out = h.transpose(0, 1) @ self.V[self.order].flatten(2)
        z = out.transpose(0, 1).unflatten(2, (3, -1)).float() + self.b[self.order]
        return self.split(z)

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """`[..., 3, K]` to logits, means and log scales."""
        logits, means, scales = z.unbind(-2)
        return logits, means, self.low + F.softplus(scales - self.low)

    def advance(
        self, a: Tensor, W_d: Tensor, V_d: Tensor, b_d: Tensor, rho_d: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draws a dimension, `[B]`, and adds its row of W."""
        h = F.relu(a * rho_d)
        z = (h @ V_d.flatten(1)).unflatten(1, (3, -1)).float() + b_d
        logits, means, log_scales = self.split(z)
        pick = torch.multinomial(F.softmax(logits, -1), 1)
        mean, log_scale = means.gather(1, pick)[:, 0], log_scales.gather(1, pick)[:, 0]
        x = mean + torch.exp(log_scale) * torch.randn_like(mean)
        return a + x[:, None] * W_d, x

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {name: (getattr(self, name), same) for name in ("W", "c", "rho", "V", "b")}


def build(config: Any, variables: Any = None) -> RNADE:
    """Builds the network, with Flax's weights if they are given."""
    require("rnade", config, kind="gaussian")
    return with_weights(RNADE(config), variables)


def mixture_nats(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """-log density of `x [B, D]`, summed over D."""
    each = F.log_softmax(logits, -1) - gaussian_nats(x[..., None], means, log_scales)
    return -torch.logsumexp(each, -1).sum(1)


def loss(network: RNADE, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats; with dropout if the Config has it."""
    x = batch["x"].flatten(1)[:, network.order]
    keep = None
    if config.dropout:
        keep = F.dropout(torch.ones(len(x), config.hidden, device=x.device), config.dropout)
    return mixture_nats(x, *network(x, keep))


def evaluate(network: RNADE, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    x = batch["x"].flatten(1)[:, network.order]
    return -mixture_nats(x, *network(x))


@torch.inference_mode()
def sample(network: RNADE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    a, found = network.c.expand(n, -1), []
    parts = (p[network.order].unbind() for p in (network.W, network.V, network.b, network.rho))
    for part in zip(*parts, strict=True):
        a, x = network.advance(a, *part)
        found.append(x)
    return torch.stack(found, 1)[:, network.back].reshape(n, *config.shape)


def pieces(network: RNADE) -> list[tuple[nn.Module, str]]:
    """Functions that are compiled."""
    return [(network, "advance")]
