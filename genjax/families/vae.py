"""VAE: a variational autoencoder with Gaussian latents and a Bernoulli decoder, both MLPs.

p(x) = integral of p(x | z) p(z) dz has no closed form; the encoder q(z | x) gives a bound,

    ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z)) <= log p(x),

whose gradient flows through z = mean + std * noise.

Kingma and Welling 2013, "Auto-Encoding Variational Bayes", eqs. 3 and 7, appendices B and C.
The bound from several samples: Burda et al. 2015, "Importance Weighted Autoencoders", eq. 8.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import Traits, gradient_step
from genjax.losses import bernoulli_nll, gaussian_kl, gaussian_nll
from genjax.nn import MLP

TRAITS = Traits(data="binary", density="bound")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the paper's for MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: int = 20
    """Latent dimensions (figure 2: 3, 5, 10, 20, 200)."""
    hidden: tuple[int, ...] = (500,)
    """Hidden units of encoder and, reversed, of decoder (section 5)."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Hidden activation (appendix C)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the hidden layers; parameters and likelihood stay float32."""

    def __post_init__(self) -> None:
        checks.positive(shape=self.shape, latent=self.latent, hidden=self.hidden)
        checks.one_of(("tanh", "relu"), activation=self.activation)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=1, hidden=(8,))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]` in [0, 1]; values between 0 and 1 are grey levels."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


class Encoder(nn.Module):
    """`[B, D] -> mean [B, Z], log_std [B, Z]` of q(z | x)."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        c = self.config
        both = MLP(c.hidden, 2 * c.latent, getattr(nn, c.activation), jnp.dtype(c.dtype))(x)
        mean, log_variance = jnp.split(both, 2, axis=-1)
        return mean, 0.5 * log_variance


class Decoder(nn.Module):
    """`[B, Z] -> Bernoulli logits [B, D]` of p(x | z)."""

    config: Config

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        c = self.config
        out = math.prod(c.shape)
        return MLP(c.hidden[::-1], out, getattr(nn, c.activation), jnp.dtype(c.dtype))(z)


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    encoder_key, decoder_key = jax.random.split(key)
    encoder = Encoder(config).init(encoder_key, jnp.zeros((1, math.prod(config.shape))))
    decoder = Decoder(config).init(decoder_key, jnp.zeros((1, config.latent)))
    return {"params": {"encoder": encoder["params"], "decoder": decoder["params"]}}


def posterior(
    config: Config, variables: dict[str, Any], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """q(z | x): mean and log standard deviation, `[B, Z]` each."""
    checks.events("vae", x, config.shape)
    flat = x.reshape(x.shape[0], -1)
    return Encoder(config).apply({"params": variables["params"]["encoder"]}, flat)


def decode(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """Bernoulli logits of p(x | z): `[B, Z] -> [B, *shape]`."""
    logits = Decoder(config).apply({"params": variables["params"]["decoder"]}, z)
    return logits.reshape(z.shape[0], *config.shape)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-ELBO with one sample of z and the KL in closed form: `[B]` nats (eq. 10, L = 1)."""
    checks.batch("vae", batch, functools.partial(batch_spec, config))
    x = batch["x"]
    mean, log_std = posterior(config, variables, x)
    z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    reconstruction = bernoulli_nll(decode(config, variables, z), x)
    kl = gaussian_kl(mean, log_std)
    return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def elbo(config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array) -> jax.Array:
    """A one-sample estimate of the lower bound on log p(x): `[B]` nats."""
    checks.events("vae", x, config.shape)
    return -loss(config, variables, {"x": x}, key)[0]


def log_prob_bound(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array, num_samples: int
) -> jax.Array:
    """Importance-weighted bound, log of the mean of p(x, z) / q(z | x): `[B]` nats.

    One sample at a time in a running logsumexp, so memory does not grow with `num_samples`.
    """
    checks.positive(num_samples=num_samples)
    mean, log_std = posterior(config, variables, x)
    zeros = jnp.zeros_like(mean)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        log_weight = (
            -bernoulli_nll(decode(config, variables, z), x)
            - gaussian_nll(z, zeros, zeros)
            + gaussian_nll(z, mean, log_std)
        )
        return jnp.logaddexp(total, log_weight), None

    # 0 * mean: inside a user's shard_map the carry must vary over the devices as x does.
    start = 0 * mean[:, 0] - jnp.inf
    total, _ = jax.lax.scan(add, start, jax.random.split(key, num_samples))
    return total - math.log(num_samples)


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Mean of q(z | x): `[B, Z]`."""
    return posterior(config, variables, x)[0]


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Samples of p(x): float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    latent_key, pixel_key = jax.random.split(key)
    logits = decode(config, variables, jax.random.normal(latent_key, (n or 1, config.latent)))
    x = jax.random.bernoulli(pixel_key, jax.nn.sigmoid(logits)).astype(jnp.float32)
    return x if n else x[0]
