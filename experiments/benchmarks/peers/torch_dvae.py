"""Discrete VAE: residual coders and a codebook of running averages, as `genjax.families.dvae`."""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    device_of,
    load,
    prefixed,
    require,
    same,
    transposed,
    with_weights,
)
from genjax.families.dvae import token_grid
from genjax.families.dvae.ema_codebook import EPSILON
from genjax.losses.logit_laplace import EPSILON as MARGIN


class Block(nn.Module):
    """Residual block, `[B, I, H, W] -> [B, O, H, W]`, of twice the sides with `up`.

    1x1 convolutions come before the upsampling, which gives the same maps.
    """

    def __init__(
        self, inputs: int, features: int, sides: tuple[int, ...], gain: float, up: bool = False
    ) -> None:
        super().__init__()
        self.gain, self.up = gain, up
        widths = [inputs, *(features // 4 for _ in sides[1:]), features]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, side, padding=side // 2)
            for (a, b), side in zip(itertools.pairwise(widths), sides, strict=True)
        )
        self.skip = nn.Conv2d(inputs, features, 1) if up or inputs != features else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = x
        for i, conv in enumerate(self.convs):
            y = F.relu(y)
            y = conv(F.interpolate(y, scale_factor=2) if self.up and i == 1 else y)
        x = x if self.skip is None else self.skip(x)
        return (F.interpolate(x, scale_factor=2) if self.up else x) + self.gain * y

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"conv_{i}": conv_leaves(conv) for i, conv in enumerate(self.convs)}
        return prefixed(**found, **({"skip": conv_leaves(self.skip)} if self.skip else {}))


def blocks_of(c: Any, inputs: int, widths: list[int], sides: tuple[int, ...]) -> nn.ModuleDict:
    """Returns the residual blocks of groups of these widths; 1x1 first means upsampling."""
    gain, found = 1 / (c.groups * c.blocks) ** 2, nn.ModuleDict()
    for group, width in enumerate(widths):
        for block in range(c.blocks):
            up = sides[0] == 1 and group > 0 and block == 0
            found[f"group_{group}_block_{block}"] = Block(inputs, width, sides, gain, up)
            inputs = width
    return found


class Encoder(nn.Module):
    """`[B, C, H, W]` in [0, 1] `-> [B, D, h, w]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = [c.hidden * 2**group for group in range(c.groups)]
        self.first = nn.Conv2d(c.shape[-1], c.hidden, 7, padding=3)
        self.blocks = blocks_of(c, c.hidden, widths, (3, 3, 3, 1))
        self.out = nn.Conv2d(widths[-1], c.code_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.first((1 - 2 * MARGIN) * x + MARGIN)
        for name, block in self.blocks.items():
            halved = name.endswith("block_0") and not name.startswith("group_0")
            x = block(F.max_pool2d(x, 2) if halved else x)
        return self.out(F.relu(x)).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        blocks: Any = self.blocks.items()
        found = {name: block.leaves() for name, block in blocks}
        found |= {"in": conv_leaves(self.first), "out": conv_leaves(self.out)}
        return prefixed(**found)


class Decoder(nn.Module):
    """`[B, D, h, w] -> [B, C, H, W]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = [c.hidden * 2**group for group in reversed(range(c.groups))]
        self.first = nn.Conv2d(c.code_width, c.width, 1)
        self.blocks = blocks_of(c, c.width, widths, (1, 3, 3, 3))
        self.out = nn.Conv2d(c.hidden, c.shape[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.first(x)
        for block in self.blocks.values():
            x = block(x)
        return self.out(F.relu(x)).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        blocks: Any = self.blocks.items()
        found = prefixed(**{name: block.leaves() for name, block in blocks})
        found["codebook"] = (self.first.weight, lambda t: transposed(t[:, :, 0, 0]))
        return found | {"bias": (self.first.bias, same)} | prefixed(out=conv_leaves(self.out))


class DiscreteVAE(nn.Module):
    """Encoder, decoder and codebook."""

    codes: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.encoder, self.decoder, self.grid = Encoder(c), Decoder(c), token_grid(c)
        codes = torch.randn(c.codes, c.code_width)
        for name, values in {"codes": codes, "sums": codes, "counts": torch.ones(c.codes)}.items():
            self.register_buffer(name, values.clone())

    def encode(self, images: Tensor) -> Tensor:
        """Images `[B, H, W, C]` to vectors before quantisation, `[B h w, D]`."""
        return self.encoder(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(0, 2)

    def nearest(self, z: Tensor) -> Tensor:
        """Vectors `[M, D]` to the numbers of their nearest codes, `[M]`."""
        return (self.codes.square().sum(1) - 2 * z @ self.codes.t()).argmin(1)

    def decode(self, code: Tensor) -> Tensor:
        """Vectors `[B h w, D]` to images `[B, H, W, C]`, not clipped."""
        maps = code.unflatten(0, (-1, *self.grid)).permute(0, 3, 1, 2)
        return self.decoder(maps).permute(0, 2, 3, 1)

    def tokens(self, images: Tensor) -> Tensor:
        """Images `[B, H, W, C]` to tokens `[B, h w]`."""
        return self.nearest(self.encode(images)).unflatten(0, (len(images), -1))

    def images(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, h w]` to images `[B, H, W, C]` in [0, 1]."""
        return self.decode(self.codes[tokens.flatten()]).clamp(0, 1)

    @torch.no_grad()
    def update(self, c: Any, z: Tensor, tokens: Tensor, noise: Tensor | None) -> None:
        """Moves the averages to a batch of vectors; codes that are rarely used are replaced."""
        number = torch.bincount(tokens, minlength=c.codes).to(z.dtype)
        total = torch.zeros_like(self.sums).index_add_(0, tokens, z)
        counts = self.counts.lerp(number, 1 - c.decay)
        sums = self.sums.lerp(total, 1 - c.decay)
        everything = counts.sum()
        smoothed = (counts + EPSILON) / (everything + c.codes * EPSILON) * everything
        codes = sums / smoothed[:, None]
        if c.restart:
            distance = (z - self.codes[tokens]).square().sum(1)
            if noise is None:
                noise = -torch.empty_like(distance).exponential_().log()
            chosen = (distance.log() + noise).topk(min(c.codes, len(z))).indices
            dead = counts < c.restart * min(1.0, len(z) / (2 * c.codes))
            fresh = z[chosen[(dead.cumsum(0) - 1) % len(chosen)]]
            codes = torch.where(dead[:, None], fresh, codes)
            sums = torch.where(dead[:, None], c.restart * fresh, sums)
            counts = counts.masked_fill(dead, c.restart)
        for kept, value in ((self.codes, codes), (self.sums, sums), (self.counts, counts)):
            kept.copy_(value)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(encoder=self.encoder.leaves(), decoder=self.decoder.leaves())

    def codebook(self) -> Leaves:
        """Leaves of Flax's codebook."""
        return {name: (getattr(self, name), same) for name in ("codes", "sums", "counts")}


def build(config: Any, variables: Any = None) -> DiscreteVAE:
    """Builds the network, with Flax's weights and codebook if they are given.

    Raises:
      ValueError: the peer does not support a setting.
    """
    require("dvae", config, quantizer="vq", likelihood="normal")
    network: DiscreteVAE = with_weights(DiscreteVAE(config), variables)
    if variables is not None:
        load(network.codebook(), variables["buffers"]["codebook"])
    return network


def subpixel_nats(config: Any, images: Tensor, x: Tensor) -> Tensor:
    """-log p(phi(x) | z) divided by the number of subpixels, `[B]`; images are decoded from z."""
    constant = math.log(config.scale * (2 * math.pi) ** 0.5 * (1 - 2 * MARGIN))
    return ((x - images) / config.scale).square().flatten(1).mean(1) / 2 + constant


def log_likelihood(network: DiscreteVAE, config: Any, x: Tensor, tokens: Tensor) -> Tensor:
    """log p(phi(x) | tokens `[B, h w]`), `[B]` nats."""
    images = network.decode(network.codes[tokens.flatten()])
    return -math.prod(config.shape) * subpixel_nats(config, images, x)


def loss(
    network: DiscreteVAE, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """Nats per subpixel with the commitment, `[B]`; `noise` is Gumbel's, of restarts, `[B h w]`."""
    x = batch["x"]
    z = network.encode(x)
    tokens = network.nearest(z.detach())
    nearest = network.codes[tokens]
    network.update(config, z.detach(), tokens, noise)
    commitment = (z - nearest).square().unflatten(0, (len(x), -1)).mean((1, 2))
    images = network.decode(z + (nearest - z).detach())
    return subpixel_nats(config, images, x) + config.commitment * commitment


def evaluate(
    network: DiscreteVAE, config: Any, batch: dict[str, Tensor], noise: None = None
) -> Tensor:
    """log p(phi(x) | z) + log p(z) of the nearest codes, `[B]` nats."""
    tokens = network.tokens(batch["x"])
    log_prior = -tokens.shape[1] * math.log(config.codes)
    return log_likelihood(network, config, batch["x"], tokens) + log_prior


@torch.inference_mode()
def sample(network: DiscreteVAE, config: Any, n: int) -> Tensor:
    """Images of tokens drawn uniformly, `[n, *shape]` in [0, 1]."""
    size = (n, math.prod(network.grid))
    return network.images(torch.randint(config.codes, size, device=device_of(network)))
