"""VAE, dense or residual: Bernoulli pixels, diagonal Gaussian q(z | x), N(0, I), ELBO or IWAE.

See `genjax.families.vae` and `genjax.families.vae.networks`.
"""

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
    standard_kl,
    with_weights,
)
from experiments.benchmarks.peers.torch_resnet import ResNetDecoder, ResNetEncoder


class VAE(nn.Module):
    """Encoder and decoder."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        dims, size = math.prod(c.shape), 2 * c.latent
        self.names = {"encoder": _NAMES[c.encoder][0], "decoder": _NAMES[c.decoder][1]}
        if c.encoder == "resnet":
            self.encoder: nn.Module = ResNetEncoder(c, size)
        else:
            self.encoder = MLP(dims, c.hidden, size, c.activation)
        if c.decoder == "resnet":
            self.decoder: nn.Module = ResNetDecoder(c)
        else:
            self.decoder = MLP(c.latent, c.hidden[::-1], dims, c.activation)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x [B, D]` -> mean and log standard deviation `[B, Z]`."""
        mean, log_variance = self.encoder(x).float().chunk(2, 1)
        return mean, 0.5 * log_variance

    def forward(self, z: Tensor) -> Tensor:
        """Logits of p(x | z), `[..., Z] -> [..., D]`."""
        return self.decoder(z).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts: Any = {f"{part}/{name}": getattr(self, part) for part, name in self.names.items()}
        return prefixed(**{name: part.leaves() for name, part in parts.items()})


# Flax's names of encoder and decoder within their modules.
_NAMES = {"mlp": ("MLP_0", "MLP_0"), "resnet": ("ResNetEncoder_0", "ResNetDecoder_0")}


def build(config: Any, variables: Any = None) -> VAE:
    """Builds the network, with Flax's weights if they are given."""
    parts = {"likelihood": "bernoulli", "posterior": "diagonal", "prior": "normal"}
    require("vae", config, **parts, beta=1.0, kl_warmup=0, free_bits=0.0, classes=0)
    require("vae", config, gradient_samples=0)
    if config.objective not in ("elbo", "iwae"):
        require("vae", config, objective="elbo")
    return with_weights(VAE(config), variables)


def loss(
    network: VAE, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """Minus the bound, `[B]` nats; `noise` is standard normal `[K, B, Z]`."""
    x = batch["x"].flatten(1)
    mean, log_std = network.posterior(x)
    if noise is None:
        noise = torch.randn(config.latent_samples, *mean.shape, device=x.device)
    z = mean + torch.exp(log_std) * noise
    k = len(z)
    nll = bernoulli_nll(network(z.flatten(0, 1)), x.repeat(k, 1)).reshape(k, -1)  # [K, B]
    if config.objective == "elbo":
        return nll.mean(0) + standard_kl(mean, log_std).sum(1)
    # log p(z) - log q(z | x), whose constants cancel.
    ratio = (0.5 * (noise**2 - z**2) + log_std).sum(-1)
    return math.log(k) - torch.logsumexp(ratio - nll, 0)


def evaluate(
    network: VAE, config: Any, batch: dict[str, Tensor], noise: Tensor | None = None
) -> Tensor:
    """ELBO of one sample, `[B]`; `noise [1, B, Z]`."""
    x = batch["x"].flatten(1)
    mean, log_std = network.posterior(x)
    e = torch.randn_like(mean) if noise is None else noise[0]
    nll = bernoulli_nll(network(mean + torch.exp(log_std) * e), x)
    return -nll - standard_kl(mean, log_std).sum(1)


@torch.inference_mode()
def sample(network: VAE, config: Any, n: int) -> Tensor:
    """`[n, *shape]`."""
    z = torch.randn(n, config.latent, device=device_of(network))
    return torch.bernoulli(torch.sigmoid(network(z))).reshape(n, *config.shape)
