"""What the peers of two networks share: the turn of each player, as `genjax.core.adversarial`.

Data and samples go through D in two passes, data first. In D's turn G makes its samples by the
batch's statistics and keeps its running ones; in G's turn D does.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import Leaves, under


class Players(nn.Module):
    """A generator and a discriminator."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def _under(self, name: str) -> Leaves:
        parts: Mapping[str, Any] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        return under(**{k: getattr(part, name)() for k, part in parts.items()})

    def leaves(self) -> Leaves:
        """See `layers.Leaves`."""
        return self._under("leaves")

    def statistics(self) -> Leaves:
        """Of Flax's `batch_stats`."""
        return self._under("statistics")


def discriminator_nats(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]`."""
    return F.softplus(-real.float()) + F.softplus(fake.float())


def generator_nats(fake: Tensor) -> Tensor:
    """-log D(G(z)), `[B]`."""
    return F.softplus(-fake.float())


def uniform(n: int, size: int, reach: float, device: torch.device) -> Tensor:
    """On (-reach, reach), `[n, size]`."""
    return torch.empty(n, size, device=device).uniform_(-reach, reach)
