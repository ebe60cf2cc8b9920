"""PixelCNN, gated and masked: sampling runs the whole network per value.

See `genjax.families.pixelcnn` and `genjax.families.pixelcnn.stacks`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    CausalConv,
    Leaves,
    conditional_nats,
    conv_leaves,
    device_of,
    draw_values,
    prefixed,
    require,
    scaled,
    sum_event,
    with_weights,
)
from genjax.nn.causal import channel_groups


class Head(nn.Module):
    """ReLU and 1x1, twice: maps `[B, F, H, W]` -> logits `[B, H, W, C]`, or `[B, H, W, C, L]`."""

    def __init__(self, channels: int, levels: int, hidden: int, inputs: Any) -> None:
        super().__init__()
        outputs = levels if levels > 2 else 1
        between = channel_groups(hidden, channels)
        self.first = CausalConv(inputs, between)
        self.last = CausalConv(between, [c for c in range(channels) for _ in range(outputs)])
        self.each = (channels,) if levels == 2 else (channels, levels)

    def forward(self, x: Tensor) -> Tensor:
        """Values of a pixel are adjacent."""
        out = self.last(F.relu(self.first(F.relu(x)))).permute(0, 2, 3, 1)
        return out.reshape(*out.shape[:3], *self.each)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(first=conv_leaves(self.first), last=conv_leaves(self.last))


def around(side: int) -> dict[str, int]:
    """Arguments of a kernel over the rows up to the pixel's own."""
    return {"height": side // 2 + 1, "width": side, "top": side // 2, "left": side // 2}


class Masked(nn.Module):
    """`x [B, H, W, C]` -> logits."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.levels, self.dropout, channels = c.levels, c.dropout, c.shape[2]
        wide, narrow = (
            channel_groups(2 * c.features, channels),
            channel_groups(c.features, channels),
        )
        self.first = CausalConv(range(channels), wide, kind="A", **around(c.first))
        each = range(c.layers)
        self.down = nn.ModuleList(CausalConv(wide, narrow) for _ in each)
        self.middle = nn.ModuleList(CausalConv(narrow, narrow, **around(c.kernel)) for _ in each)
        self.up = nn.ModuleList(CausalConv(narrow, wide) for _ in each)
        self.head = Head(channels, c.levels, c.head, wide)

    def forward(self, x: Tensor, train: bool = False) -> Tensor:
        """All conditionals at once."""
        h = self.first(scaled(x, self.levels))
        for down, middle, up in zip(self.down, self.middle, self.up, strict=True):
            y = F.relu(middle(F.relu(down(F.relu(h)))))
            h = h + up(F.dropout(y, self.dropout, train))
        return self.head(h)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(first=conv_leaves(self.first), head=self.head.leaves()) | lists(
            down=self.down, middle=self.middle, up=self.up
        )


class Gated(nn.Module):
    """`x [B, H, W, C]` -> logits."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.levels, self.dropout, channels = c.levels, c.dropout, c.shape[2]
        own = channel_groups(c.features, channels).tolist()
        gates = [*own, *own]
        vertical, horizontal = [], []
        for i in range(c.layers + 1):
            side = c.kernel if i else c.first
            inputs = own if i else list(range(channels))
            above: dict[str, Any] = {"width": side, "left": side // 2, "kind": "all"}
            above |= {"height": side // 2 + (i > 0), "top": side // 2}
            vertical.append(CausalConv(inputs, gates, **above))
            along: dict[str, Any] = {"width": side // 2 + 1, "left": side // 2}
            horizontal.append(CausalConv(inputs, gates, kind="B" if i else "A", **along))
        self.vertical, self.horizontal = nn.ModuleList(vertical), nn.ModuleList(horizontal)
        self.across = nn.ModuleList(CausalConv(gates, gates, kind="all") for _ in vertical)
        self.out = nn.ModuleList(CausalConv(own, own) for _ in vertical)
        self.head = Head(channels, c.levels, c.head, own)

    def forward(self, x: Tensor, train: bool = False) -> Tensor:
        """All conditionals at once."""
        v = h = scaled(x, self.levels)
        layers = zip(self.vertical, self.horizontal, self.across, self.out, strict=True)
        for i, (vertical, horizontal, across, out) in enumerate(layers):
            a = vertical(v)
            y = gate(horizontal(h) + across(a))
            if i + 1 < len(self.vertical):
                v = gate(a)
            y = out(F.dropout(y, self.dropout, train))
            h = h + y if i else y
        return self.head(h)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(head=self.head.leaves()) | lists(
            vertical=self.vertical, horizontal=self.horizontal, across=self.across, out=self.out
        )


def gate(a: Tensor) -> Tensor:
    """`[B, 2 F, H, W] -> [B, F, H, W]`."""
    f, g = a.chunk(2, 1)
    return torch.tanh(f) * torch.sigmoid(g)


def lists(**layers: nn.ModuleList) -> Leaves:
    """Leaves of lists of convolutions, under Flax's numbered names."""
    each = {
        f"{name}_{i}": conv_leaves(c) for name, found in layers.items() for i, c in enumerate(found)
    }
    return prefixed(**each)


def build(config: Any, variables: Any = None) -> Masked | Gated:
    """Builds the network, with Flax's weights if they are given."""
    require("pixelcnn", config, classes=0)
    return with_weights((Gated if config.network == "gated" else Masked)(config), variables)


def loss(network: Any, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats; with dropout if the Config has it."""
    x = batch["x"]
    return sum_event(conditional_nats(network(x, train=True), x, config.levels))


def evaluate(network: Any, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    x = batch["x"]
    return -sum_event(conditional_nats(network(x), x, config.levels))


@torch.inference_mode()
def sample(network: Any, config: Any, n: int) -> Tensor:
    """`[n, *shape]`; used by PixelRNN too."""
    rows, columns, channels = config.shape
    x = torch.zeros(n, *config.shape, device=device_of(network))
    for r in range(rows):
        for c in range(columns):
            for k in range(channels):
                x[:, r, c, k] = draw_values(network(x)[:, r, c, k], config.levels)
    return x
