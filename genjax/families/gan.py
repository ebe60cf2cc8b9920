"""GAN: generative adversarial nets, both players MLPs. Samples, and no density.

    min_G max_D  E_x[log D(x)] + E_z[log(1 - D(G(z)))]

Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1 and algorithm 1; sizes from the
settings the authors released for MNIST. The generator descends -log D(G(z)) (section 3).

What the paper leaves open, and what is done here: real and fake images go through D in two
passes (no layer mixes examples, so one pass would be the same); k discriminator updates a
generator update are `critic_steps`; noise is drawn again for each update, the generator's too;
`sample` uses the weights it is given, the averaged ones where a run keeps an average.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from genjax import checks
from genjax.core import Traits, adversarial_step, network_step
from genjax.losses import minimax_discriminator, non_saturating_generator
from genjax.nn import MLP, Maxout

TRAITS = Traits(data="images", density="none")


class Optimizers(NamedTuple):
    """One optimizer a player."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the authors' for MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: int = 100
    """Dimensions of the uniform noise."""
    generator_hidden: tuple[int, ...] = (1200, 1200)
    """ReLU units of the generator."""
    discriminator_hidden: tuple[int, ...] = (240, 240)
    """Maxout units of the discriminator."""
    pieces: int = 5
    """Linear maps a maxout unit takes the largest of."""
    input_dropout: float = 0.2
    """Share of the discriminator's inputs dropped."""
    hidden_dropout: float = 0.5
    """Share of the discriminator's hidden units dropped."""
    critic_steps: int = 1
    """Discriminator updates k a generator update (algorithm 1)."""
    dtype: str = "float32"
    """Computation of the hidden layers, float32 or bfloat16; logits stay float32."""

    def __post_init__(self) -> None:
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            generator_hidden=self.generator_hidden,
            discriminator_hidden=self.discriminator_hidden,
            pieces=self.pieces,
            critic_steps=self.critic_steps,
        )
        checks.fraction(input_dropout=self.input_dropout, hidden_dropout=self.hidden_dropout)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=4,
        generator_hidden=(8,),
        discriminator_hidden=(6,),
        pieces=2,
        critic_steps=2,
    )


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in [0, 1], `[B, *shape]`; `[K, B, *shape]` with K > 1 critic steps."""
    lead = () if config.critic_steps == 1 else (config.critic_steps,)
    return {"x": jax.ShapeDtypeStruct((*lead, batch_size, *config.shape), jnp.float32)}


class Generator(nn.Module):
    """`[B, Z] -> [B, *shape]` in (0, 1)."""

    config: Config

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        c = self.config
        logits = MLP(c.generator_hidden, math.prod(c.shape), nn.relu, jnp.dtype(c.dtype))(z)
        return jax.nn.sigmoid(logits).reshape(z.shape[0], *c.shape)


class Discriminator(nn.Module):
    """`[B, *shape] -> logits [B]`; sigmoid(logits) is D(x)."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, dropout: bool = False) -> jax.Array:
        c = self.config
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(c.input_dropout, deterministic=not dropout)(x)
        for units in c.discriminator_hidden:
            x = Maxout(units, c.pieces, jnp.dtype(c.dtype))(x)
            x = nn.Dropout(c.hidden_dropout, deterministic=not dropout)(x)
        return nn.Dense(1, dtype=jnp.float32)(x)[:, 0]


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    generator = Generator(config).init(generator_key, jnp.zeros((1, config.latent)))
    discriminator = Discriminator(config).init(discriminator_key, jnp.zeros((1, *config.shape)))
    return {
        "params": {
            "generator": generator["params"],
            "discriminator": discriminator["params"],
        }
    }


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Uniform with unit variance, on (-sqrt 3, sqrt 3): `[n, Z]`."""
    return jax.random.uniform(key, (n, config.latent), minval=-math.sqrt(3), maxval=math.sqrt(3))


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """G(z): `[B, Z] -> [B, *shape]` in (0, 1)."""
    return Generator(config).apply({"params": variables["params"]["generator"]}, z)


def discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array | None = None
) -> jax.Array:
    """Logits of D(x), `[B]`; with dropout where a key is given."""
    checks.events("gan", x, config.shape)
    params = {"params": variables["params"]["discriminator"]}
    rngs = None if key is None else {"dropout": key}
    return Discriminator(config).apply(params, x, dropout=key is not None, rngs=rngs)


def discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log D(x) - log(1 - D(G(z))), `[B]` nats; the generator is held fixed."""
    _check(config, batch)
    noise_key, real_key, fake_key = jax.random.split(key, 3)
    z = noise(config, noise_key, batch["x"].shape[0])
    fake = jax.lax.stop_gradient(generate(config, variables, z))
    real_logits = discriminate(config, variables, batch["x"], real_key)
    fake_logits = discriminate(config, variables, fake, fake_key)
    return minimax_discriminator(real_logits, fake_logits), {
        "real_probability": jax.nn.sigmoid(real_logits),
        "fake_probability": jax.nn.sigmoid(fake_logits),
    }


def generator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log D(G(z)), `[B]` nats, as many samples as the batch has images."""
    _check(config, batch)
    noise_key, dropout_key = jax.random.split(key)
    fake = generate(config, variables, noise(config, noise_key, batch["x"].shape[0]))
    return non_saturating_generator(discriminate(config, variables, fake, dropout_key)), {}


def make_steps(config: Config, optimizers: Optimizers) -> tuple[Any, Any]:
    """The two half-steps (discriminator's, generator's); each changes its own network only."""
    return (
        network_step(functools.partial(discriminator_loss, config), optimizers, "discriminator"),
        network_step(functools.partial(generator_loss, config), optimizers, "generator"),
    )


def make_step(config: Config, optimizer: Optimizers) -> Any:
    return adversarial_step(*make_steps(config, optimizer), critic_steps=config.critic_steps)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Samples: float32 `[n, *shape]` in (0, 1); one image without `n`."""
    x = generate(config, variables, noise(config, key, n or 1))
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Last hidden layer of the discriminator, features nobody labelled: `[B, F]`."""
    checks.events("gan", x, config.shape)
    params = {"params": variables["params"]["discriminator"]}
    _, state = Discriminator(config).apply(
        params, x, capture_intermediates=lambda module, _: isinstance(module, Maxout)
    )
    last = f"Maxout_{len(config.discriminator_hidden) - 1}"
    return state["intermediates"][last]["__call__"][0]


def _check(config: Config, batch: dict[str, jax.Array]) -> None:
    # One critic step sees [B, *shape]: the leading axis of critic steps is gone by here.
    single = dataclasses.replace(config, critic_steps=1)
    checks.batch("gan", batch, functools.partial(batch_spec, single))
