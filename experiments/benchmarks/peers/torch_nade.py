"""NADE as a loop over pixels, as users write it, and by blocks of prefix sums.

`form="loop"` keeps the pre-activation, `[B, H]`, and adds a row of W per pixel. `form="blocks"`
takes about sqrt(D) pixels at a time: a product with a triangular matrix gives their prefix sums,
and autograd stores 4 B D H bytes per array (0.8 GB at batch 512, 784-500). Step and evaluation are
timed in both forms, and the faster one counts. Samples use the loop.
See `genjax.families.nade`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    ACTIVATIONS,
    Leaves,
    bernoulli_nll,
    device_of,
    same,
    with_weights,
)
from genjax.families import nade

FORMS = ("blocks", "loop")


class NADE(nn.Module):
    """`x [B, D]` in order -> logits `[B, D]` in order."""

    order: Tensor
    back: Tensor
    before: Tensor

    def __init__(self, config: Any, form: str = "blocks") -> None:
        super().__init__()
        dims, hidden = math.prod(config.shape), config.hidden
        self.form, self.dims = form, dims
        # A compiler would unroll all pixels, so only the body of the loop is compiled.
        self.loops = ("step", "evaluate") if form == "loop" else ()
        self.act = ACTIVATIONS[config.activation]
        self.block = nade.block_length(dims)
        order = torch.from_numpy(nade.order(config).copy())
        self.raster = config.order == "raster"
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)
        before = torch.ones(self.block, self.block).tril(-1)  # step i sees j < i
        self.register_buffer("before", before, persistent=False)
        self.W = nn.Parameter(torch.randn(dims, hidden) / math.sqrt(dims))
        self.c = nn.Parameter(torch.zeros(hidden))
        self.V = nn.Parameter(torch.randn(dims, hidden) / math.sqrt(hidden))
        self.b = nn.Parameter(torch.zeros(dims))

    def ordered(self, x: Tensor) -> Tensor:
        """`[B, *shape] -> [B, D]` in order."""
        x = x.flatten(1)
        return x if self.raster else x[:, self.order]

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """W, V and b in order."""
        if self.raster:
            return self.W, self.V, self.b
        return self.W[self.order], self.V[self.order], self.b[self.order]

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep [B, H]` is a dropout mask or None."""
        return (self.by_loop if self.form == "loop" else self.by_blocks)(x, keep)

    def by_loop(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Pixel by pixel."""
        W, V, b = self.rows()
        a, logits = self.c.expand(len(x), -1), []
        for x_d, W_d, V_d in zip(x.unbind(1), W.unbind(), V.unbind(), strict=True):
            a, logit = self.conditional(a, x_d, W_d, V_d, keep)
            logits.append(logit)
        return torch.stack(logits, 1) + b

    def conditional(
        self, a: Tensor, x: Tensor, W_d: Tensor, V_d: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pre-activation of the next pixel, and logits of this one, `[B]`."""
        h = self.act(a)
        logits = (h if keep is None else h * keep) @ V_d
        return torch.addcmul(a, x[:, None], W_d), logits

    def by_blocks(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Block by block."""
        W, V, b = self.rows()
        a, logits = self.c.expand(len(x), -1), []
        parts = (t.split(self.block, axis) for t, axis in ((x, 1), (W, 0), (V, 0)))
        for x_k, W_k, V_k in zip(*parts, strict=True):
            k = x_k.shape[1]
            prefix = (x_k[:, None] * self.before[:k, :k]) @ W_k  # [B, k, H]
            h = self.act(a[:, None] + prefix)
            h = h if keep is None else h * keep[:, None]
            logits.append((h * V_k).sum(-1))
            a = a + x_k @ W_k
        return torch.cat(logits, 1) + b

    def advance(self, a: Tensor, W_d: Tensor, V_d: Tensor, b_d: Tensor) -> tuple[Tensor, Tensor]:
        """Draws a pixel, `[B]`, and adds its row of W."""
        x = torch.bernoulli(torch.sigmoid(self.act(a) @ V_d + b_d))
        return torch.addcmul(a, x[:, None], W_d), x

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {name: (getattr(self, name), same) for name in ("W", "c", "V", "b")}


def build(config: Any, variables: Any = None, form: str = "blocks") -> NADE:
    """Builds the network, with Flax's weights if they are given."""
    return with_weights(NADE(config, form), variables)


def loss(network: NADE, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats; with dropout if the Config has it."""
    x = network.ordered(batch["x"])
    keep = None
    if config.dropout:
        keep = F.dropout(torch.ones(len(x), config.hidden, device=x.device), config.dropout)
    return bernoulli_nll(network(x, keep), x)


def evaluate(network: NADE, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    x = network.ordered(batch["x"])
    return -bernoulli_nll(network(x), x)


@torch.inference_mode()
def sample(network: NADE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    W, V, b = (t.unbind() for t in network.rows())
    a = network.c.expand(n, -1)
    out = torch.empty(n, network.dims, device=device_of(network))
    for d in range(network.dims):
        a, out[:, d] = network.advance(a, W[d], V[d], b[d])
    return out[:, network.back].reshape(n, *config.shape)


def pieces(network: NADE) -> list[tuple[nn.Module, str]]:
    """Functions that are compiled."""
    return [(network, "advance"), (network, "conditional")]
