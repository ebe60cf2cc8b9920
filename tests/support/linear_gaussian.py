"""A family in which everything has a closed form: x = z W + b + noise, z ~ N(0, I).

b may be one a class. The posterior is Gaussian and has one covariance for all x; the encoder is
linear, and as good or as poor as its numbers in `variables` are.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from genjax.core import Traits
from genjax.losses import gaussian_nll


def traits(config):
    return Traits(data="real", density="bound", sample_range=(-np.inf, np.inf))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (4,)
    latent: int = 3
    noise: float = 0.4
    classes: int = 0


def make(config: Config, seed: int = 0, *, apart: float = 1.0) -> dict[str, Any]:
    """Variables with a good encoder: the best there is with a diagonal covariance."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(config.latent, *config.shape))
    bias = apart * rng.normal(size=(max(1, config.classes), *config.shape))
    precision = np.eye(config.latent) + weights @ weights.T / config.noise**2
    encoder = weights.T / config.noise**2 @ np.linalg.inv(precision)  # [D, Z]
    found = {
        "W": weights,
        "b": bias,
        "encoder": encoder,
        "log_std": -0.5 * np.log(np.diag(precision)),
    }
    return {"params": jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), found)}


def draw(config, variables, seed, n, label=None):
    """z, x and the label of exact draws, float32."""
    rng = np.random.default_rng(seed)
    p = {k: np.asarray(v) for k, v in variables["params"].items()}
    label = np.zeros(n, np.int32) if label is None else np.asarray(label, np.int32)
    z = rng.normal(size=(n, config.latent))
    x = z @ p["W"] + p["b"][label] + config.noise * rng.normal(size=(n, *config.shape))
    return jnp.asarray(z, jnp.float32), jnp.asarray(x, jnp.float32), label


def exact(config, variables, x, label=0):
    """log p(x), or log p(x | label), in closed form: `[N]` float64."""
    p = {k: np.asarray(v, np.float64) for k, v in variables["params"].items()}
    covariance = p["W"].T @ p["W"] + config.noise**2 * np.eye(*2 * config.shape)
    gaussian = stats.multivariate_normal(np.zeros(config.shape), covariance)
    return np.atleast_1d(gaussian.logpdf(np.asarray(x, np.float64) - p["b"][label]))


def latent_shape(config):
    return (config.latent,)


def log_prior(config, variables, z, label=None):
    return -gaussian_nll(z, jnp.zeros_like(z), jnp.zeros_like(z))


def decode_mean(config, variables, z, label=None):
    p = variables["params"]
    label = jnp.zeros(len(z), jnp.int32) if label is None else label
    return z @ p["W"] + p["b"][label]


def log_likelihood(config, variables, x, z, label=None):
    mean = decode_mean(config, variables, z, label)
    return -gaussian_nll(x, mean, jnp.full_like(mean, np.log(config.noise)))


def encode(config, variables, x, label=None):
    p = variables["params"]
    label = jnp.zeros(len(x), jnp.int32) if label is None else label
    return (x - p["b"][label]) @ p["encoder"]


def _posterior(config, variables, x, label=None):
    mean = encode(config, variables, x, label)
    return mean, jnp.broadcast_to(variables["params"]["log_std"][None], mean.shape)


def posterior_sample(config, variables, x, key, label=None):
    mean, log_std = _posterior(config, variables, x, label)
    z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    return z, -gaussian_nll(z, mean, log_std)


def kl_units(config, variables, x, label=None):
    mean, log_std = _posterior(config, variables, x, label)
    return 0.5 * (mean**2 + jnp.exp(2 * log_std) - 1) - log_std


def log_weight(config, variables, x, key, **condition):
    z, log_q = posterior_sample(config, variables, x, key, **condition)
    likelihood = log_likelihood(config, variables, x, z, **condition)
    return log_prior(config, variables, z, **condition) + likelihood - log_q


def log_prob_bound(config, variables, x, key, num_samples, **condition):
    keys = jax.random.split(key, num_samples)
    weights = jax.vmap(lambda k: log_weight(config, variables, x, k, **condition))(keys)
    return jax.nn.logsumexp(weights, axis=0) - jnp.log(num_samples)


def elbo(config, variables, x, key, **condition):
    return log_weight(config, variables, x, key, **condition)
