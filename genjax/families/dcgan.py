"""DCGAN: both players convolutional. Samples in [-1, 1], features, and no density.

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (arXiv:1511.06434), section 3 and figure 1; settings from the code the authors
released for faces. The defaults are that network at 64x64; other sides follow from `shape`.

With `network="residual"` the players are those of WGAN-GP and SNGAN, with `"normless"` those of
R3GAN; losses and penalties are `Config.method`, normalisation `Config.discriminator_norm`. What
papers leave open about the two turns, and what is done here, is said in `genjax.core.adversarial`.
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
    check_gradient_penalties,
    discriminator_objective,
    generator_objective,
    network_variables,
    objective_buffers,
    player_steps,
    single_critic_step,
)
from genjax.nn import (
    DownStack,
    NormlessDown,
    NormlessUp,
    ResidualDown,
    ResidualUp,
    UpStack,
    one_hot_condition,
    random_label,
)
from genjax.nn.normless import EXPANSION
from genjax.nn.strided import NORMS, apply_layer

POOLED = 4  # side of the features' maps: section 5.1 of the paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and method; the defaults are the paper's at 64x64."""

    shape: tuple[int, ...] = (64, 64, 3)
    """Event shape (H, W, C)."""
    latent: int = 100
    """Dimensions of the noise."""
    noise: Literal["uniform", "normal"] = "uniform"
    """On (-1, 1), or N(0, 1)."""
    network: Literal["strided", "residual", "normless"] = "strided"
    """Of both players: the paper's, WGAN-GP's and SNGAN's, or R3GAN's."""
    generator_widths: tuple[int, ...] = ()
    """Channels of the generator's maps, the smallest first; () doubles from 128, up to 1024, as
    often as `shape` can be halved down to 4x4: 1024, 512, 256, 128 at 64x64, and 256, 128 at 28x28,
    where 7x7 is the end. A normless network's last stage does not resize, so it has one more."""
    discriminator_widths: tuple[int, ...] = ()
    """Channels of the discriminator's maps, the largest map first; () is the generator's, turned
    round."""
    generator_dense: tuple[int, ...] = ()
    """strided: units of dense layers before the first map; 1024 in the authors' MNIST network."""
    discriminator_dense: tuple[int, ...] = ()
    """strided: units of dense layers after the last map."""
    kernel: int = 5
    """strided: side of the convolutions."""
    generator_norm: Literal["batch", "none"] = "batch"
    """strided: after every layer of the generator but the last."""
    discriminator_norm: Literal["batch", "layer", "spectral", "none"] = "batch"
    """After every layer of the discriminator but the first and the last; spectral: of the weights
    of all."""
    group: int = 16
    """normless: channels of a group of its grouped convolutions."""
    classes: int = 0
    """Labels both players are told; 0 tells none."""
    method: GanObjective = dataclasses.field(default_factory=GanObjective)
    """How the two are trained."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            latent=self.latent,
            generator_widths=self.generator_widths or (1,),
            discriminator_widths=self.discriminator_widths or (1,),
            generator_dense=self.generator_dense or (1,),
            discriminator_dense=self.discriminator_dense or (1,),
            kernel=self.kernel,
            group=self.group,
        )
        checks.not_negative(classes=self.classes)
        checks.one_of(("uniform", "normal"), noise=self.noise)
        checks.one_of(("strided", "residual", "normless"), network=self.network)
        checks.one_of(("batch", "none"), generator_norm=self.generator_norm)
        checks.one_of(NORMS, discriminator_norm=self.discriminator_norm)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        if len(self.shape) != 3:
            raise ValueError(f"shape must be (H, W, C), got {self.shape}.")
        if self.network == "residual" and self.discriminator_norm == "batch":
            raise ValueError(
                "a residual discriminator has no batch statistics: penalties on its slope would mix"
                " examples; set discriminator_norm to none, layer or spectral."
            )
        if self.network == "normless" and self.discriminator_norm != "none":
            raise ValueError("the normless network has no norm; set discriminator_norm to none.")
        check_gradient_penalties(self.method, self.discriminator_norm)
        strided = ("generator_dense", "discriminator_dense", "kernel", "generator_norm")
        of = dict.fromkeys(strided, "strided") | {"group": "normless"}
        for name, network in of.items():
            default = Config.__dataclass_fields__[name].default
            if self.network != network and getattr(self, name) != default:
                raise ValueError(
                    f"{name} is a setting of the {network} network, and this one is"
                    f" {self.network}; leave it at {default}, or set network to {network}."
                )
        for width in generator_widths(self) + discriminator_widths(self):
            inside = EXPANSION * width
            if self.network == "normless" and inside % max(1, inside // self.group):
                raise ValueError(
                    f"{width} channels expand to {inside}, which do not divide into groups of"
                    f" {self.group}; take widths that are multiples of"
                    f" {self.group // math.gcd(self.group, EXPANSION)}, or another group."
                )

    @property
    def critic_steps(self) -> int:
        """Discriminator updates a generator update."""
        return self.method.critic_steps


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", sample_range=(-1.0, 1.0))


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=4,
        generator_widths=(6, 4),
        discriminator_widths=(4, 6),
        kernel=3,
    )


def generator_widths(config: Config) -> tuple[int, ...]:
    """Channels of the generator's maps, the smallest first."""
    if config.generator_widths:
        return config.generator_widths
    times, side = int(config.network == "normless"), min(config.shape[:2])
    while side % 2 == 0 and side >= 2 * POOLED:
        times, side = times + 1, side // 2
    return tuple(min(128 * 2**i, 1024) for i in reversed(range(max(times, 1))))


def discriminator_widths(config: Config) -> tuple[int, ...]:
    """Channels of the discriminator's maps, the largest map first."""
    return config.discriminator_widths or generator_widths(config)[::-1]


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 in [-1, 1], `[B, *shape]`, and with classes `label`: int32 `[B]`; with K > 1
    critic steps both have an axis of K before."""
    lead = (batch_size,) if config.critic_steps == 1 else (config.critic_steps, batch_size)
    spec = {"x": jax.ShapeDtypeStruct((*lead, *config.shape), jnp.float32)}
    if config.classes:
        spec["label"] = jax.ShapeDtypeStruct(lead, jnp.int32)
    return spec


class Generator(nn.Module):
    """`[B, Z], one-hot [B, K] or None -> [B, *shape]`."""

    config: Config

    @nn.compact
    def __call__(
        self, z: jax.Array, condition: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        c = self.config
        widths, dtype = generator_widths(c), jnp.dtype(c.dtype)
        if c.network == "strided":
            return jnp.tanh(
                UpStack(
                    shape=c.shape,
                    widths=widths,
                    dense=c.generator_dense,
                    kernel=c.kernel,
                    norm=c.generator_norm,
                    dtype=dtype,
                )(z, condition, train)
            )
        z = z if condition is None else jnp.concatenate([z, condition], axis=-1)
        if c.network == "residual":
            return jnp.tanh(ResidualUp(c.shape, widths, dtype)(z, train))
        return NormlessUp(c.shape, widths, c.group, dtype)(z)


class Discriminator(nn.Module):
    """`[B, *shape], one-hot [B, K] or None -> logits [B], maps [B, h, w, width] of each layer`."""

    config: Config

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, list[jax.Array]]:
        c = self.config
        widths, norm, dtype = discriminator_widths(c), c.discriminator_norm, jnp.dtype(c.dtype)
        if c.network == "strided":
            stack = DownStack(widths, c.discriminator_dense, c.kernel, norm, dtype=dtype)
            layers = stack(x, condition, train)
            out = layers[-1].reshape(x.shape[0], -1)
            out = out if condition is None else jnp.concatenate([out, condition], axis=-1)
            head = nn.Dense(1, kernel_init=nn.initializers.normal(0.02), dtype=jnp.float32)
            logits = apply_layer(norm, head, out, train)
            return logits[:, 0], layers[: len(widths)]
        if c.network == "residual":
            layers = ResidualDown(widths, norm, dtype)(x, train)
            # SNGAN adds the pixels up, WGAN-GP takes their mean.
            pool = jnp.sum if norm == "spectral" else jnp.mean
            out = pool(layers[-1].astype(jnp.float32), axis=(1, 2))
        else:
            *layers, out = NormlessDown(widths, c.group, dtype)(x)
        head = nn.Dense(1, use_bias=c.network == "residual", dtype=jnp.float32)
        logits = apply_layer(norm, head, out, train)[:, 0]
        if condition is not None:  # projection: Miyato and Koyama 2018, equation 3
            # A class begins as loud as one feature, however wide D is and however many there are.
            quiet = nn.initializers.normal(out.shape[-1] ** -0.5)
            embed = nn.Dense(
                out.shape[-1], use_bias=False, kernel_init=quiet, dtype=jnp.float32, name="embed"
            )
            logits = logits + jnp.sum(apply_layer(norm, embed, condition, train) * out, axis=1)
        return logits, layers


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    keys = jax.random.split(key)
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    networks = {
        "generator": Generator(config).init(keys[0], jnp.zeros((1, config.latent)), condition),
        "discriminator": Discriminator(config).init(
            keys[1], jnp.zeros((1, *config.shape)), condition
        ),
    }
    collections = sorted({c for variables in networks.values() for c in variables})
    variables = {c: {n: v[c] for n, v in networks.items() if c in v} for c in collections}
    return {**variables, **objective_buffers(config.method)}


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Uniform on (-1, 1), or normal: `[n, Z]`."""
    if config.noise == "normal":
        return jax.random.normal(key, (n, config.latent))
    return jax.random.uniform(key, (n, config.latent), minval=-1.0)


def generate(
    config: Config, variables: dict[str, Any], z: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """G(z) under running statistics: `[B, Z] -> [B, *shape]` in [-1, 1]; with classes, of `label`
    `[B]`."""
    mine = network_variables(variables, "generator")
    x = Generator(config).apply(mine, z, _condition(config, label, z))
    return jnp.clip(x, -1, 1)  # R3GAN's last layer is linear; what is shown has an end


def discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Logits of D(x) under running statistics, `[B]`; with classes, of `x` and `label` `[B]`."""
    checks.events("dcgan", x, config.shape)
    mine = network_variables(variables, "discriminator")
    return Discriminator(config).apply(mine, x, _condition(config, label, x))[0]


def discriminator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """By default -log D(x) - log(1 - D(G(z))), `[B]` nats; samples have the batch's labels.

    The batch is that of one turn, without the axis of critic steps.
    """
    fake, _, turn_key = _play(config, variables, batch, key)
    judge = _judge(config, variables, batch)
    return discriminator_objective(config.method, judge, variables, batch["x"], fake, turn_key)[:2]


def generator_loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """By default -log D(G(z)), `[B]` nats, as many samples as the batch has images."""
    fake, stats, turn_key = _play(config, variables, batch, key)
    judge = _judge(config, variables, batch)
    x = batch["x"]
    return generator_objective(config.method, judge, variables, x, fake, turn_key, stats)[:2]


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
    label: jax.Array | None = None,
) -> jax.Array:
    """Samples: float32 `[n, *shape]` in [-1, 1]; one image without `n`.

    With classes, of `label` `[n]`, or of labels drawn uniformly where none are given.
    """
    many = checks.sample_count(n)
    noise_key, label_key = jax.random.split(key)
    label = random_label("dcgan", config.classes, label, label_key, many)
    x = generate(config, variables, noise(config, noise_key, many), label)
    return x if n else x[0]


def encode(
    config: Config, variables: dict[str, Any], x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Maps of all the discriminator's convolutions, max-pooled to 4x4, side by side: `[B, F]`.

    Section 5.1 of the paper; 30,720 features of the default network.
    """
    checks.events("dcgan", x, config.shape)
    mine = network_variables(variables, "discriminator")
    _, maps = Discriminator(config).apply(mine, x, _condition(config, label, x))
    pooled = [_pool(m.astype(jnp.float32), POOLED) for m in maps]
    return jnp.concatenate([m.reshape(x.shape[0], -1) for m in pooled], axis=1)


def _pool(x: jax.Array, side: int) -> jax.Array:
    """The largest in each of side x side windows that cover the map; small maps stay."""
    for axis in (1, 2):
        n = x.shape[axis]
        if n <= side:
            continue
        windows = [(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
        parts = [jax.lax.slice_in_dim(x, a, b, axis=axis).max(axis) for a, b in windows]
        x = jnp.stack(parts, axis)
    return x


def _condition(config: Config, label: Any, beside: jax.Array) -> jax.Array | None:
    """The label of `[B, ...]` beside it, one-hot `[B, K]`."""
    return one_hot_condition("dcgan", config.classes, label, beside.shape[0])


def _play(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, Any, jax.Array]:
    """Samples while training, the generator's new statistics, and the key of the turn."""
    checks.batch("dcgan", batch, functools.partial(batch_spec, single_critic_step(config)))
    noise_key, turn_key = jax.random.split(key)
    z = noise(config, noise_key, batch["x"].shape[0])
    fake, new = Generator(config).apply(
        network_variables(variables, "generator"),
        z,
        _condition(config, batch.get("label"), z),
        train=True,
        mutable=["batch_stats"],
    )
    return fake, new.get("batch_stats"), turn_key


def _judge(config: Config, variables: dict[str, Any], batch: dict[str, jax.Array]) -> Any:
    """D while training, told the batch's labels."""
    condition = _condition(config, batch.get("label"), batch["x"])
    params = variables["params"]["discriminator"]

    def judge(x: jax.Array, key: jax.Array, stats: Any) -> tuple[jax.Array, Any, None]:
        del key  # no dropout
        (logits, _), new = Discriminator(config).apply(
            {"params": params, "batch_stats": stats},
            x,
            condition,
            train=True,
            mutable=["batch_stats"],
        )
        return logits, new.get("batch_stats", {}), None

    return judge
