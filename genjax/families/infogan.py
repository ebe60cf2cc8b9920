"""InfoGAN: a GAN whose samples must tell the code they were made from. Codes are found, not given.

    min_{G,Q} max_D  V(D, G) - lambda L_I(G, Q),   L_I = E[log q(c | G(z, c))] + H(c)

Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing
Generative Adversarial Nets" (arXiv:1606.03657), eqs. 5 and 6; the networks are those of appendix
C.1 for MNIST. Q shares all layers with D but the last two, and is trained by D's optimizer, as in
the authors' code: both players' losses have -lambda L_I. Each code's bound is logged by its place,
in nats: `generator_information_0` is at most log 10 by default.

What papers leave open about the two turns, and what is done here, is said in
`genjax.core.adversarial`. Noise and codes are drawn again in every turn.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import (
    GanObjective,
    Optimizers,
    Traits,
    adversarial_step,
    check_gradient_penalties,
    discriminator_objective,
    generator_objective,
    network_variables,
    objective_buffers,
    player_steps,
    single_critic_step,
)
from genjax.losses import categorical_information, gaussian_information, uniform_information
from genjax.nn import DownStack, UpStack
from genjax.nn.strided import normalize

SLOPE = 0.1  # of LeakyReLU, appendix C


class Code(NamedTuple):
    """One part of the code."""

    kind: str  # categorical, uniform or gaussian
    size: int  # categories, or numbers
    weight: float  # lambda
    outputs: int  # numbers in which q says what it thinks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture, codes and method; the defaults are the paper's for MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape (H, W, C)."""
    latent: int = 62
    """Dimensions of the noise, uniform on (-1, 1)."""
    categorical: tuple[int, ...] = (10,)
    """Categories of each categorical code; all of a code are equally likely."""
    uniform: tuple[int, ...] = (1, 1)
    """Numbers of each code on (-1, 1)."""
    gaussian: tuple[int, ...] = ()
    """Numbers of each code from N(0, 1)."""
    weights: tuple[float, ...] = ()
    """lambda of each code, categorical ones first, Gaussian ones last; () is 1 for all."""
    code_width: bool = False
    """Whether q of numbers has a width of its own for each image; else it is 1."""
    generator_dense: tuple[int, ...] = (1024,)
    """Units of the generator's dense layers before its first map."""
    generator_widths: tuple[int, ...] = (128, 64)
    """Channels of its maps, the smallest first."""
    discriminator_widths: tuple[int, ...] = (64, 128)
    """Channels of the maps of D and Q."""
    discriminator_dense: tuple[int, ...] = (1024,)
    """Units of the dense layers that D and Q share."""
    code_hidden: int = 128
    """Units of Q's own hidden layer."""
    kernel: int = 4
    """Side of the convolutions."""
    method: GanObjective = dataclasses.field(default_factory=GanObjective)
    """How the two are trained."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            generator_dense=self.generator_dense,
            generator_widths=self.generator_widths,
            discriminator_widths=self.discriminator_widths,
            discriminator_dense=self.discriminator_dense,
            code_hidden=self.code_hidden,
            kernel=self.kernel,
            categorical=self.categorical or (1,),
            uniform=self.uniform or (1,),
            gaussian=self.gaussian or (1,),
        )
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        check_gradient_penalties(self.method, "batch")
        if len(self.shape) != 3:
            raise ValueError(f"shape must be (H, W, C), got {self.shape}.")
        many = len(self.categorical) + len(self.uniform) + len(self.gaussian)
        if not many:
            raise ValueError("infogan needs a code; without any it is family dcgan.")
        if self.code_width and many == len(self.categorical):
            raise ValueError("code_width is of numbers; set uniform or gaussian, or leave it out.")
        if self.weights and len(self.weights) != many:
            raise ValueError(
                f"weights must have a number for each of the {many} codes, got {self.weights}."
            )
        for weight in self.weights:
            checks.not_negative(weights=weight)

    @property
    def critic_steps(self) -> int:
        """Discriminator updates a generator update."""
        return self.method.critic_steps


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none")


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=3,
        categorical=(3,),
        uniform=(2,),
        gaussian=(1,),
        weights=(1.0, 0.5, 2.0),
        code_width=True,
        generator_dense=(6,),
        generator_widths=(4,),
        discriminator_widths=(4,),
        discriminator_dense=(6,),
        code_hidden=5,
        kernel=3,
    )


def parts(config: Config) -> tuple[Code, ...]:
    """The parts of the code, in the order in which they follow the noise."""
    sizes = [("categorical", n) for n in config.categorical]
    sizes += [("uniform", n) for n in config.uniform]
    sizes += [("gaussian", n) for n in config.gaussian]
    weights = config.weights or (1.0,) * len(sizes)
    found = []
    for (kind, size), weight in zip(sizes, weights, strict=True):
        twice = config.code_width and kind != "categorical"
        found.append(Code(kind, size, weight, 2 * size if twice else size))
    return tuple(found)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in [0, 1], `[B, *shape]`; `[K, B, *shape]` with K > 1 critic steps."""
    lead = () if config.critic_steps == 1 else (config.critic_steps,)
    return {"x": jax.ShapeDtypeStruct((*lead, batch_size, *config.shape), jnp.float32)}


class Generator(nn.Module):
    """`[B, Z + C] -> [B, *shape]` in (0, 1)."""

    config: Config

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        c = self.config
        stack = UpStack(
            shape=c.shape,
            widths=c.generator_widths,
            dense=c.generator_dense,
            kernel=c.kernel,
            dtype=jnp.dtype(c.dtype),
        )
        return jax.nn.sigmoid(stack(z, None, train))


class Discriminator(nn.Module):
    """D and Q: `[B, *shape] -> logits [B], outputs of q [B, P], shared features [B, F]`."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array, jax.Array]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        stack = DownStack(
            c.discriminator_widths, c.discriminator_dense, c.kernel, slope=SLOPE, dtype=dtype
        )
        shared = stack(x, None, train)[-1]
        kernel_init = nn.initializers.normal(0.02)
        logits = nn.Dense(1, kernel_init=kernel_init, dtype=jnp.float32, name="out")(shared)
        q = nn.Dense(c.code_hidden, use_bias=False, kernel_init=kernel_init, dtype=dtype)(shared)
        q = nn.leaky_relu(normalize("batch", q, train, dtype), SLOPE)
        outputs = sum(code.outputs for code in parts(c))
        q = nn.Dense(outputs, kernel_init=kernel_init, dtype=jnp.float32, name="codes")(q)
        return logits[:, 0], q, shared


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    keys = jax.random.split(key)
    z = jnp.zeros((1, config.latent + code_size(config)))
    networks = {
        "generator": Generator(config).init(keys[0], z),
        "discriminator": Discriminator(config).init(keys[1], jnp.zeros((1, *config.shape))),
    }
    variables = {
        c: {name: found[c] for name, found in networks.items()} for c in ("params", "batch_stats")
    }
    return {**variables, **objective_buffers(config.method)}


def code_size(config: Config) -> int:
    """Numbers of a whole code: a categorical one is one-hot."""
    return sum(code.size for code in parts(config))


def codes(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Codes drawn from their distributions, all parts side by side: `[n, C]`."""
    keys = jax.random.split(key, len(parts(config)))
    found = []
    for code, k in zip(parts(config), keys, strict=True):
        if code.kind == "categorical":
            drawn = jax.random.randint(k, (n,), 0, code.size)
            found.append(jax.nn.one_hot(drawn, code.size))
        elif code.kind == "uniform":
            found.append(jax.random.uniform(k, (n, code.size), minval=-1.0))
        else:
            found.append(jax.random.normal(k, (n, code.size)))
    return jnp.concatenate(found, axis=1)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """What the generator takes, noise and then codes: `[n, Z + C]`."""
    noise_key, code_key = jax.random.split(key)
    z = jax.random.uniform(noise_key, (n, config.latent), minval=-1.0)
    return jnp.concatenate([z, codes(config, code_key, n)], axis=1)


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """G(z, c) under running statistics: noise and codes `[B, Z + C] -> [B, *shape]` in (0, 1)."""
    return Generator(config).apply(network_variables(variables, "generator"), z)


def discriminate(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of D(x) under running statistics, `[B]`."""
    checks.events("infogan", x, config.shape)
    return Discriminator(config).apply(network_variables(variables, "discriminator"), x)[0]


def infer(
    config: Config, variables: dict[str, Any], x: jax.Array
) -> tuple[jax.Array | tuple[jax.Array, jax.Array], ...]:
    """q(c | x) under running statistics, one entry a part of the code.

    Logits `[B, K]` of a categorical one; mean and log standard deviation, `[B, size]` each, of
    numbers.
    """
    checks.events("infogan", x, config.shape)
    q = Discriminator(config).apply(network_variables(variables, "discriminator"), x)[1]
    return _split(config, q)


def information(config: Config, q: jax.Array, code: jax.Array) -> list[jax.Array]:
    """log q(c | x) + H(c) of each part, `[B]` nats: outputs of q `[B, P]`, codes `[B, C]`."""
    found, place = [], 0
    for part, guess in zip(parts(config), _split(config, q), strict=True):
        c = code[:, place : place + part.size]
        place += part.size
        if part.kind == "categorical":
            found.append(categorical_information(guess, jnp.argmax(c, axis=1)))
        else:
            known: Any = gaussian_information if part.kind == "gaussian" else uniform_information
            found.append(known(*guess, c))
    return found


def code_information(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int
) -> list[jax.Array]:
    """`information` of n fresh codes and their samples, under running statistics: `[n]` a part."""
    z = noise(config, key, n)
    x = generate(config, variables, z)
    q = Discriminator(config).apply(network_variables(variables, "discriminator"), x)[1]
    return information(config, q, z[:, config.latent :])


def discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log D(x) - log(1 - D(G(z, c))) - lambda L_I, `[B]` nats by default, of one turn: D and Q."""
    fake, _, code, turn_key = _play(config, variables, batch, key)
    judge = _judge(config, variables)
    nats, aux, q = discriminator_objective(
        config.method, judge, variables, batch["x"], fake, turn_key
    )
    told, known = _told(config, q, code)
    return nats - told, {**aux, **known}


def generator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log D(G(z, c)) - lambda L_I, `[B]` nats by default."""
    fake, stats, code, turn_key = _play(config, variables, batch, key)
    judge = _judge(config, variables)
    nats, aux, q = generator_objective(
        config.method, judge, variables, batch["x"], fake, turn_key, stats
    )
    told, known = _told(config, q, code)
    return nats - told, {**aux, **known}


def make_steps(config: Config, optimizers: Optimizers) -> tuple[Any, Any]:
    """The two half-steps (discriminator's, generator's); each changes its own network only."""
    return player_steps(config, discriminator_loss, generator_loss, optimizers)


def make_step(config: Config, optimizer: Optimizers) -> Any:
    return adversarial_step(*make_steps(config, optimizer), critic_steps=config.critic_steps)


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    *,
    codes: jax.Array | None = None,
) -> jax.Array:
    """Samples: float32 `[n, *shape]` in (0, 1); one image without `n`.

    Of `codes`, `[n, C]` as the function of that name gives them, or of codes drawn where none are
    given; the noise of a key is the same either way.
    """
    z = noise(config, key, checks.sample_count(n))
    if codes is not None:
        checks.same_shape("infogan.sample", codes=codes, drawn=z[:, config.latent :])
        z = jnp.concatenate([z[:, : config.latent], codes], axis=1)
    x = generate(config, variables, z)
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """What D and Q share, features nobody labelled: `[B, F]`."""
    checks.events("infogan", x, config.shape)
    return (
        Discriminator(config)
        .apply(network_variables(variables, "discriminator"), x)[2]
        .astype(jnp.float32)
    )


def _split(config: Config, q: jax.Array) -> tuple[Any, ...]:
    """Outputs of q `[B, P]` by the parts of the code, see `infer`."""
    found: list[Any] = []
    place = 0
    for code in parts(config):
        part = q[:, place : place + code.outputs]
        place += code.outputs
        if code.kind == "categorical":
            found.append(part)
        elif config.code_width:
            found.append((part[:, : code.size], part[:, code.size :]))
        else:
            found.append((part, jnp.zeros_like(part)))
    return tuple(found)


def _told(config: Config, q: jax.Array, code: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """lambda L_I, `[B]`, and each part's bound for the log."""
    bounds = information(config, q, code)
    weighted = [part.weight * b for part, b in zip(parts(config), bounds, strict=True)]
    return sum(weighted[1:], weighted[0]), {f"information_{i}": b for i, b in enumerate(bounds)}


def _play(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, Any, jax.Array, jax.Array]:
    """Samples while training, the generator's new statistics, the codes, and the turn's key."""
    checks.batch("infogan", batch, functools.partial(batch_spec, single_critic_step(config)))
    noise_key, turn_key = jax.random.split(key)
    z = noise(config, noise_key, batch["x"].shape[0])
    fake, new = Generator(config).apply(
        network_variables(variables, "generator"), z, train=True, mutable=["batch_stats"]
    )
    return fake, new["batch_stats"], z[:, config.latent :], turn_key


def _judge(config: Config, variables: dict[str, Any]) -> Any:
    """D while training, with what q says."""
    params = variables["params"]["discriminator"]

    def judge(x: jax.Array, key: jax.Array, stats: Any) -> tuple[jax.Array, Any, jax.Array]:
        del key  # no dropout
        (logits, q, _), new = Discriminator(config).apply(
            {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
        )
        return logits, new["batch_stats"], q

    return judge
