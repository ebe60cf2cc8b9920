"""A mixture of products of Bernoulli variables, trained by gradient: an example of `ExactDensity`.

p(x) = sum_k p(k) prod_d p(x_d | k)
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import PositiveInt, PositiveInts
from genjax.core import Traits
from genjax.losses import bernoulli_nats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape."""
    components: PositiveInt = 20
    """Number of components."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    del config
    return Traits(data="binary", density="exact")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), components=4)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in {0, 1}, `[B, *shape]`."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    pixels = jax.random.normal(key, (config.components, *config.shape))  # logits
    return {"params": {"components": jnp.zeros(config.components), "pixels": pixels}}


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats."""
    checks.events("toy_density", x, config.shape)
    params = variables["params"]
    pixels, x = jnp.broadcast_arrays(params["pixels"][None], x[:, None])  # [B, K, *shape]
    log_p = -bernoulli_nats(pixels, x).reshape(*x.shape[:2], -1).sum(axis=-1)
    log_p = log_p + jax.nn.log_softmax(params["components"])[None]
    return jax.nn.logsumexp(log_p, axis=1)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Computes -log p(x), `[B]` nats."""
    del key
    checks.batch("toy_density", batch, functools.partial(batch_spec, config))
    return -log_prob(config, variables, batch["x"]), {}


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]` in {0, 1}; one without `n`."""
    params, count = variables["params"], checks.sample_count(n)
    component_key, pixel_key = jax.random.split(key)
    component = jax.random.categorical(component_key, params["components"], shape=(count,))
    p = jax.nn.sigmoid(params["pixels"])[component]  # [n, *shape]
    x = (jax.random.uniform(pixel_key, p.shape) < p).astype(jnp.float32)
    x = jnp.where(jnp.isnan(p), jnp.nan, x)  # a diverged model draws no plausible image
    return x if n else x[0]
