"""InfoGAN: strided networks with dense layers, and Q on the features of D.

See `genjax.families.infogan`, and `torch_strided` for the flipped maps.
"""

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
    Leaves,
    dense_leaves,
    device_of,
    gaussian_nats,
    prefixed,
    require_default_objective,
    with_weights,
)
from experiments.benchmarks.peers.torch_strided import (
    BatchNorm,
    DownStack,
    Generator,
    UpStack,
    flipped,
    unflipped,
)
from genjax.families.infogan import SLOPE, codes


class Discriminator(nn.Module):
    """D and Q: flipped images `[B, C, H, W] ->` logits `[B]`, outputs of q `[B, P]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.stack = DownStack(
            c.shape, c.discriminator_widths, c.discriminator_dense, c.kernel, SLOPE
        )
        self.out = nn.Linear(self.stack.features, 1)
        self.hidden = nn.Linear(self.stack.features, c.code_hidden, bias=False)
        self.norm = BatchNorm(c.code_hidden)
        self.codes = nn.Linear(c.code_hidden, sum(code.outputs for code in codes(c)))

    def forward(
        self, x: Tensor, train: bool = False, update: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `torch_strided.BatchNorm`."""
        shared = self.stack(x, train, update)
        q = F.leaky_relu(self.norm(self.hidden(shared), train, update), SLOPE)
        return self.out(shared)[:, 0], self.codes(q).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(
            DownStack_0=self.stack.leaves(),
            out=self.stack.from_features(self.out),
            Dense_0=self.stack.from_features(self.hidden),
            BatchNorm_0=self.norm.leaves(),
            codes=dense_leaves(self.codes),
        )

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return prefixed(DownStack_0=self.stack.statistics(), BatchNorm_0=self.norm.statistics())


def build(config: Any, variables: Any = None) -> GanNetworks:
    """Builds both networks, with Flax's weights if they are given."""
    require_default_objective("infogan", config)
    inputs = config.latent + sum(code.size for code in codes(config))
    widths, dense = config.generator_widths, config.generator_dense
    stack = UpStack(inputs, config.shape, widths, dense, config.kernel)
    networks = GanNetworks(Generator(stack, torch.sigmoid), Discriminator(config))
    return with_weights(networks, variables)


def draw(network: GanNetworks, config: Any, n: int) -> Tensor:
    """Noise and codes, `[n, Z + C]`."""
    device = device_of(network)
    found = [uniform(n, config.latent, 1.0, device)]
    for code in codes(config):
        if code.kind == "categorical":
            drawn = torch.randint(code.size, (n,), device=device)
            found.append(F.one_hot(drawn, code.size).float())
        elif code.kind == "uniform":
            found.append(uniform(n, code.size, 1.0, device))
        else:
            found.append(torch.randn(n, code.size, device=device))
    return torch.cat(found, 1)


def information(config: Any, q: Tensor, code: Tensor) -> Tensor:
    """lambda (log q(c | x) + H(c)), summed over the parts of the code, `[B]`."""
    total, start, first = torch.zeros(len(q), device=q.device), 0, 0
    for part in codes(config):
        c, guess = code[:, start : start + part.size], q[:, first : first + part.outputs]
        start, first = start + part.size, first + part.outputs
        if part.kind == "categorical":
            bound = (c * F.log_softmax(guess, 1)).sum(1) + math.log(part.size)
        else:
            entropy = (
                math.log(2) if part.kind == "uniform" else 0.5 * math.log(2 * math.pi * math.e)
            )
            log_std = guess[:, part.size :] if config.code_width else torch.zeros_like(c)
            bound = (entropy - gaussian_nats(c, guess[:, : part.size], log_std)).sum(1)
        total = total + part.weight * bound
    return total


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(x) - log(1 - D(G(z, c))) - lambda L_I, `[B]` nats; `noise` is z and c."""
    x = batch["x"]
    z = draw(network, config, len(x)) if noise is None else noise
    with torch.no_grad():
        fake = network.generator(z, train=True)
    d = network.discriminator
    real_logits, _ = d(flipped(x), train=True, update=True)
    fake_logits, q = d(fake, train=True, update=True)
    return discriminator_nats(real_logits, fake_logits) - information(
        config, q, z[:, config.latent :]
    )


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """-log D(G(z, c)) - lambda L_I, `[B]` nats."""
    z = draw(network, config, len(batch["x"])) if noise is None else noise
    fake = network.generator(z, train=True, update=True)
    logits, q = network.discriminator(fake, train=True)
    return generator_nats(logits) - information(config, q, z[:, config.latent :])


@torch.inference_mode()
def sample(network: GanNetworks, config: Any, n: int) -> Tensor:
    """`[n, *shape]` in (0, 1), by running statistics."""
    return unflipped(network.generator(draw(network, config, n))).float()
