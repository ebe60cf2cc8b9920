"""DCGAN's strided networks with batch norm, as `genjax.families.dcgan`; maps lie mirrored.

`experiments.benchmarks.peers.torch_strided` explains why; only data and samples are flipped.
"""

from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_gan_losses import (
    Players,
    discriminator_nats,
    generator_nats,
    uniform,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    filled,
    refuse,
    refuse_method,
    under,
    where,
)
from experiments.benchmarks.peers.torch_strided import DownStack, UpStack, mirrored, unmirrored
from genjax.families.dcgan import discriminator_widths, generator_widths


class Generator(nn.Module):
    """`[B, Z] ->` mirrored images `[B, C, H, W]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.stack = UpStack(c.latent, c.shape, generator_widths(c), c.generator_dense, c.kernel)

    def forward(self, z: Tensor, train: bool = False, move: bool = False) -> Tensor:
        """See `strided.BatchNorm`."""
        return torch.tanh(self.stack(z, train, move))

    def leaves(self) -> Leaves:
        """See `layers.Leaves`."""
        return under(UpStack_0=self.stack.leaves())

    def statistics(self) -> Leaves:
        """Of Flax's `batch_stats`."""
        return under(UpStack_0=self.stack.statistics())


class Discriminator(nn.Module):
    """Mirrored images `[B, C, H, W] -> logits [B]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = discriminator_widths(c)
        self.stack = DownStack(c.shape, widths, c.discriminator_dense, c.kernel, slope=0.2)
        self.out = nn.Linear(self.stack.features, 1)

    def forward(self, x: Tensor, train: bool = False, move: bool = False) -> Tensor:
        """See `strided.BatchNorm`."""
        return self.out(self.stack(x, train, move))[:, 0]

    def leaves(self) -> Leaves:
        """See `layers.Leaves`."""
        head = self.stack.from_features(self.out)
        return under(DownStack_0=self.stack.leaves(), Dense_0=head)

    def statistics(self) -> Leaves:
        """Of Flax's `batch_stats`."""
        return under(DownStack_0=self.stack.statistics())


def build(config: Any, variables: Any = None) -> Players:
    """Both networks, with Flax's weights where they are given."""
    refuse_method("dcgan", config)
    wanted = {"network": "strided", "generator_norm": "batch", "discriminator_norm": "batch"}
    refuse("dcgan", config, classes=0, **wanted)
    return filled(Players(Generator(config), Discriminator(config)), variables)


def draw(network: Players, config: Any, n: int) -> Tensor:
    """z, `[n, Z]`."""
    if config.noise == "normal":
        return torch.randn(n, config.latent, device=where(network))
    return uniform(n, config.latent, 1.0, where(network))


def discriminator_loss(
    network: Players, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]` nats; `noise` is z."""
    x = batch["x"]
    z = draw(network, config, len(x)) if noise is None else noise
    with torch.no_grad():
        fake = network.generator(z, train=True)
    judge = network.discriminator
    real_logits = judge(mirrored(x), train=True, move=True)
    return discriminator_nats(real_logits, judge(fake, train=True, move=True))


def generator_loss(
    network: Players, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(G(z)), `[B]` nats."""
    z = draw(network, config, len(batch["x"])) if noise is None else noise
    fake = network.generator(z, train=True, move=True)
    return generator_nats(network.discriminator(fake, train=True))


@torch.inference_mode()
def sample(network: Players, config: Any, n: int) -> Tensor:
    """`[n, *shape]` in [-1, 1], by running statistics."""
    return unmirrored(network.generator(draw(network, config, n))).float()


def pieces(network: Players) -> list[tuple[nn.Module, str]]:
    """What is compiled for sampling."""
    return [(network.generator, "forward")]
