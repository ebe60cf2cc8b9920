"""Networks and losses shared by the peers of GANs, as in `genjax.core.adversarial`.

Real and generated images pass through D in two batches, real ones first. In D's update G uses batch
statistics and keeps its running ones; in G's update D does.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import Leaves, prefixed


class GanNetworks(nn.Module):
    """A generator and a discriminator."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def _collect(self, name: str) -> Leaves:
        parts: Mapping[str, Any] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        return prefixed(**{k: getattr(part, name)() for k, part in parts.items()})

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return self._collect("leaves")

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return self._collect("statistics")


def discriminator_nats(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]`."""
    return F.softplus(-real.float()) + F.softplus(fake.float())


def generator_nats(fake: Tensor) -> Tensor:
    """-log D(G(z)), `[B]`."""
    return F.softplus(-fake.float())


def uniform(n: int, size: int, limit: float, device: torch.device) -> Tensor:
    """Samples from (-limit, limit), `[n, size]`."""
    return torch.empty(n, size, device=device).uniform_(-limit, limit)
