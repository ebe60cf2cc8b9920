"""Progressive GAN at one side, stable or in a fade, with a critic of WGAN-GP and drift.

As `genjax.families.progressive` with its default networks, and `genjax.families.puzzle_gan`.
Upsampling and pooling are separate from the convolutions, and weights are multiplied by He's
constant in every call. Maps are NCHW.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_cyclegan import to_maps
from experiments.benchmarks.peers.torch_gan_losses import (
    GanNetworks,
    discriminator_objective,
    generator_objective,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    dense_leaves,
    device_of,
    prefixed,
    require,
    same,
    with_weights,
)
from genjax.families.progressive import side as side_of
from genjax.families.progressive.growing_networks import FIRST_GAIN, SLOPE
from genjax.families.progressive.settings import blocks, width

EPSILON = 1e-8
FADE = 0.5  # weight of the new side in a timed fade


class EqualizedConv(nn.Conv2d):
    """A convolution that multiplies weights of N(0, 1) by He's constant."""

    def __init__(self, inputs: int, outputs: int, side: int, gain: float = 2**0.5) -> None:
        super().__init__(inputs, outputs, side, padding=side // 2)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.scale = gain / math.sqrt(inputs * side**2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, I, H, W] -> [B, O, H, W]`."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualizedLinear(nn.Linear):
    """A dense layer that multiplies weights of N(0, 1) by He's constant."""

    def __init__(self, inputs: int, outputs: int, gain: float = 2**0.5) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.scale = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, I] -> [B, O]`."""
        return F.linear(x, self.weight * self.scale, self.bias)


class RectangleLinear(nn.Linear):
    """A dense layer of one part to a rectangle of the first maps, `[B, Z_k] -> [B, C, h, w]`."""

    def __init__(self, inputs: int, channels: int, rows: int, columns: int) -> None:
        super().__init__(inputs, channels * rows * columns, bias=False)
        nn.init.normal_(self.weight)
        self.scale, self.sides = FIRST_GAIN / math.sqrt(inputs), (rows, columns)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        return F.linear(z, self.weight * self.scale).unflatten(1, (-1, *self.sides))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        area = math.prod(self.sides)
        return {"kernel": (self.weight, lambda t: channels_last(t, area).t())}


class FirstMaps(nn.Module):
    """The generator's first layer, `[B, Z] -> [B, C, smallest, smallest]`.

    Every part of the noise has its rectangles; there is one bias per channel.
    """

    def __init__(self, c: Any, channels: int) -> None:
        super().__init__()
        self.side, self.parts, self.part_norm = c.smallest, c.layout(), c.part_norm
        self.denses = nn.ModuleDict(
            {
                f"dense_{part.name}_{i}": RectangleLinear(part.latent, channels, *rectangle[2:])
                for part in self.parts
                for i, rectangle in enumerate(part.rectangles)
            }
        )
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor) -> Tensor:
        """Normalises the noise, of all parts together or of each by itself, and applies it."""
        z = z if self.part_norm else pixel_norm(z)
        x = z.new_empty(len(z), len(self.bias), self.side, self.side)
        inputs = z.split([part.latent for part in self.parts], 1)
        for part, own in zip(self.parts, inputs, strict=True):
            own = pixel_norm(own) if self.part_norm else own
            for i, (top, left, rows, columns) in enumerate(part.rectangles):
                values = self.denses[f"dense_{part.name}_{i}"](own)
                x[:, :, top : top + rows, left : left + columns] = values
        return x + self.bias.view(1, -1, 1, 1)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        layers: Any = self.denses.items()
        found = {"dense" if len(layers) == 1 else name: own.leaves() for name, own in layers}
        return prefixed(**found) | {"bias": (self.bias, same)}


def channels_last(t: Tensor, area: int) -> Tensor:
    """Reorders units of maps of so many pixels, `[C h w, ...] -> [h w C, ...]`."""
    return t.unflatten(0, (-1, area)).transpose(0, 1).flatten(0, 1)


def pixel_norm(x: Tensor) -> Tensor:
    """Divides `[B, C, ...]` by the root mean square of its channels."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


def double(x: Tensor) -> Tensor:
    """Repeats every pixel twice in each direction."""
    return F.interpolate(x, scale_factor=2)


def halve(x: Tensor) -> Tensor:
    """Averages 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def active(x: Tensor) -> Tensor:
    """LeakyReLU."""
    return F.leaky_relu(x, SLOPE)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Adds a channel, the mean standard deviation of each group: `[B, C, ...] -> [B, C + 1, ...]`.

    A group has every n-th image.
    """
    y = x.float().unflatten(0, (min(group, len(x)), -1))  # [G, B / G, C, H, W]
    std = (y.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3))  # [B / G]
    std = std.repeat(len(y)).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, std], 1)


def rgb(c: Any, last: int, layer: Any) -> nn.ModuleDict:
    """Returns the layers from or to images of the sides of the stages so far."""
    return nn.ModuleDict({str(side): layer(side) for side in blocks(c, last) if side >= c.start})


class Generator(nn.Module):
    """`[B, Z] -> [B, C, H, W]`."""

    def __init__(self, c: Any, last: int) -> None:
        super().__init__()
        self.sides, first = blocks(c, last), width(c, c.smallest)
        self.first = FirstMaps(c, first)
        self.conv = EqualizedConv(first, first, 3)
        self.ups, self.convs = nn.ModuleDict(), nn.ModuleDict()
        for side in self.sides[1:]:
            self.ups[str(side)] = EqualizedConv(width(c, side // 2), width(c, side), 3)
            self.convs[str(side)] = EqualizedConv(width(c, side), width(c, side), 3)
        self.rgb = rgb(c, last, lambda side: EqualizedConv(width(c, side), c.shape[-1], 1, 1.0))

    def forward(self, z: Tensor, alpha: float) -> Tensor:
        """Images of the last side; with `alpha` below 1 blended with those of half the side."""
        x = pixel_norm(active(self.first(z)))
        x = before = pixel_norm(active(self.conv(x)))
        for side in self.sides[1:]:
            before = x
            x = pixel_norm(active(self.ups[str(side)](double(x))))
            x = pixel_norm(active(self.convs[str(side)](x)))
        image, last = self.rgb[str(self.sides[-1])](x), self.sides[-1]
        if alpha == 1:
            return image
        return torch.lerp(double(self.rgb[str(last // 2)](before)), image, alpha)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        first = self.first.leaves() | prefixed(conv=conv_leaves(self.conv))
        found = {f"{self.sides[0]}x{self.sides[0]}": first}
        for side in self.sides[1:]:
            layers = {"up": self.ups[str(side)], "conv": self.convs[str(side)]}
            found[f"{side}x{side}"] = convs_leaves(layers)
        return prefixed(**found) | rgb_leaves(self.rgb)


class Discriminator(nn.Module):
    """`[B, C, H, W] -> logits [B]`."""

    def __init__(self, c: Any, last: int) -> None:
        super().__init__()
        self.sides, self.group = blocks(c, last), c.group
        self.convs, self.downs = nn.ModuleDict(), nn.ModuleDict()
        for side in self.sides[1:]:
            self.convs[str(side)] = EqualizedConv(width(c, side), width(c, side), 3)
            self.downs[str(side)] = EqualizedConv(width(c, side), width(c, side // 2), 3)
        first, hidden = width(c, c.smallest), width(c, c.smallest // 2)
        self.rgb = rgb(c, last, lambda side: EqualizedConv(c.shape[-1], width(c, side), 1))
        self.conv = EqualizedConv(first + 1, first, 3)
        self.dense = EqualizedLinear(c.smallest**2 * first, hidden)
        self.out = EqualizedLinear(hidden, 1, 1.0)

    def forward(self, images: Tensor, alpha: float) -> Tensor:
        """See `Generator.forward`."""
        last = self.sides[-1]
        x = active(self.rgb[str(last)](images))
        for side in reversed(self.sides[1:]):
            x = active(self.convs[str(side)](x))
            x = active(halve(self.downs[str(side)](x)))
            if side == last and alpha != 1:
                x = torch.lerp(active(self.rgb[str(side // 2)](halve(images))), x, alpha)
        x = active(self.conv(minibatch_stddev(x, self.group)))
        return self.out(active(self.dense(x.flatten(1))))[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        dense = {
            "kernel": (self.dense.weight, lambda t: channels_last(t.t(), self.sides[0] ** 2)),
            "bias": (self.dense.bias, same),
        }
        first = prefixed(conv=conv_leaves(self.conv), dense=dense)
        found = {f"{self.sides[0]}x{self.sides[0]}": first}
        for side in self.sides[1:]:
            layers = {"conv": self.convs[str(side)], "down": self.downs[str(side)]}
            found[f"{side}x{side}"] = convs_leaves(layers)
        return prefixed(**found, out=dense_leaves(self.out)) | rgb_leaves(self.rgb)


def convs_leaves(layers: Any) -> Leaves:
    """Leaves of named convolutions."""
    return prefixed(**{name: conv_leaves(layer) for name, layer in layers.items()})


def rgb_leaves(layers: nn.ModuleDict) -> Leaves:
    """Leaves of `rgb`."""
    return convs_leaves({f"rgb_{side}x{side}": layer for side, layer in layers.items()})


class Networks(GanNetworks):
    """Both networks, and the weight of the newest layers."""

    def __init__(self, c: Any, last: int, alpha: float) -> None:
        super().__init__(Generator(c, last), Discriminator(c, last))
        self.last, self.alpha = last, alpha

    def generate(self, z: Tensor) -> Tensor:
        """`[B, Z] -> [B, C, side, side]`."""
        return self.generator(z, self.alpha)

    def discriminate(self, x: Tensor, update: bool) -> Tensor:
        """`[B, C, side, side] -> logits [B]`."""
        del update
        return self.discriminator(x, self.alpha)

    def real(self, x: Tensor) -> Tensor:
        """Images of a batch at the networks' side, blended in a fade."""
        x = to_maps(x)
        x = F.avg_pool2d(x, len(x[0, 0]) // self.last) if len(x[0, 0]) > self.last else x
        return x if self.alpha == 1 else torch.lerp(double(halve(x)), x, self.alpha)


def build(config: Any, variables: Any = None) -> Networks:
    """Builds both networks, with Flax's weights if they are given.

    With variables the networks are those of their stage. Otherwise they have the final side: half
    into the fade, or without one if the run does not grow.

    Raises:
      ValueError: the peer does not support a setting.
    """
    require(config.FAMILY, config, architecture="growing", classes=0, latent_norm=True)
    require(config.FAMILY, config, equalized=True, generator_norm="pixel", output="linear")
    require(config.FAMILY, config, discriminator_norm="none", activation="leaky_relu")
    require(config.FAMILY, config, minibatch="stddev")
    require(config.FAMILY, config.objective, loss="wasserstein", penalty_target=1.0)
    require(config.FAMILY, config.objective, one_sided_penalty=False)
    last, alpha = config.shape[0], FADE if config.start < config.shape[0] else 1.0
    if variables is not None:
        last = side_of(variables)
        alpha = float(variables["buffers"]["fade"]["alpha"])
    return with_weights(Networks(config, last, alpha), variables)


def discriminator_loss(
    network: Networks, config: Any, batch: dict[str, Any], noise: Any = None
) -> Tensor:
    """The critic's loss with penalty and drift, `[B]`; `noise` is z and the penalty's mix."""
    real = network.real(batch["x"])
    z, mix = noise or (torch.randn(len(real), config.latent, device=real.device), None)
    with torch.no_grad():
        fake = network.generate(z)
    return discriminator_objective(config.objective, network.discriminate, real, fake, mix)


def generator_loss(
    network: Networks, config: Any, batch: dict[str, Any], noise: Any = None
) -> Tensor:
    """The generator's loss, `[B]`."""
    real = batch["x"]
    z = noise[0] if noise else torch.randn(len(real), config.latent, device=real.device)
    return generator_objective(config.objective, network.discriminate, real, network.generate(z))


def sample(network: Networks, config: Any, n: int) -> Tensor:
    """Images in [-1, 1], `[n, *shape]`."""
    x = network.generate(torch.randn(n, config.latent, device=device_of(network)))
    x = F.interpolate(x, scale_factor=config.shape[0] // network.last)
    return x.clamp(-1, 1).permute(0, 2, 3, 1)
