"""GAN of dense layers: ReLU generator, maxout or ReLU discriminator, as `genjax.families.gan`."""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_gan_losses import (
    GanNetworks,
    discriminator_nats,
    generator_nats,
    uniform,
)
from experiments.benchmarks.peers.torch_layers import (
    MLP,
    Leaves,
    dense_leaves,
    device_of,
    prefixed,
    require_default_objective,
    with_weights,
)


class Generator(nn.Module):
    """`[B, Z] -> [B, *shape]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.shape, self.images = c.shape, c.output == "sigmoid"
        self.mlp = MLP(c.latent, c.generator_hidden, math.prod(c.shape), "relu")

    def forward(self, z: Tensor) -> Tensor:
        """G(z)."""
        x = self.mlp(z)
        return (torch.sigmoid(x) if self.images else x).reshape(-1, *self.shape)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(mlp=self.mlp.leaves())


class Discriminator(nn.Module):
    """`[B, *shape] -> logits [B]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.pieces = c.pieces if c.activation == "maxout" else 0
        self.shares = (c.input_dropout, c.hidden_dropout)
        sizes = [math.prod(c.shape), *c.discriminator_hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(a, b * max(1, self.pieces)) for a, b in itertools.pairwise(sizes)
        )
        self.out = nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor, train: bool = False) -> Tensor:
        """Logits of D(x), with dropout if `train`."""
        x = F.dropout(x.flatten(1), self.shares[0], train)
        for layer in self.hidden:
            x = layer(x)
            x = x.unflatten(1, (-1, self.pieces)).amax(2) if self.pieces else F.relu(x)
            x = F.dropout(x, self.shares[1], train)
        return self.out(x)[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        name = "Maxout_{}/Dense_0" if self.pieces else "Dense_{}"
        layers = {name.format(i): dense_leaves(layer) for i, layer in enumerate(self.hidden)}
        return prefixed(**layers, out=dense_leaves(self.out))


def build(config: Any, variables: Any = None) -> GanNetworks:
    """Builds both networks, with Flax's weights if they are given."""
    require_default_objective("gan", config)
    return with_weights(GanNetworks(Generator(config), Discriminator(config)), variables)


def draw(network: GanNetworks, config: Any, n: int) -> Tensor:
    """z of unit variance, `[n, Z]`."""
    if config.noise == "normal":
        return torch.randn(n, config.latent, device=device_of(network))
    return uniform(n, config.latent, math.sqrt(3), device_of(network))


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]` nats; `noise` is z."""
    x = batch["x"]
    with torch.no_grad():
        fake = network.generator(draw(network, config, len(x)) if noise is None else noise)
    d = network.discriminator
    return discriminator_nats(d(x, train=True), d(fake, train=True))


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(G(z)), `[B]` nats."""
    z = draw(network, config, len(batch["x"])) if noise is None else noise
    return generator_nats(network.discriminator(network.generator(z), train=True))


@torch.inference_mode()
def sample(network: GanNetworks, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    return network.generator(draw(network, config, n)).float()
