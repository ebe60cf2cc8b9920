"""Layers of Gaussian latents inferred bottom up: ELBO or IWAE.

Terms that depend on x alone are computed once for all samples.
See `genjax.families.hierarchical_vae`.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    MLP,
    Leaves,
    bernoulli_nll,
    device_of,
    prefixed,
    require,
    with_weights,
)

Gaussian = tuple[Tensor, Tensor]  # mean and log standard deviation


class HierarchicalVAE(nn.Module):
    """`up[i]` maps the layer below to the Gaussian of layer i, `down[i]` maps back."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        dims = math.prod(c.shape)
        below = [dims, *c.latent[:-1]]
        outputs = [dims, *(2 * z for z in c.latent[:-1])]
        layers = range(len(c.latent))
        hidden = [[h] * c.depth for h in c.hidden]
        self.up = nn.ModuleList(
            MLP(below[i], hidden[i], 2 * c.latent[i], c.activation) for i in layers
        )
        self.down = nn.ModuleList(
            MLP(c.latent[i], hidden[i], outputs[i], c.activation) for i in layers
        )

    def forward(self, h: Tensor) -> Tensor:
        """Logits of p(x | h_1)."""
        return self.down[0](h).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts: Any = itertools.chain(
            ((f"up_{i}", part) for i, part in enumerate(self.up)),
            ((f"down_{i}", part) for i, part in enumerate(self.down)),
        )
        return prefixed(**{name: part.leaves() for name, part in parts})


def gaussian(out: Tensor) -> Gaussian:
    """Splits a network's outputs into mean and log standard deviation."""
    mean, log_variance = out.float().chunk(2, -1)
    return mean, 0.5 * log_variance


def reparameterised(q: Gaussian, noise: Tensor) -> Tensor:
    """Samples q by the reparameterisation of `noise`."""
    return q[0] + torch.exp(q[1]) * noise


def nats(h: Tensor, p: Gaussian) -> Tensor:
    """-log p(h), without the constant that cancels between p and q, summed over units."""
    return (0.5 * ((h - p[0]) * torch.exp(-p[1])) ** 2 + p[1]).sum(-1)


def build(config: Any, variables: Any = None) -> HierarchicalVAE:
    """Builds the network, with Flax's weights if they are given."""
    require("hierarchical_vae", config, inference="bottom_up", free_bits=0.0, kl_warmup=0)
    require("hierarchical_vae", config, gradient_samples=0)
    return with_weights(HierarchicalVAE(config), variables)


def terms(network: Any, x: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
    """-log p(x | h_1), and log q(h | x) - log p(h), `[K, B]` each; noise `[K, B, Z]` per layer."""
    k, q, kl = len(noise[0]), gaussian(network.up[0](x)), torch.zeros((), device=x.device)
    h: list[Tensor] = []
    for i, e in enumerate(noise):
        q = gaussian(network.up[i](h[-1])) if i else q
        h.append(reparameterised(q, e))
        kl = kl - (0.5 * e**2 + q[1]).sum(-1)
    for i in range(len(h) - 1):
        kl = kl + nats(h[i], gaussian(network.down[i + 1](h[i + 1])))
    kl = kl + 0.5 * (h[-1] ** 2).sum(-1)
    nll = bernoulli_nll(network(h[0].flatten(0, 1)), x.repeat(k, 1)).reshape(k, -1)
    return nll, kl


def normal(config: Any, k: int, x: Tensor) -> list[Tensor]:
    """Noise of k samples per example."""
    return [torch.randn(k, len(x), z, device=x.device) for z in config.latent]


def loss(
    network: HierarchicalVAE,
    config: Any,
    batch: dict[str, Tensor],
    noise: list[Tensor] | None = None,
) -> Tensor:
    """Minus the bound, `[B]` nats; `noise` is standard normal `[K, B, Z]` per layer."""
    x = batch["x"].flatten(1)
    nll, kl = terms(
        network, x, normal(config, config.latent_samples, x) if noise is None else noise
    )
    if config.objective == "elbo":
        return (nll + kl).mean(0)
    return math.log(len(nll)) - torch.logsumexp(-nll - kl, 0)


def evaluate(
    network: HierarchicalVAE,
    config: Any,
    batch: dict[str, Tensor],
    noise: list[Tensor] | None = None,
) -> Tensor:
    """ELBO of one sample, `[B]`."""
    x = batch["x"].flatten(1)
    nll, kl = terms(network, x, normal(config, 1, x) if noise is None else noise)
    return -(nll + kl)[0]


@torch.inference_mode()
def sample(network: HierarchicalVAE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    noise = [torch.randn(n, z, device=device_of(network)) for z in config.latent]
    h = noise[-1]
    for i in reversed(range(len(noise) - 1)):
        h = reparameterised(gaussian(network.down[i + 1](h)), noise[i])
    return torch.bernoulli(torch.sigmoid(network(h))).reshape(n, *config.shape)
