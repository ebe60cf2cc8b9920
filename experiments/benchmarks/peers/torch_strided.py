"""Strided convolutions of DCGAN and InfoGAN with batch norm, as `genjax.nn.strided`.

Maps are flipped in both directions: then SAME's uneven padding at stride 2 is that of torch's
`padding` and `output_padding`, and nothing is padded or cropped separately. Outputs of dense layers
are in the order h, w, C, as in channels_last maps.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Layout,
    Leaves,
    dense_leaves,
    hwio,
    layer_leaves,
    prefixed,
    same,
    transposed,
)
from genjax.nn.sizes import sides_of


def flipped(x: Tensor) -> Tensor:
    """Maps NHWC to flipped NCHW."""
    return x.flip(1, 2).permute(0, 3, 1, 2)


def unflipped(x: Tensor) -> Tensor:
    """Maps flipped NCHW to NHWC."""
    return x.permute(0, 2, 3, 1).flip(1, 2)


def down_leaves(layer: Any) -> Leaves:
    """Of a `Conv`."""
    return layer_leaves(layer, lambda t: hwio(t).flip(0, 1))


def up_leaves(layer: Any) -> Leaves:
    """Leaves of a `ConvTranspose`: torch flips the kernel, and so does the flipped map."""
    return layer_leaves(layer, lambda t: t.permute(2, 3, 0, 1))


def map_layout(sides: tuple[int, int]) -> Layout:
    """Layout of units that are a map of this size, `[h w C, ...]`."""
    return lambda t: t.unflatten(0, (*sides, -1)).flip(0, 1).flatten(0, 2)


class BatchNorm(nn.Module):
    """Batch norm of `[B, C]` or `[B, C, H, W]`.

    The running variance is an unbiased estimate, where Flax's is biased.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """Uses batch statistics if `train`, else running ones, which `update` updates."""
        use = update or not train
        mean, var = (self.running_mean, self.running_var) if use else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, train, momentum=0.1, eps=1e-5)

    def leaves(self, layout: Layout = same) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {"scale": (self.weight, layout), "bias": (self.bias, layout)}

    def statistics(self, layout: Layout = same) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return {"mean": (self.running_mean, layout), "var": (self.running_var, layout)}


class UpStack(nn.Module):
    """`[B, Z]` -> a flipped image `[B, C, H, W]`, linear at the end."""

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        widths: Sequence[int],
        dense: Sequence[int],
        kernel: int,
    ) -> None:
        super().__init__()
        heights, columns = (sides_of(s, len(widths) + 1)[::-1] for s in shape[:2])
        self.sides = list(zip(heights, columns, strict=True))
        units = [inputs, *dense, heights[0] * columns[0] * widths[0]]
        self.dense = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(units)
        )
        pad = kernel - 1 - kernel // 2  # SAME's padding
        maps, last = [*widths, shape[-1]], len(widths) - 1
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(
                a, b, kernel, 2, padding=pad, output_padding=kernel % 2, bias=i == last
            )
            for i, (a, b) in enumerate(itertools.pairwise(maps))
        )
        self.norms = nn.ModuleList(BatchNorm(n) for n in [*units[1:], *maps[1:-1]])

    def forward(self, z: Tensor, train: bool, update: bool) -> Tensor:
        """See `BatchNorm`."""
        norms = iter(self.norms)
        for layer in self.dense:
            z = F.relu(next(norms)(layer(z), train, update))
        x = z.unflatten(1, (*self.sides[0], -1)).permute(0, 3, 1, 2)
        for conv, (h, w) in zip(self.convs, self.sides[1:], strict=True):
            x = conv(x)[:, :, -h:, -w:]
            if conv is not self.convs[-1]:
                x = F.relu(next(norms)(x, train, update))
        return x

    def _named(self, statistics: bool) -> Leaves:
        found, first = {}, len(self.dense) - 1
        norms: Any = enumerate(self.norms)
        for i, norm in norms:
            layout = map_layout(self.sides[0]) if i == first else same
            norm_leaves = norm.statistics if statistics else norm.leaves
            found[f"BatchNorm_{i}"] = norm_leaves(layout)
        return prefixed(**found)

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return self._named(True)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Dense_{i}": dense_leaves(layer) for i, layer in enumerate(self.dense)}
        layout = map_layout(self.sides[0])
        found[f"Dense_{len(self.dense) - 1}"] = layer_leaves(
            self.dense[-1], lambda t: transposed(layout(t))
        )
        found |= {f"ConvTranspose_{i}": up_leaves(c) for i, c in enumerate(self.convs)}
        return prefixed(**found) | self._named(False)


class Generator(nn.Module):
    """`[B, Z] ->` flipped images `[B, C, H, W]`, with an activation on the outputs."""

    def __init__(self, stack: UpStack, output: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stack, self.output = stack, output

    def forward(self, z: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `BatchNorm`."""
        return self.output(self.stack(z, train, update))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(UpStack_0=self.stack.leaves())

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return prefixed(UpStack_0=self.stack.statistics())


class DownStack(nn.Module):
    """A flipped image `[B, C, H, W]` -> its last layer's features, `[B, F]`."""

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        dense: Sequence[int],
        kernel: int,
        slope: float,
    ) -> None:
        super().__init__()
        self.slope = slope
        sides = list(zip(*(sides_of(s, len(widths) + 1) for s in shape[:2]), strict=True))
        self.last = sides[-1]
        maps = [shape[-1], *widths]
        self.convs = nn.ModuleList(
            nn.Conv2d(
                maps[i], maps[i + 1], kernel, 2, padding=margins(sides[i], kernel), bias=i == 0
            )
            for i in range(len(widths))
        )
        self.features = self.last[0] * self.last[1] * widths[-1]
        units = [self.features, *dense]
        self.dense = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(units)
        )
        self.norms = nn.ModuleList(BatchNorm(n) for n in [*widths[1:], *dense])
        self.features = units[-1]

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """See `BatchNorm`."""
        norms = iter(self.norms)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = F.leaky_relu(next(norms)(x, train, update) if i else x, self.slope)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.dense:
            x = F.leaky_relu(next(norms)(layer(x), train, update), self.slope)
        return x

    def from_features(self, layer: Any) -> Leaves:
        """Leaves of a `Dense` on the features."""
        if len(self.dense) and layer is not self.dense[0]:
            return dense_leaves(layer)
        layout = map_layout(self.last)
        return layer_leaves(layer, lambda t: layout(t.t()))

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        norms: Any = enumerate(self.norms)
        return prefixed(**{f"BatchNorm_{i}": n.statistics() for i, n in norms})

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Conv_{i}": down_leaves(c) for i, c in enumerate(self.convs)}
        found |= {f"Dense_{i}": self.from_features(layer) for i, layer in enumerate(self.dense)}
        norms: Any = enumerate(self.norms)
        found |= {f"BatchNorm_{i}": n.leaves() for i, n in norms}
        return prefixed(**found)


def margins(sides: tuple[int, int], kernel: int) -> tuple[int, int]:
    """SAME's larger margin at stride 2, the first one of a flipped map."""
    each = [max(0, 2 * (-(-s // 2) - 1) + kernel - s) for s in sides]
    return -(-each[0] // 2), -(-each[1] // 2)
