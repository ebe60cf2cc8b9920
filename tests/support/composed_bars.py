"""A family with one part: a fixed NADE, mixed with independent pixels that are trained."""

import dataclasses

import jax
import jax.numpy as jnp

from genjax.core import Traits
from genjax.families import nade

PART = nade.Config(shape=(3, 3, 1), hidden=4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (3, 3, 1)
    prior: nade.Config = PART


def traits(config):
    return Traits(data="binary", density="exact")


def tiny():
    return Config()


def parts(config):
    return {"prior": ("nade", config.prior)}


def batch_spec(config, batch_size):
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def init(config, key, batch=None):
    params = {"weight": jnp.zeros(()), "logits": 0.1 * jax.random.normal(key, config.shape)}
    fixed = {"prior": nade.init(config.prior, key), "steps": jnp.zeros((), jnp.int32)}
    return {"params": params, "buffers": fixed}


def log_prob(config, variables, x):
    params = variables["params"]
    logits = params["logits"][None]
    each = x * logits - jax.nn.softplus(logits)
    fixed = nade.log_prob(config.prior, variables["buffers"]["prior"], x)
    both = jnp.stack([jax.nn.log_sigmoid(params["weight"]) + fixed, each.sum((1, 2, 3))])
    return jax.nn.logsumexp(both - jnp.array([[0.0], [1.0]]) * jax.nn.softplus(params["weight"]), 0)


def loss(config, variables, batch, key):
    buffers = {**variables["buffers"], "steps": variables["buffers"]["steps"] + 1}
    return -log_prob(config, variables, batch["x"]), {"updates": {"buffers": buffers}}


def sample(config, variables, key, n=None):
    mean = jax.nn.sigmoid(variables["params"]["logits"])
    shape = mean.shape if n is None else (n, *mean.shape)
    return jax.random.bernoulli(key, jnp.broadcast_to(mean, shape)).astype(jnp.float32)
