"""A GAN with two generators against one discriminator: an example of `Adversarial` and `Implicit`.

Each generated image comes from either generator with probability 1/2. Updates follow the order of
`LOSSES`; noise is drawn again for each. After Hoang et al. 2018, "MGAN" (ICLR), without its
classifier.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import PositiveInt, PositiveInts
from genjax.core import (
    GanObjective,
    Traits,
    apply_network,
    discriminator_objective,
    generator_objective,
    merge_networks,
)
from genjax.core.protocols import LossFn
from genjax.nn import MLP

GENERATORS = ("first", "second")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape."""
    latent: PositiveInt = 32
    """Dimensions of the noise."""
    hidden: PositiveInts = (256,)
    """ReLU units of the hidden layers."""
    objective: GanObjective = dataclasses.field(default_factory=GanObjective)
    """Loss, penalties and update schedule."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", ema=GENERATORS)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), latent=4, hidden=(8,), objective=GanObjective(r1=0.1))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in [0, 1], `[B, *shape]`."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def _generator(config: Config) -> nn.Module:
    return MLP(config.hidden, math.prod(config.shape), nn.relu)


def _discriminator(config: Config) -> nn.Module:
    return MLP(config.hidden, 1, nn.relu)


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    keys = jax.random.split(key, 3)
    z, x = jnp.zeros((1, config.latent)), jnp.zeros((1, math.prod(config.shape)))
    networks = {name: _generator(config).init(keys[i], z) for i, name in enumerate(GENERATORS)}
    networks["discriminator"] = _discriminator(config).init(keys[2], x)
    return merge_networks(networks, config.objective)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws z ~ N(0, I) and, as its last entry, 0 or 1 for the generator: `[n, Z + 1]`."""
    z_key, choice_key = jax.random.split(key)
    z = jax.random.normal(z_key, (n, config.latent))
    return jnp.concatenate([z, jax.random.bernoulli(choice_key, shape=(n, 1))], axis=1)


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """Generates images `[B, *shape]` in (0, 1), each by one of the generators."""
    first, second = (_generate(config, variables, name, z[:, :-1]) for name in GENERATORS)
    return jnp.where(z[:, -1].reshape(-1, *(1,) * (first.ndim - 1)) > 0, second, first)


def _generate(config: Config, variables: dict[str, Any], name: str, z: jax.Array) -> jax.Array:
    x = jax.nn.sigmoid(apply_network(_generator(config), variables, name, z))
    return x.reshape(-1, *config.shape)


def _discriminate(config: Config, variables: dict[str, Any]) -> Any:
    def discriminate(x: jax.Array, key: jax.Array, statistics: Any) -> tuple[jax.Array, Any, None]:
        del key  # no dropout
        x = x.reshape(x.shape[0], -1)
        logits = apply_network(_discriminator(config), variables, "discriminator", x)
        return logits[:, 0], statistics, None

    return discriminate


def _discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    checks.batch("toy_two_generators", batch, functools.partial(batch_spec, config))
    noise_key, key = jax.random.split(key)
    fake = generate(config, variables, noise(config, noise_key, len(batch["x"])))
    discriminate = _discriminate(config, variables)
    return discriminator_objective(
        config.objective, discriminate, variables, batch["x"], fake, key
    )[:2]


def _generator_loss(
    network: str,
    config: Config,
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    key: jax.Array,
) -> tuple[jax.Array, dict[str, Any]]:
    checks.batch("toy_two_generators", batch, functools.partial(batch_spec, config))
    noise_key, key = jax.random.split(key)
    z = jax.random.normal(noise_key, (len(batch["x"]), config.latent))
    fake = _generate(config, variables, network, z)
    discriminate = _discriminate(config, variables)
    return generator_objective(
        config.objective, discriminate, variables, batch["x"], fake, key, network=network
    )[:2]


LOSSES: Mapping[str, LossFn] = {
    "discriminator": _discriminator_loss,
    **{name: functools.partial(_generator_loss, name) for name in GENERATORS},
}


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]`; one without `n`."""
    x = generate(config, variables, noise(config, key, checks.sample_count(n)))
    return x if n else x[0]
