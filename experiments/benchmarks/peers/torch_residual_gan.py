"""Networks of WGAN-GP, SNGAN and R3GAN, as `genjax.families.dcgan.residual` and `.r3gan`.

Maps are NCHW; units of dense layers that are a map are in the order h, w, C.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    dense_leaves,
    prefixed,
    same,
)
from experiments.benchmarks.peers.torch_strided import BatchNorm
from genjax.families.dcgan import discriminator_widths, generator_widths
from genjax.families.dcgan.r3gan import BLOCKS, EXPANSION, SLOPE
from genjax.nn.sizes import sides_of


class Spectral(nn.Module):
    """Divides the weights of a layer by their largest singular value, by one power iteration."""

    u: Tensor
    sigma: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("u", F.normalize(torch.randn(1, features)))
        self.register_buffer("sigma", torch.ones(()))

    def forward(self, weight: Tensor, update: bool) -> Tensor:
        """`[O, ...]` -> the same shape."""
        matrix = weight.flatten(1)  # [O, K]
        with torch.no_grad():
            v = F.normalize(self.u @ matrix, eps=1e-12)
            u = F.normalize(v @ matrix.t(), eps=1e-12)
        sigma = (v @ matrix.t() @ u.t())[0, 0]
        if update:
            with torch.no_grad():
                self.u.copy_(u)
                self.sigma.copy_(sigma)
        return weight / sigma


class Layer(nn.Module):
    """A dense layer or convolution, spectrally normalised or not."""

    def __init__(self, layer: Any, spectral: bool) -> None:
        super().__init__()
        self.layer = layer
        self.spectral = Spectral(len(layer.weight)) if spectral else None
        self.update = False

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; `update` keeps the power iteration."""
        if self.spectral is None:
            return self.layer(x)
        weights = {"weight": self.spectral(self.layer.weight, self.update)}
        return torch.func.functional_call(self.layer, weights, (x,))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return (dense_leaves if isinstance(self.layer, nn.Linear) else conv_leaves)(self.layer)


def statistics_of(layers: dict[str, Layer]) -> Leaves:
    """Leaves of Flax's `batch_stats` of layers in the order in which Flax numbers them."""
    found: Leaves = {}
    for i, (name, layer) in enumerate(layers.items()):
        if layer.spectral is not None:
            path = f"SpectralNorm_{i}/{name}/kernel"
            found |= {f"{path}/u": (layer.spectral.u, same)}
            found |= {f"{path}/sigma": (layer.spectral.sigma, same)}
    return found


def numbered(kind: str, layers: Any) -> dict[str, Any]:
    """Returns layers under Flax's numbered names."""
    return {f"{kind}_{i}": layer for i, layer in enumerate(layers)}


def double(x: Tensor, h: int, w: int) -> Tensor:
    """Repeats every pixel twice in each direction, and crops to h x w."""
    return F.interpolate(x, scale_factor=2)[:, :, :h, :w]


def halve(x: Tensor) -> Tensor:
    """Averages 2x2 pixels, fewer at an odd edge."""
    return F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)


class ResidualGenerator(nn.Module):
    """`[B, Z] -> [B, C, H, W]` in (-1, 1)."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = generator_widths(c)
        heights, columns = (sides_of(s, len(widths) + 1)[::-1] for s in c.shape[:2])
        self.sides = list(zip(heights, columns, strict=True))
        self.dense = nn.Linear(c.latent + c.classes, heights[0] * columns[0] * widths[0])
        convs, norms, inputs = [], [], widths[0]
        for width in widths:
            norms += [BatchNorm(inputs), BatchNorm(width)]
            convs += [nn.Conv2d(inputs, width, 3, padding=1, bias=False)]
            convs += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(inputs, width, 1)]
            inputs = width
        norms.append(BatchNorm(inputs))
        convs.append(nn.Conv2d(inputs, c.shape[2], 3, padding=1))
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)

    def forward(self, z: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `BatchNorm`."""
        norms: Any = iter(self.norms)
        x = self.dense(z).unflatten(1, (*self.sides[0], -1)).permute(0, 3, 1, 2)
        for i, (h, w) in enumerate(self.sides[1:]):
            first, second, shortcut = self.convs[3 * i : 3 * i + 3]
            y = first(double(F.relu(next(norms)(x, train, update)), h, w))
            y = second(F.relu(next(norms)(y, train, update)))
            x = shortcut(double(x, h, w)) + y
        return torch.tanh(self.convs[-1](F.relu(next(norms)(x, train, update))))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts = {f"Conv_{i}": conv_leaves(conv) for i, conv in enumerate(self.convs)}
        parts |= {k: norm.leaves() for k, norm in numbered("BatchNorm", self.norms).items()}
        return prefixed(ResidualUp_0=prefixed(**parts, Dense_0=dense_leaves(self.dense)))

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        norms = numbered("BatchNorm", self.norms).items()
        return prefixed(ResidualUp_0=prefixed(**{k: norm.statistics() for k, norm in norms}))


class Discriminator(nn.Module):
    """`[B, C, H, W], one-hot [B, K] or None -> logits [B]`; subclasses have `features`."""

    head: Layer
    embed: Layer | None

    def finish(self, c: Any, features: int, bias: bool, spectral: bool) -> None:
        """Adds the last layers."""
        self.head = Layer(nn.Linear(features, 1, bias=bias), spectral)
        embed = nn.Linear(c.classes, features, bias=False) if c.classes else None
        self.embed = Layer(embed, spectral) if embed else None

    def features(self, x: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, F]`."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, condition: Tensor | None = None, train: bool = False, update: bool = False
    ) -> Tensor:
        """`train` has no effect; `update` keeps the power iterations."""
        for module in self.modules():
            if isinstance(module, Layer):
                module.update = update
        out = self.features(x)
        logits = self.head(out)[:, 0]
        if self.embed is not None:
            logits = logits + (self.embed(condition) * out).sum(1)
        return logits

    def last(self) -> dict[str, Layer]:
        """Returns the last layers by Flax's names."""
        return {"Dense_0": self.head} | ({} if self.embed is None else {"embed": self.embed})


class ResidualDiscriminator(Discriminator):
    """See `genjax.families.dcgan.residual.ResidualDown`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths, spectral = discriminator_widths(c), c.discriminator_norm == "spectral"
        self.sum = spectral  # SNGAN sums over pixels, WGAN-GP averages
        self.down = [i < len(widths) - 2 for i in range(len(widths))]
        convs: list[nn.Conv2d] = []
        self.blocks, inputs = [], c.shape[2]
        for i, width in enumerate(widths):
            shortcut = i == 0 or self.down[i] or inputs != width
            self.blocks.append(range(len(convs), len(convs) + 2 + shortcut))
            sides = [(inputs, width, 3), (width, width, 3), (inputs, width, 1)]
            convs += [nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in sides[: 2 + shortcut]]
            inputs = width
        self.convs = nn.ModuleList(Layer(conv, spectral) for conv in convs)
        self.finish(c, inputs, bias=True, spectral=spectral)

    def features(self, x: Tensor) -> Tensor:
        """See the base class."""
        for i, (block, down) in enumerate(zip(self.blocks, self.down, strict=True)):
            first, second, *shortcut = (self.convs[k] for k in block)
            y = second(F.relu(first(F.relu(x) if i else x)))
            y = halve(y) if down else y
            if i == 0:
                x = shortcut[0](halve(x) if down else x)
            elif shortcut:
                x = shortcut[0](x)
                x = halve(x) if down else x
            x = x + y
        pooled = F.relu(x).float().flatten(2)
        return pooled.sum(2) if self.sum else pooled.mean(2)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        convs = {k: conv.leaves() for k, conv in numbered("Conv", self.convs).items()}
        last = {k: layer.leaves() for k, layer in self.last().items()}
        return prefixed(ResidualDown_0=prefixed(**convs), **last)

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        inside = statistics_of(numbered("Conv", self.convs))
        return prefixed(ResidualDown_0=inside) | statistics_of(self.last())


class Smooth(nn.Module):
    """Doubles or halves the side by linear interpolation."""

    taps: Tensor

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / (2 if up else 4)
        kernel = torch.outer(taps, taps).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("taps", kernel, persistent=False)
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]`; doubled maps have one row and column more at the end."""
        if self.up:
            return F.conv_transpose2d(x, self.taps, stride=2, groups=x.shape[1])
        return F.conv2d(x, self.taps, stride=2, padding=1, groups=x.shape[1])


class Block(nn.Module):
    """See `genjax.families.dcgan.r3gan.Block`."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        wide = EXPANSION * width
        groups = max(1, wide // group)
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(width, wide, 1),
                nn.Conv2d(wide, wide, 3, padding=1, groups=groups),
                nn.Conv2d(wide, width, 1, bias=False),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]`, same shape."""
        first, second, third = self.convs
        y = second(F.leaky_relu(first(x), SLOPE))
        return x + third(F.leaky_relu(y, SLOPE))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(**{f"Conv_{i}": conv_leaves(conv) for i, conv in enumerate(self.convs)})


class Stages(nn.Module):
    """Blocks with changes of scale and width between them, in Flax's order."""

    def __init__(self, widths: Any, group: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.blocks = nn.ModuleList(Block(w, group) for w in widths for _ in range(BLOCKS))
        pairs = list(itertools.pairwise(widths))
        self.smooth = nn.ModuleList(Smooth(b if up else a, up) for a, b in pairs)
        change = [nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in pairs]
        self.change = nn.ModuleList(change)

    def forward(self, x: Tensor, sides: Any = None) -> Tensor:
        """Crops doubled maps to `sides`."""
        for i, block in enumerate(self.blocks):
            stage = i // BLOCKS
            if stage and i % BLOCKS == 0:
                change, smooth = self.change[stage - 1], self.smooth[stage - 1]
                if self.up:
                    h, w = sides[stage]
                    x = smooth(change(x))[:, :, :h, :w]
                else:
                    x = change(smooth(x))
            x = block(x)
        return x

    def convolutions(self) -> list[Any]:
        """Returns the convolutions that change the width."""
        return [layer for layer in self.change if isinstance(layer, nn.Conv2d)]

    def leaves(self) -> Leaves:
        """Leaves of the blocks."""
        return prefixed(**{k: b.leaves() for k, b in numbered("Block", self.blocks).items()})


class R3ganGenerator(nn.Module):
    """`[B, Z] -> [B, C, H, W]`, linear."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = generator_widths(c)
        heights, columns = (sides_of(s, len(widths))[::-1] for s in c.shape[:2])
        self.sides = list(zip(heights, columns, strict=True))
        self.dense = nn.Linear(c.latent + c.classes, widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(heights[0], columns[0], widths[0]))
        self.stages = Stages(widths, c.group, up=True)
        self.out = nn.Conv2d(widths[-1], c.shape[2], 1, bias=False)

    def forward(self, z: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """Without normalisation, neither flag has an effect."""
        x = self.dense(z)[:, :, None, None] * self.basis.permute(2, 0, 1)
        return self.out(self.stages(x, self.sides))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        convs = numbered("Conv", [*self.stages.convolutions(), self.out])
        parts = {k: conv_leaves(conv) for k, conv in convs.items()}
        found = prefixed(**parts, Dense_0=dense_leaves(self.dense)) | self.stages.leaves()
        return prefixed(NormlessUp_0=found | {"basis": (self.basis, same)})

    def statistics(self) -> Leaves:
        """There are none."""
        return {}


class R3ganDiscriminator(Discriminator):
    """See `genjax.families.dcgan.r3gan.R3GanDown`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = discriminator_widths(c)
        heights, columns = (sides_of(s, len(widths)) for s in c.shape[:2])
        last, size = widths[-1], (heights[-1], columns[-1])
        self.first = nn.Conv2d(c.shape[2], widths[0], 1, bias=False)
        self.stages = Stages(widths, c.group, up=False)
        self.pool = nn.Conv2d(last, last, size, groups=last, bias=False)
        self.finish(c, last, bias=False, spectral=False)

    def features(self, x: Tensor) -> Tensor:
        """See the base class."""
        return self.pool(self.stages(self.first(x))).flatten(1)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        convs = numbered("Conv", [self.first, *self.stages.convolutions(), self.pool])
        parts = prefixed(**{k: conv_leaves(conv) for k, conv in convs.items()})
        last = {k: layer.leaves() for k, layer in self.last().items()}
        return prefixed(NormlessDown_0=parts | self.stages.leaves(), **last)

    def statistics(self) -> Leaves:
        """There are none."""
        return {}
