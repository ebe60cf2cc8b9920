"""A family with closed forms: x = z W + b + noise, z ~ N(0, I).

b may depend on the class. The posterior is Gaussian with the same covariance for all x; the encoder
is linear, with parameters in `variables`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from genjax.core import Traits
from genjax.nn import Gaussian, Normal, StandardNormal


def traits(config):
    return Traits(data="real", density="bound", sample_range=(-np.inf, np.inf))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (4,)
    latent: int = 3
    noise: float = 0.4
    classes: int = 0


def make(config: Config, seed: int = 0, *, apart: float = 1.0) -> dict[str, Any]:
    """Returns variables with the best encoder of diagonal covariance."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(config.latent, *config.shape))
    bias = apart * rng.normal(size=(max(1, config.classes), *config.shape))
    precision = np.eye(config.latent) + weights @ weights.T / config.noise**2
    encoder = weights.T / config.noise**2 @ np.linalg.inv(precision)  # [D, Z]
    arrays = {
        "W": weights,
        "b": bias,
        "encoder": encoder,
        "log_std": -0.5 * np.log(np.diag(precision)),
    }
    return {"params": jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arrays)}


def draw(config, variables, seed, n, label=None):
    """Draws z, x and the label from the model, float32."""
    rng = np.random.default_rng(seed)
    p = {k: np.asarray(v) for k, v in variables["params"].items()}
    label = np.zeros(n, np.int32) if label is None else np.asarray(label, np.int32)
    z = rng.normal(size=(n, config.latent))
    x = z @ p["W"] + p["b"][label] + config.noise * rng.normal(size=(n, *config.shape))
    return jnp.asarray(z, jnp.float32), jnp.asarray(x, jnp.float32), label


def exact(config, variables, x, label=0):
    """Computes log p(x), or log p(x | label), in closed form: `[N]` float64."""
    p = {k: np.asarray(v, np.float64) for k, v in variables["params"].items()}
    covariance = p["W"].T @ p["W"] + config.noise**2 * np.eye(*2 * config.shape)
    gaussian = stats.multivariate_normal(np.zeros(config.shape), covariance)
    return np.atleast_1d(gaussian.logpdf(np.asarray(x, np.float64) - p["b"][label]))


def prior(config, variables):
    return StandardNormal((config.latent,))


def likelihood(config, variables, z, label=None):
    p = variables["params"]
    label = jnp.zeros(len(z), jnp.int32) if label is None else label
    mean = z @ p["W"] + p["b"][label]
    return Normal(loc=mean, log_std=jnp.full_like(mean, np.log(config.noise)))


def encode(config, variables, x, label=None):
    p = variables["params"]
    label = jnp.zeros(len(x), jnp.int32) if label is None else label
    return (x - p["b"][label]) @ p["encoder"]


def posterior(config, variables, x, label=None):
    mean = encode(config, variables, x, label)
    log_std = jnp.broadcast_to(variables["params"]["log_std"][None], mean.shape)
    return Gaussian(loc=mean, log_std=log_std)
