"""DCGAN: a convolutional GAN. Samples in [-1, 1], features, and no density.

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (arXiv:1511.06434), section 3 and figure 1; settings from the code the authors
released for faces. The defaults are that network at 64x64; other sizes follow from `shape`.

`network="residual"` selects the networks of WGAN-GP and SNGAN, `"r3gan"` those of R3GAN. Losses and
penalties are in `Config.objective`, normalisation in `Config.discriminator_norm`. See
`genjax.core.adversarial` for what papers leave open.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonNegativeInt, PositiveInt, PositiveInts
from genjax.core import (
    GanObjective,
    Traits,
    apply_network,
    check_gradient_penalties,
    compiled_init,
    gan_losses,
    merge_networks,
)
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.protocols import LossFn
from genjax.families.dcgan.r3gan import EXPANSION, R3GanDown, R3GanUp
from genjax.families.dcgan.residual import ResidualDown, ResidualUp
from genjax.nn import DownStack, UpStack, one_hot_condition, random_label
from genjax.nn.sizes import check_smallest_map
from genjax.nn.strided import apply_layer

POOLED = 4  # side of the features' maps: section 5.1 of the paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and objective; the defaults are the paper's at 64x64."""

    shape: PositiveInts = (64, 64, 3)
    """Event shape (H, W, C)."""
    latent: PositiveInt = 100
    """Dimensions of the noise."""
    noise: Literal["uniform", "normal"] = "uniform"
    """Distribution of the noise: on (-1, 1), or N(0, 1)."""
    network: Literal["strided", "residual", "r3gan"] = "strided"
    """Kind of both networks: the paper's, WGAN-GP's and SNGAN's, or R3GAN's."""
    generator_widths: tuple[PositiveInt, ...] = ()
    """Channels of the generator's maps, smallest map first. () doubles from 128, up to 1024, as
    often as the shorter side of `shape` can be halved, rounded up, and is 4 to 7 in the end: 1024,
    512, 256, 128 at 64x64; 256, 128 at 28x28, where 7x7 is the smallest map; 512, 256, 128 at
    50x50. r3gan's last stage does not resize, so it has one more."""
    discriminator_widths: tuple[PositiveInt, ...] = ()
    """Channels of the discriminator's maps, largest map first; () reverses the generator's."""
    generator_dense: tuple[PositiveInt, ...] = ()
    """strided: units of dense layers before the first map; 1024 in the authors' MNIST network."""
    discriminator_dense: tuple[PositiveInt, ...] = ()
    """strided: units of dense layers after the last map."""
    kernel: PositiveInt = 5
    """strided: side of the convolutions."""
    generator_norm: Literal["batch", "none"] = "batch"
    """strided: normalisation after every layer of the generator except the last."""
    discriminator_norm: Literal["batch", "layer", "spectral", "none"] = "batch"
    """Normalisation after every layer of the discriminator except the first and the last; spectral:
    of the weights of all layers."""
    group: PositiveInt = 16
    """r3gan: channels per group of its grouped convolutions."""
    classes: NonNegativeInt = 0
    """Number of labels that both networks are conditioned on; 0 is unconditional."""
    objective: GanObjective = dataclasses.field(default_factory=GanObjective)
    """Loss, penalties and update schedule."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        if self.network == "residual" and self.discriminator_norm == "batch":
            raise ValueError(
                "the residual discriminator has no batch normalisation, which gradient penalties"
                " exclude; set discriminator_norm to none, layer or spectral."
            )
        if self.network == "r3gan" and self.discriminator_norm != "none":
            raise ValueError(
                "the r3gan network has no normalisation; set discriminator_norm to none."
            )
        check_gradient_penalties(self.objective, self.discriminator_norm)
        if self.network != "r3gan":
            check_smallest_map(self.shape, generator_widths(self), "generator_widths", "smallest")
        strided = ("generator_dense", "discriminator_dense", "kernel", "generator_norm")
        for name, network in (dict.fromkeys(strided, "strided") | {"group": "r3gan"}).items():
            default = Config.__dataclass_fields__[name].default
            if self.network != network and getattr(self, name) != default:
                raise ValueError(
                    f"{name} is a setting of the {network} network, not of {self.network}; leave it"
                    f" at {default}, or set network to {network}."
                )
        for width in generator_widths(self) + discriminator_widths(self):
            expanded = EXPANSION * width
            if self.network == "r3gan" and expanded % max(1, expanded // self.group):
                raise ValueError(
                    f"{width} channels expand to {expanded}, which is not divisible into groups of"
                    f" {self.group}; use widths that are multiples of"
                    f" {self.group // math.gcd(self.group, EXPANSION)}, or another group."
                )


def traits(config: Config) -> Traits:
    return Traits(
        data="images",
        density="none",
        sample_range=(-1.0, 1.0),
        ema=("generator",),
        normal_noise=config.noise == "normal",
    )


def tiny() -> Config:
    return Config(
        shape=(3, 3, 1),
        latent=4,
        generator_widths=(6, 4),
        discriminator_widths=(4, 6),
        kernel=3,
    )


def generator_widths(config: Config) -> tuple[int, ...]:
    """Returns the channels of the generator's maps, smallest map first."""
    if config.generator_widths:
        return config.generator_widths
    times, side = int(config.network == "r3gan"), min(config.shape[:2])
    while side >= 2 * POOLED:
        times, side = times + 1, -(-side // 2)
    return tuple(min(128 * 2**i, 1024) for i in reversed(range(max(times, 1))))


def discriminator_widths(config: Config) -> tuple[int, ...]:
    """Returns the channels of the discriminator's maps, largest map first."""
    return config.discriminator_widths or generator_widths(config)[::-1]


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
            stack = UpStack(
                c.shape, widths, c.generator_dense, c.kernel, c.generator_norm, dtype=dtype
            )
            return jnp.tanh(stack(z, condition, train))
        z = z if condition is None else jnp.concatenate([z, condition], axis=-1)
        if c.network == "residual":
            return jnp.tanh(ResidualUp(c.shape, widths, dtype)(z, train))
        # Flax derives initial weights from names: this one is kept from before the class's own.
        return R3GanUp(c.shape, widths, c.group, dtype, name="NormlessUp_0")(z)


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
            # SNGAN sums over pixels, WGAN-GP averages.
            pool = jnp.sum if norm == "spectral" else jnp.mean
            out = pool(layers[-1].astype(jnp.float32), axis=(1, 2))
        else:
            *layers, out = R3GanDown(widths, c.group, dtype, name="NormlessDown_0")(x)
        head = nn.Dense(1, use_bias=c.network == "residual", dtype=jnp.float32)
        logits = apply_layer(norm, head, out, train)[:, 0]
        if condition is not None:  # projection: Miyato and Koyama 2018, equation 3
            # Initially a class contributes as much as one feature, whatever the width.
            initial = nn.initializers.normal(out.shape[-1] ** -0.5)
            embed = nn.Dense(
                out.shape[-1], use_bias=False, kernel_init=initial, dtype=jnp.float32, name="embed"
            )
            logits = logits + jnp.sum(apply_layer(norm, embed, condition, train) * out, axis=1)
        return logits, layers


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    z, x = jnp.zeros((1, config.latent)), jnp.zeros((1, *config.shape))
    networks = {
        "generator": Generator(config).init(generator_key, z, condition),
        "discriminator": Discriminator(config).init(discriminator_key, x, condition),
    }
    return merge_networks(networks, config.objective)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws noise, uniform on (-1, 1) or normal: `[n, Z]`."""
    if config.noise == "normal":
        return jax.random.normal(key, (n, config.latent))
    return jax.random.uniform(key, (n, config.latent), minval=-1.0)


def generate(
    config: Config, variables: dict[str, Any], z: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Computes G(z), `[B, Z] -> [B, *shape]` in [-1, 1]; with classes, given `label` `[B]`."""
    condition = one_hot_condition("dcgan", config.classes, label, z.shape[0])
    x = apply_network(Generator(config), variables, "generator", z, condition)
    return jnp.clip(x, -1, 1)  # R3GAN's output layer is linear


def discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Computes the logits of D(x), `[B]`; with classes, given `label` `[B]`."""
    return _discriminate(config, variables, x, label)[0]


# By default -log D(x) - log(1 - D(G(z))) and -log D(G(z)), [B] nats, with the batch's labels.
LOSSES: Mapping[str, LossFn] = gan_losses(
    "dcgan",
    Generator,
    Discriminator,
    noise=noise,
    condition=lambda config, batch: (
        one_hot_condition("dcgan", config.classes, batch.get("label"), batch["x"].shape[0]),
    ),
)


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    *,
    label: jax.Array | None = None,
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]` in [-1, 1]; one image without `n`.

    With classes, given `label` `[n]`, or labels drawn uniformly without it.
    """
    checks.sampling(Config, config, variables, key)
    count = checks.sample_count(n)
    noise_key, label_key = jax.random.split(key)
    label = random_label("dcgan", config.classes, label, label_key, count)
    x = generate(config, variables, noise(config, noise_key, count), label)
    return x if n else x[0]


def encode(
    config: Config, variables: dict[str, Any], x: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """Returns the maps of the discriminator's convolutions, max-pooled to 4x4, flat: `[B, F]`.

    Section 5.1 of the paper; 30,720 features of the default network.
    """
    maps = _discriminate(config, variables, x, label)[1]
    pooled = [_pool(m.astype(jnp.float32), POOLED) for m in maps]
    return jnp.concatenate([m.reshape(x.shape[0], -1) for m in pooled], axis=1)


def _discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array, label: jax.Array | None
) -> tuple[jax.Array, list[jax.Array]]:
    checks.events("dcgan", x, config.shape)
    condition = one_hot_condition("dcgan", config.classes, label, x.shape[0])
    return apply_network(Discriminator(config), variables, "discriminator", x, condition)


def _pool(x: jax.Array, side: int) -> jax.Array:
    """Takes the maximum of side x side windows that cover a map; smaller maps are unchanged."""
    for axis in (1, 2):
        n = x.shape[axis]
        if n <= side:
            continue
        windows = [(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
        parts = [jax.lax.slice_in_dim(x, a, b, axis=axis).max(axis) for a, b in windows]
        x = jnp.stack(parts, axis)
    return x
