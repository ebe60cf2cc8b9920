"""DCGAN's strided networks with batch norm, and those of WGAN-GP, SNGAN and R3GAN.

As `genjax.families.dcgan`. Maps of strided networks are flipped, see
`experiments.benchmarks.peers.torch_strided`; only data and samples are flipped.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_gan_losses import (
    GanNetworks,
    discriminator_objective,
    generator_objective,
    uniform,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    device_of,
    prefixed,
    require,
    with_weights,
)
from experiments.benchmarks.peers.torch_residual_gan import (
    R3ganDiscriminator,
    R3ganGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)
from experiments.benchmarks.peers.torch_strided import (
    DownStack,
    Generator,
    UpStack,
    flipped,
    unflipped,
)
from genjax.core import GanObjective
from genjax.families.dcgan import discriminator_widths, generator_widths

LOSSES = ("non_saturating", "wasserstein", "hinge", "relativistic")
# Settings of an objective that the peer has at their defaults only.
FIXED = (
    *("label_smoothing", "one_sided_penalty", "penalty_target", "drift", "penalty_interval"),
    "update",
)


class Discriminator(nn.Module):
    """Flipped images `[B, C, H, W] -> logits [B]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = discriminator_widths(c)
        self.stack = DownStack(c.shape, widths, c.discriminator_dense, c.kernel, slope=0.2)
        self.out = nn.Linear(self.stack.features, 1)

    def forward(
        self, x: Tensor, condition: None = None, train: bool = False, update: bool = False
    ) -> Tensor:
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
    default = GanObjective()
    require(
        "dcgan",
        config.objective,
        **{name: getattr(default, name) for name in FIXED},
        loss=config.objective.loss if config.objective.loss in LOSSES else LOSSES[0],
    )
    if config.network == "strided":
        require("dcgan", config, classes=0, generator_norm="batch", discriminator_norm="batch")
        widths, dense = generator_widths(config), config.generator_dense
        stack = UpStack(config.latent, config.shape, widths, dense, config.kernel)
        networks = GanNetworks(Generator(stack, torch.tanh), Discriminator(config))
    elif config.network == "residual":
        if config.discriminator_norm != "spectral":
            require("dcgan", config, discriminator_norm="none")
        networks = GanNetworks(ResidualGenerator(config), ResidualDiscriminator(config))
    else:
        networks = GanNetworks(R3ganGenerator(config), R3ganDiscriminator(config))
    return with_weights(networks, variables)


def draw(network: GanNetworks, config: Any, n: int) -> Tensor:
    """z, `[n, Z]`."""
    if config.noise == "normal":
        return torch.randn(n, config.latent, device=device_of(network))
    return uniform(n, config.latent, 1.0, device_of(network))


def to_maps(config: Any, x: Tensor) -> Tensor:
    """Images `[B, H, W, C]` as the maps of a network."""
    return flipped(x) if config.network == "strided" else x.permute(0, 3, 1, 2)


def condition_of(config: Any, label: Any) -> Tensor | None:
    """Labels as one-hot vectors `[B, K]`, or None without classes."""
    return F.one_hot(label.long(), config.classes).float() if config.classes else None


def generated(
    network: GanNetworks, z: Tensor, condition: Tensor | None, *, train: bool, update: bool = False
) -> Tensor:
    """G(z), maps."""
    z = z if condition is None else torch.cat([z, condition], 1)
    return network.generator(z, train=train, update=update)


def parts_of(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Any
) -> tuple[Any, Tensor | None, Tensor, Any, Tensor]:
    """Returns the discriminator of this batch, its condition, z, the penalty's mix, and images."""
    condition = condition_of(config, batch.get("label"))
    z, mix = noise if isinstance(noise, tuple) else (noise, None)
    z = draw(network, config, len(batch["x"])) if z is None else z

    def d(x: Tensor, update: bool) -> Tensor:
        return network.discriminator(x, condition, train=True, update=update)

    return d, condition, z, mix, to_maps(config, batch["x"])


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Any = None
) -> Tensor:
    """The objective's loss of D with penalties, `[B]`; `noise` is z, or z and the penalty's mix."""
    d, condition, z, mix, real = parts_of(network, config, batch, noise)
    with torch.no_grad():
        fake = generated(network, z, condition, train=True)
    return discriminator_objective(config.objective, d, real, fake, mix)


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Any = None
) -> Tensor:
    """The objective's loss of G, `[B]`."""
    d, condition, z, _, real = parts_of(network, config, batch, noise)
    fake = generated(network, z, condition, train=True, update=True)
    return generator_objective(config.objective, d, real, fake)


@torch.inference_mode()
def sample(network: GanNetworks, config: Any, n: int) -> Tensor:
    """`[n, *shape]` in [-1, 1], by running statistics."""
    label = torch.randint(config.classes or 1, (n,), device=device_of(network))
    z = draw(network, config, n)
    x = generated(network, z, condition_of(config, label), train=False).float()
    return unflipped(x) if config.network == "strided" else x.permute(0, 2, 3, 1).clamp(-1, 1)
