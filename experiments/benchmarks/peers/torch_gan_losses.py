"""Networks and losses shared by the peers of GANs, as in `genjax.core.adversarial`.

Real and generated images pass through D in two batches, real ones first. In D's update G uses batch
statistics and keeps its running ones; in G's update D does.
"""

from collections.abc import Callable, Mapping
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


def discriminator_objective(
    objective: Any, d: Callable[..., Tensor], real: Tensor, fake: Tensor, mix: Tensor | None
) -> Tensor:
    """A discriminator's loss with penalties, `[B]`.

    Args:
      objective: the family's `GanObjective`.
      d: the discriminator, `(x, update) -> logits`.
      real: images.
      fake: generated images, without gradient.
      mix: share of the real image in WGAN-GP's penalty, `[B]`; None draws it.
    """
    real_logits, fake_logits = d(real, True).float(), d(fake, True).float()
    if objective.loss == "wasserstein":
        total = fake_logits - real_logits
    elif objective.loss == "hinge":
        total = F.relu(1 - real_logits) + F.relu(1 + fake_logits)
    elif objective.loss == "relativistic":
        total = F.softplus(fake_logits - real_logits)
    else:
        total = discriminator_nats(real_logits, fake_logits)
    if objective.drift:
        total = total + objective.drift * real_logits**2
    if objective.gradient_penalty:
        share = torch.rand(len(real), device=real.device) if mix is None else mix
        share = share.view(-1, 1, 1, 1)
        between = squares(d, share * real + (1 - share) * fake).sqrt()
        total = total + objective.gradient_penalty * (between - 1) ** 2
    if objective.r1:
        total = total + objective.r1 / 2 * squares(d, real)
    if objective.r2:
        total = total + objective.r2 / 2 * squares(d, fake)
    return total


def squares(d: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Squared norm of the gradient of D by its input, `[B]`."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(d(x, False).sum(), x, create_graph=True)
    return grad.square().flatten(1).sum(1)


def generator_objective(
    objective: Any, d: Callable[..., Tensor], real: Tensor, fake: Tensor
) -> Tensor:
    """A generator's loss, `[B]`; `fake` has a gradient."""
    logits = d(fake, False).float()
    if objective.loss in ("wasserstein", "hinge"):
        return -logits
    if objective.loss == "relativistic":
        with torch.no_grad():
            real_logits = d(real, False).float()
        return F.softplus(real_logits - logits)
    return generator_nats(logits)


def discriminator_nats(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), `[B]`."""
    return F.softplus(-real.float()) + F.softplus(fake.float())


def generator_nats(fake: Tensor) -> Tensor:
    """-log D(G(z)), `[B]`."""
    return F.softplus(-fake.float())


def uniform(n: int, size: int, limit: float, device: torch.device) -> Tensor:
    """Samples from (-limit, limit), `[n, size]`."""
    return torch.empty(n, size, device=device).uniform_(-limit, limit)
