"""GAN: generative adversarial nets of two MLPs. Samples, and no density.

    min_G max_D  E_x[log D(x)] + E_z[log(1 - D(G(z)))]

Goodfellow et al. 2014, "Generative Adversarial Nets", eq. 1 and algorithm 1; sizes from the
settings the authors released for MNIST. The generator descends -log D(G(z)) (section 3).

Other losses, penalties and schedules are in `Config.objective`; with `output="linear"` events are
real numbers, such as points of the plane. See `genjax.core.adversarial` for what papers leave open.
The authors' code updates both networks simultaneously; the default here is sequential, as in
algorithm 1.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonNegativeFloat, PositiveInt, PositiveInts, UnitInterval
from genjax.core import (
    GanObjective,
    Traits,
    apply_network,
    compiled_init,
    gan_losses,
    merge_networks,
)
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.protocols import LossFn
from genjax.nn import MLP, Maxout, symmetric_uniform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are the authors' for MNIST."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    latent: PositiveInt = 100
    """Dimensions of the noise."""
    noise: Literal["uniform", "normal"] = "uniform"
    """Distribution of the noise, of unit variance."""
    generator_hidden: PositiveInts = (1200, 1200)
    """ReLU units of the generator's hidden layers."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Output of the generator: images in (0, 1), or real numbers."""
    discriminator_hidden: PositiveInts = (240, 240)
    """Units of the discriminator's hidden layers."""
    activation: Literal["maxout", "relu"] = "maxout"
    """Activation of the discriminator."""
    pieces: PositiveInt = 5
    """Linear maps per maxout unit."""
    input_dropout: UnitInterval = 0.2
    """Dropout rate of the discriminator's inputs."""
    hidden_dropout: UnitInterval = 0.5
    """Dropout rate of the discriminator's hidden units."""
    generator_range: NonNegativeFloat = 0.05
    """Initial weights are uniform in [-range, range]; 0 selects LeCun's normal initialisation."""
    discriminator_range: NonNegativeFloat = 0.005
    """The same for the discriminator."""
    marginals: bool = True
    """With sigmoid outputs, whether biases of the last layer start at the log-odds of the data's
    mean, if `init` receives a batch; the training loop passes one."""
    objective: GanObjective = dataclasses.field(default_factory=GanObjective)
    """Loss, penalties and update schedule."""
    dtype: Dtype = "float32"
    """Of the hidden layers and of the generator's last factors; logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.activation == "relu" and self.pieces != Config.pieces:
            raise ValueError("pieces needs maxout units; set activation to maxout.")


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=4,
        generator_hidden=(8,),
        discriminator_hidden=(6,),
        pieces=2,
        generator_range=0.5,
        discriminator_range=0.5,
        objective=GanObjective(critic_steps=2, r1=0.1, penalty_interval=2, label_smoothing=0.1),
    )


def traits(config: Config) -> Traits:
    """Images with sigmoid outputs, real numbers with linear ones."""
    sigmoid = config.output == "sigmoid"
    return Traits(
        data="images" if sigmoid else "real",
        density="none",
        sample_range=(0.0, 1.0) if sigmoid else (-math.inf, math.inf),
        init_examples=10_000 if sigmoid and config.marginals else 0,
        ema=("generator",),
        normal_noise=config.noise == "normal",
    )


def _kernel_init(scale: float) -> Any:
    return symmetric_uniform(scale) if scale else nn.initializers.lecun_normal()


class Generator(nn.Module):
    """`[B, Z] -> [B, *shape]`."""

    config: Config

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
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
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        c = self.config
        dtype, kernel_init = jnp.dtype(c.dtype), _kernel_init(c.discriminator_range)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(c.input_dropout, deterministic=not train)(x)
        hidden = x
        for units in c.discriminator_hidden:
            if c.activation == "maxout":
                hidden = Maxout(units, c.pieces, dtype, kernel_init)(x)
            else:
                hidden = nn.relu(nn.Dense(units, dtype=dtype, kernel_init=kernel_init)(x))
            x = nn.Dropout(c.hidden_dropout, deterministic=not train)(hidden)
        logits = nn.Dense(1, dtype=jnp.float32, kernel_init=kernel_init, name="out")(x)
        return logits[:, 0], hidden


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    generator_key, discriminator_key = jax.random.split(key)
    generator = Generator(config).init(generator_key, jnp.zeros((1, config.latent)))["params"]
    if batch is not None and traits(config).init_examples:
        # Pixels that are always 0 start at 1e-7, as in the authors' library.
        mean = jnp.mean(batch["x"].reshape(-1, math.prod(config.shape)), 0)
        mean = jnp.clip(mean, 1e-7, 1 - 1e-7)
        out = {**generator["mlp"]["out"], "bias": jnp.log(mean) - jnp.log1p(-mean)}
        generator = {"mlp": {**generator["mlp"], "out": out}}
    networks = {
        "generator": {"params": generator},
        "discriminator": Discriminator(config).init(
            discriminator_key, jnp.zeros((1, *config.shape))
        ),
    }
    return merge_networks(networks, config.objective)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws noise of unit variance, uniform on (-sqrt 3, sqrt 3) or normal: `[n, Z]`."""
    if config.noise == "normal":
        return jax.random.normal(key, (n, config.latent))
    return jax.random.uniform(key, (n, config.latent), minval=-math.sqrt(3), maxval=math.sqrt(3))


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """Computes G(z): `[B, Z] -> [B, *shape]`."""
    return apply_network(Generator(config), variables, "generator", z)


def discriminate(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Computes the logits of D(x), `[B]`, without dropout."""
    checks.events("gan", x, config.shape)
    return apply_network(Discriminator(config), variables, "discriminator", x)[0]


# By default -log D(x) - log(1 - D(G(z))) and -log D(G(z)), [B] nats.
LOSSES: Mapping[str, LossFn] = gan_losses("gan", Generator, Discriminator, noise=noise)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]`; one without `n`."""
    checks.sampling(Config, config, variables, key)
    x = generate(config, variables, noise(config, key, checks.sample_count(n)))
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Returns the last hidden layer of the discriminator as unsupervised features: `[B, F]`."""
    checks.events("gan", x, config.shape)
    features = apply_network(Discriminator(config), variables, "discriminator", x)[1]
    return features.astype(jnp.float32)
