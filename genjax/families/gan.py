"""GAN: generative adversarial nets, both players MLPs. Samples, and no density.

    min_G max_D  E_x[log D(x)] + E_z[log(1 - D(G(z)))]

Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1 and algorithm 1; sizes from the
settings the authors released for MNIST. The generator descends -log D(G(z)) (section 3).

Other losses, penalties and rhythms are `Config.method`; with `output="linear"` events are real
numbers, such as points of the plane. What papers leave open about the two turns, and what is done
here, is said in `genjax.core.adversarial`. In the authors' code both players move at once; here D
moves first, as in algorithm 1.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import (
    GanObjective,
    Optimizers,
    Traits,
    adversarial_step,
    discriminator_objective,
    generator_objective,
    objective_buffers,
    player_steps,
    single_critic_step,
)
from genjax.nn import MLP, Maxout, symmetric_uniform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and method; the defaults are the authors' for MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: int = 100
    """Dimensions of the noise."""
    noise: Literal["uniform", "normal"] = "uniform"
    """Of unit variance either way."""
    generator_hidden: tuple[int, ...] = (1200, 1200)
    """ReLU units of the generator."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Of the generator: images in (0, 1), or real numbers."""
    discriminator_hidden: tuple[int, ...] = (240, 240)
    """Hidden units of the discriminator."""
    activation: Literal["maxout", "relu"] = "maxout"
    """Of the discriminator."""
    pieces: int = 5
    """Linear maps a maxout unit takes the largest of."""
    input_dropout: float = 0.2
    """Share of the discriminator's inputs dropped."""
    hidden_dropout: float = 0.5
    """Share of the discriminator's hidden units dropped."""
    generator_range: float = 0.05
    """Weights begin uniform within this of 0; 0 is LeCun's normal."""
    discriminator_range: float = 0.005
    """The same of the discriminator."""
    marginals: bool = True
    """With sigmoid outputs, biases of the last layer begin at the log-odds of the data's mean,
    where `init` is given a batch; the training loop gives it one."""
    method: GanObjective = dataclasses.field(default_factory=GanObjective)
    """How the two are trained."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the hidden layers and of the generator's last factors; logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            generator_hidden=self.generator_hidden,
            discriminator_hidden=self.discriminator_hidden,
            pieces=self.pieces,
        )
        checks.not_negative(
            generator_range=self.generator_range, discriminator_range=self.discriminator_range
        )
        checks.fraction(input_dropout=self.input_dropout, hidden_dropout=self.hidden_dropout)
        checks.one_of(("uniform", "normal"), noise=self.noise)
        checks.one_of(("sigmoid", "linear"), output=self.output)
        checks.one_of(("maxout", "relu"), activation=self.activation)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        if self.activation == "relu" and self.pieces != Config.pieces:
            raise ValueError("pieces are of maxout units; set activation to maxout.")

    @property
    def critic_steps(self) -> int:
        """Discriminator updates k a generator update (algorithm 1)."""
        return self.method.critic_steps


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=4,
        generator_hidden=(8,),
        discriminator_hidden=(6,),
        pieces=2,
        generator_range=0.5,
        discriminator_range=0.5,
        method=GanObjective(critic_steps=2, r1=0.1, penalty_every=2, smoothing=0.1),
    )


def traits(config: Config) -> Traits:
    """Images with sigmoid outputs, real numbers with linear ones."""
    if config.output == "sigmoid":
        examples = 10_000 if config.marginals else 0
        return Traits(data="images", density="none", init_examples=examples)
    return Traits(data="real", density="none", sample_range=(-math.inf, math.inf))


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in [0, 1], or any with linear outputs, `[B, *shape]`; `[K, B, *shape]` with
    K > 1 critic steps."""
    lead = () if config.critic_steps == 1 else (config.critic_steps,)
    return {"x": jax.ShapeDtypeStruct((*lead, batch_size, *config.shape), jnp.float32)}


def _kernel_init(scale: float) -> Any:
    return symmetric_uniform(scale) if scale else nn.initializers.lecun_normal()


class Generator(nn.Module):
    """`[B, Z] -> [B, *shape]`."""

    config: Config

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        c = self.config
        kernel_init = _kernel_init(c.generator_range)
        out = math.prod(c.shape)
        x = MLP(c.generator_hidden, out, nn.relu, jnp.dtype(c.dtype), kernel_init, name="mlp")(z)
        x = jax.nn.sigmoid(x) if c.output == "sigmoid" else x
        return x.reshape(z.shape[0], *c.shape)


class Discriminator(nn.Module):
    """`[B, *shape] -> logits [B], last hidden layer [B, F]`; sigmoid(logits) is D(x)."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, dropout: bool = False) -> tuple[jax.Array, jax.Array]:
        c = self.config
        dtype, kernel_init = jnp.dtype(c.dtype), _kernel_init(c.discriminator_range)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(c.input_dropout, deterministic=not dropout)(x)
        hidden = x
        for units in c.discriminator_hidden:
            if c.activation == "maxout":
                hidden = Maxout(units, c.pieces, dtype, kernel_init)(x)
            else:
                hidden = nn.relu(nn.Dense(units, dtype=dtype, kernel_init=kernel_init)(x))
            x = nn.Dropout(c.hidden_dropout, deterministic=not dropout)(hidden)
        logits = nn.Dense(1, dtype=jnp.float32, kernel_init=kernel_init, name="out")(x)
        return logits[:, 0], hidden


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    generator_key, discriminator_key = jax.random.split(key)
    generator = Generator(config).init(generator_key, jnp.zeros((1, config.latent)))["params"]
    x = jnp.zeros((1, *config.shape))
    discriminator = Discriminator(config).init(discriminator_key, x)["params"]
    if batch is not None and traits(config).init_examples:
        # Pixels that are always 0 begin at 1e-7, as in the authors' library.
        mean = jnp.clip(
            jnp.mean(batch["x"].reshape(-1, math.prod(config.shape)), 0), 1e-7, 1 - 1e-7
        )
        out = {**generator["mlp"]["out"], "bias": jnp.log(mean) - jnp.log1p(-mean)}
        generator = {"mlp": {**generator["mlp"], "out": out}}
    params = {"generator": generator, "discriminator": discriminator}
    return {"params": params, **objective_buffers(config.method)}


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Uniform on (-sqrt 3, sqrt 3), or normal: unit variance, `[n, Z]`."""
    if config.noise == "normal":
        return jax.random.normal(key, (n, config.latent))
    return jax.random.uniform(key, (n, config.latent), minval=-math.sqrt(3), maxval=math.sqrt(3))


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """G(z): `[B, Z] -> [B, *shape]`."""
    return Generator(config).apply({"params": variables["params"]["generator"]}, z)


def discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, key: jax.Array | None = None
) -> jax.Array:
    """Logits of D(x), `[B]`; with dropout where a key is given."""
    checks.events("gan", x, config.shape)
    params = {"params": variables["params"]["discriminator"]}
    rngs = None if key is None else {"dropout": key}
    return Discriminator(config).apply(params, x, dropout=key is not None, rngs=rngs)[0]


def discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """By default -log D(x) - log(1 - D(G(z))), `[B]` nats; the generator is held fixed.

    The batch is that of one turn, without the axis of critic steps.
    """
    _check(config, batch)
    noise_key, turn_key = jax.random.split(key)
    fake = generate(config, variables, noise(config, noise_key, batch["x"].shape[0]))
    judge = _judge(config, variables)
    return discriminator_objective(config.method, judge, variables, batch["x"], fake, turn_key)[:2]


def generator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """By default -log D(G(z)), `[B]` nats, as many samples as the batch has images."""
    _check(config, batch)
    noise_key, turn_key = jax.random.split(key)
    fake = generate(config, variables, noise(config, noise_key, batch["x"].shape[0]))
    judge = _judge(config, variables)
    return generator_objective(config.method, judge, variables, batch["x"], fake, turn_key)[:2]


def make_steps(config: Config, optimizers: Optimizers) -> tuple[Any, Any]:
    """The two half-steps (discriminator's, generator's); each changes its own network only."""
    return player_steps(config, discriminator_loss, generator_loss, optimizers)


def make_step(config: Config, optimizer: Optimizers) -> Any:
    return adversarial_step(*make_steps(config, optimizer), critic_steps=config.critic_steps)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Samples: float32 `[n, *shape]`; one without `n`."""
    x = generate(config, variables, noise(config, key, checks.sample_count(n)))
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Last hidden layer of the discriminator, features nobody labelled: `[B, F]`."""
    checks.events("gan", x, config.shape)
    params = {"params": variables["params"]["discriminator"]}
    return Discriminator(config).apply(params, x)[1].astype(jnp.float32)


def _judge(config: Config, variables: dict[str, Any]) -> Any:
    return lambda x, key, stats: (discriminate(config, variables, x, key), stats, None)


def _check(config: Config, batch: dict[str, jax.Array]) -> None:
    # One critic step sees [B, *shape]: the leading axis of critic steps is gone by here.
    checks.batch("gan", batch, functools.partial(batch_spec, single_critic_step(config)))
