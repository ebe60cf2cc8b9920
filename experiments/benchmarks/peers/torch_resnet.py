"""Residual encoder and decoder, as `genjax.families.vae.resnet`, without labels.

Inputs and outputs of dense layers are in the order h, w, C, as in channels_last maps.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import MLP, Leaves, conv_leaves, prefixed
from genjax.nn.sizes import sides_of


class ResidualBlock(nn.Module):
    """`[B, inputs, H, W] -> [B, channels, H', W']`: same size, halved, or doubled and cropped."""

    def __init__(
        self, inputs: int, channels: int, halve: bool = False, size: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        stride = 2 if halve else 1
        self.size = size
        self.conv_0 = nn.Conv2d(inputs, channels, 3, stride, padding=1)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        other = halve or inputs != channels
        self.shortcut = nn.Conv2d(inputs, channels, 1, stride) if other else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.size is not None:
            x = F.interpolate(x, scale_factor=2)[:, :, : self.size[0], : self.size[1]]
        h = self.conv_1(F.elu(self.conv_0(F.elu(x))))
        return h + (x if self.shortcut is None else self.shortcut(x))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(**{name: conv_leaves(layer) for name, layer in self.named_children()})


class Levels(nn.ModuleDict):
    """Blocks in order, by Flax's names."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies the blocks."""
        for block in self.values():
            x = block(x)
        return x

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        blocks: Any = self.items()
        return prefixed(**{name: block.leaves() for name, block in blocks})


class ResNetEncoder(nn.Module):
    """`[B, H W C] -> [B, out]`, in the order of NHWC."""

    def __init__(self, c: Any, out: int) -> None:
        super().__init__()
        self.shape, wide = c.shape, c.channels
        self.first = nn.Conv2d(c.shape[2], wide[0], 3, padding=1)
        self.levels = Levels()
        for level, channels in enumerate(wide):
            for i in range(c.blocks):
                halve = level > 0 and i == 0
                inputs = wide[level - 1] if halve else channels
                self.levels[f"level_{level}_{i}"] = ResidualBlock(inputs, channels, halve)
        height, width = _smallest(c)
        self.dense = MLP(height * width * wide[-1], c.hidden, out, "elu")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = self.levels(self.first(x.unflatten(1, self.shape).permute(0, 3, 1, 2)))
        return self.dense(F.elu(h).permute(0, 2, 3, 1).flatten(1))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return self.levels.leaves() | prefixed(
            first=conv_leaves(self.first), dense=self.dense.leaves()
        )


class ResNetDecoder(nn.Module):
    """`[B, Z] -> [B, H W C]`, in the order of NHWC."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        wide, many = c.channels, len(c.channels)
        sides = list(zip(*(sides_of(side, many) for side in c.shape[:2]), strict=True))
        self.smallest = _smallest(c)
        units = self.smallest[0] * self.smallest[1] * wide[-1]
        self.dense = MLP(c.latent, c.hidden[::-1], units, "elu")
        self.levels = Levels()
        for level in reversed(range(many)):
            for i in range(c.blocks):
                grow = level < many - 1 and i == 0
                inputs = wide[level + 1] if grow else wide[level]
                size = sides[level] if grow else None
                block = ResidualBlock(inputs, wide[level], size=size)
                self.levels[f"level_{level}_{i}"] = block
        self.last = nn.Conv2d(wide[0], c.shape[2], 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        h = self.dense(z).unflatten(1, (*self.smallest, -1)).permute(0, 3, 1, 2)
        return self.last(F.elu(self.levels(h))).permute(0, 2, 3, 1).flatten(1)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return self.levels.leaves() | prefixed(
            last=conv_leaves(self.last), dense=self.dense.leaves()
        )


def _smallest(c: Any) -> tuple[int, int]:
    height, width = (sides_of(side, len(c.channels))[-1] for side in c.shape[:2])
    return height, width
