"""DCGAN's strided networks with batch norm, as `genjax.families.dcgan`; maps are flipped.

`experiments.benchmarks.peers.torch_strided` explains why; only data and samples are flipped.
"""

from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_gan_losses import (
    GanNetworks,
    discriminator_nats,
    generator_nats,
    uniform,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    device_of,
    prefixed,
    require,
    require_default_objective,
    with_weights,
)
from experiments.benchmarks.peers.torch_strided import (
    DownStack,
    Generator,
    UpStack,
    flipped,
    unflipped,
)
from genjax.families.dcgan import discriminator_widths, generator_widths


class Discriminator(nn.Module):
    """Flipped images `[B, C, H, W] -> logits [B]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = discriminator_widths(c)
        self.stack = DownStack(c.shape, widths, c.discriminator_dense, c.kernel, slope=0.2)
        self.out = nn.Linear(self.stack.features, 1)

    def forward(self, x: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        return self.out(self.stack(x, train, update))[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        head = self.stack.from_features(self.out)
        return prefixed(DownStack_0=self.stack.leaves(), Dense_0=head)

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return prefixed(DownStack_0=self.stack.statistics())


def build(config: Any, variables: Any = None) -> GanNetworks:
    """Builds both networks, with Flax's weights if they are given."""
    require_default_objective("dcgan", config)
    defaults = {"network": "strided", "generator_norm": "batch", "discriminator_norm": "batch"}
    require("dcgan", config, classes=0, **defaults)
    widths, dense = generator_widths(config), config.generator_dense
    stack = UpStack(config.latent, config.shape, widths, dense, config.kernel)
    networks = GanNetworks(Generator(stack, torch.tanh), Discriminator(config))
    return with_weights(networks, variables)


def draw(network: GanNetworks, config: Any, n: int) -> Tensor:
    """z, `[n, Z]`."""
    if config.noise == "normal":
        return torch.randn(n, config.latent, device=device_of(network))
    return uniform(n, config.latent, 1.0, device_of(network))


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]` nats; `noise` is z."""
    x = batch["x"]
    z = draw(network, config, len(x)) if noise is None else noise
    with torch.no_grad():
        fake = network.generator(z, train=True)
    d = network.discriminator
    real_logits = d(flipped(x), train=True, update=True)
    return discriminator_nats(real_logits, d(fake, train=True, update=True))


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(G(z)), `[B]` nats."""
    z = draw(network, config, len(batch["x"])) if noise is None else noise
    fake = network.generator(z, train=True, update=True)
    return generator_nats(network.discriminator(fake, train=True))


@torch.inference_mode()
def sample(network: GanNetworks, config: Any, n: int) -> Tensor:
    """`[n, *shape]` in [-1, 1], by running statistics."""
    return unflipped(network.generator(draw(network, config, n))).float()
