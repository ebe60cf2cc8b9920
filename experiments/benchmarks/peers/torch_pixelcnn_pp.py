"""PixelCNN++ with PyTorch's own weight norm; sampling runs the whole network per pixel.

See `genjax.families.pixelcnn_pp.streams` and `genjax.losses.logistic_mixture`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    device_of,
    hwio,
    prefixed,
    require,
    same,
    scaled,
    with_weights,
)
from experiments.benchmarks.peers.torch_logistic import draw, mixture_nats, mixture_of


class Conv(nn.Module):
    """A weight-normalised convolution over pixels above and on the left, `[B, I, H, W] -> O`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int] = (1, 1),
        left: int = 0,
        stride: int = 1,
    ) -> None:
        super().__init__()
        # Left, right, top, bottom.
        self.margin = (left, size[1] - 1 - left, size[0] - 1, 0)
        self.conv = weight_norm(nn.Conv2d(inputs, outputs, size, stride), dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Pads one side, which shifts the map as the authors do."""
        return self.conv(F.pad(x, self.margin))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return norm_leaves(self.conv, hwio)


class Grow(nn.Module):
    """Its transpose, twice as large."""

    def __init__(self, features: int, width: int, left: int) -> None:
        super().__init__()
        size, cut = (2, width), (0, left)
        up = nn.ConvTranspose2d(features, features, size, 2, padding=cut, output_padding=cut)
        self.conv = weight_norm(up, dim=1)

    def forward(self, x: Tensor, sides: tuple[int, int]) -> Tensor:
        """Crops sides that were odd before downsampling."""
        return self.conv(x)[:, :, : sides[0], : sides[1]]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`; torch flips the kernel, Flax does not."""
        return norm_leaves(self.conv, lambda t: t.permute(2, 3, 0, 1).flip(0, 1))


def norm_leaves(conv: Any, layout: Any) -> Leaves:
    """Leaves of a `WeightNorm`."""
    weight = conv.parametrizations.weight
    g: Leaves = {"g": (weight.original0, lambda t: t.flatten())}
    return g | {"v": (weight.original1, layout), "bias": (conv.bias, same)}


def down(inputs: int, outputs: int, stride: int = 1) -> Conv:
    """2x3 convolution of stream u."""
    return Conv(inputs, outputs, (2, 3), 1, stride)


def down_right(inputs: int, outputs: int, stride: int = 1) -> Conv:
    """2x2 convolution of stream ul."""
    return Conv(inputs, outputs, (2, 2), 1, stride)


def concat_elu(x: Tensor) -> Tensor:
    """`[B, F, ...] -> [B, 2 F, ...]`."""
    return F.elu(torch.cat([x, -x], 1))


class Block(nn.Module):
    """x + a sigmoid(b); `extra` is the number of additional input features."""

    def __init__(self, features: int, right: bool, extra: int, dropout: float) -> None:
        super().__init__()
        conv, self.dropout = down_right if right else down, dropout
        self.first = conv(2 * features, features)
        self.extra = Conv(2 * extra, features) if extra else None
        self.last = conv(2 * features, 2 * features)

    def forward(self, x: Tensor, extra: Tensor | None, train: bool) -> Tensor:
        """Maps of one size."""
        y = self.first(concat_elu(x))
        if self.extra is not None and extra is not None:
            y = y + self.extra(concat_elu(extra))
        y = F.dropout(concat_elu(y), self.dropout, train)
        return x + F.glu(self.last(y), 1)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts = [p for p in (self.first, self.extra, self.last) if p is not None]
        return prefixed(**{f"WeightNorm_{i}": p.leaves() for i, p in enumerate(parts)})


class PixelCNNPP(nn.Module):
    """`x [B, H, W, C]` levels -> `[B, H, W, outputs]`, parameters of the mixtures."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        f, channels, self.levels = c.features, c.shape[2], c.levels
        pairs = channels * (channels - 1) // 2
        depth, self.halvings = c.halvings + 1, c.halvings

        def blocks(right: bool, extra: int, upward: bool = False) -> Any:
            counts = [c.blocks + (upward and k < c.halvings) for k in range(depth)]
            make = lambda: Block(f, right, extra, c.dropout)  # noqa: E731
            return nn.ModuleList(nn.ModuleList(make() for _ in range(n)) for n in counts)

        self.first_u = down(channels + 1, f)
        self.first_above = Conv(channels + 1, f, (1, 3), 1)
        self.first_left = Conv(channels + 1, f, (2, 1))
        self.down_u, self.down_ul = blocks(False, 0), blocks(True, f)
        self.up_u, self.up_ul = blocks(False, f, True), blocks(True, 2 * f, True)
        each = range(c.halvings)
        self.shrink_u = nn.ModuleList(down(f, f, 2) for _ in each)
        self.shrink_ul = nn.ModuleList(down_right(f, f, 2) for _ in each)
        self.grow_u = nn.ModuleList(Grow(f, 3, 1) for _ in each)
        self.grow_ul = nn.ModuleList(Grow(f, 2, 0) for _ in each)
        self.last = Conv(f, c.components * (1 + 2 * channels + pairs))

    def forward(self, x: Tensor, train: bool = False) -> Tensor:
        """Both streams, down and up."""
        x = scaled(x, self.levels)
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        u = shift_down(self.first_u(x))
        ul = shift_down(self.first_above(x)) + F.pad(self.first_left(x), (1, 0))[:, :, :, :-1]
        us, uls = [u], [ul]
        for k in range(self.halvings + 1):
            for of_u, of_ul in zip(self.down_u[k], self.down_ul[k], strict=True):
                us.append(of_u(us[-1], None, train))
                uls.append(of_ul(uls[-1], us[-1], train))
            if k < self.halvings:
                us.append(self.shrink_u[k](us[-1]))
                uls.append(self.shrink_ul[k](uls[-1]))
        u, ul = us.pop(), uls.pop()
        for k in reversed(range(self.halvings + 1)):
            for of_u, of_ul in zip(self.up_u[k], self.up_ul[k], strict=True):
                u = of_u(u, us.pop(), train)
                ul = of_ul(ul, torch.cat([u, uls.pop()], 1), train)
            if k:
                sides = tuple(us[-1].shape[2:])
                u, ul = self.grow_u[k - 1](u, sides), self.grow_ul[k - 1](ul, sides)
        return self.last(F.elu(ul)).permute(0, 2, 3, 1).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts: dict[str, Any] = {}
        for name in ("first_u", "first_above", "first_left", "last"):
            parts[name] = getattr(self, name)
        for name in ("shrink_u", "shrink_ul", "grow_u", "grow_ul"):
            parts |= {f"{name}_{k}": layer for k, layer in enumerate(getattr(self, name))}
        for name in ("down_u", "down_ul", "up_u", "up_ul"):
            for k, found in enumerate(getattr(self, name)):
                parts |= {f"{name}_{k}_{i}": block for i, block in enumerate(found)}
        return prefixed(**{name: part.leaves() for name, part in parts.items()})


def shift_down(x: Tensor) -> Tensor:
    """Shifts rows down by one; the first is 0."""
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


def build(config: Any, variables: Any = None) -> PixelCNNPP:
    """Builds the network, with Flax's weights if they are given."""
    require("pixelcnn_pp", config, classes=0)
    return with_weights(PixelCNNPP(config), variables)


def loss(network: PixelCNNPP, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats; with dropout if the Config has it."""
    x = batch["x"]
    return mixture_nats(x, *mixture_of(config, network(x, train=True)), config.levels)


def evaluate(network: PixelCNNPP, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    x = batch["x"]
    return -mixture_nats(x, *mixture_of(config, network(x)), config.levels)


@torch.inference_mode()
def sample(network: PixelCNNPP, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    rows, columns, _ = config.shape
    x = torch.zeros(n, *config.shape, device=device_of(network))
    for r in range(rows):
        for c in range(columns):
            x[:, r, c] = draw(*mixture_of(config, network(x)[:, r, c]), config.levels)
    return x
