"""InfoGAN: a GAN that maximises the information its samples carry about part of their noise.

    min_{G,Q} max_D  V(D, G) - lambda L_I(G, Q),   L_I = E[log q(c | G(z, c))] + H(c)

Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing
Generative Adversarial Nets" (arXiv:1606.03657), eqs. 5 and 6; the networks are those of appendix
C.1 for MNIST. Q shares all layers with D except the last two, and is trained by D's optimizer, as
in the authors' code: the losses of both networks have the term -lambda L_I. The bound of each code
is logged by its position, in nats: `generator_information_0` is at most log 10 by default.

See `genjax.core.adversarial` for what papers leave open. Noise and codes are drawn again for every
update.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import checks
from genjax.checks import Dtype, NonNegativeFloat, PositiveInt, PositiveInts
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
from genjax.losses import code_information
from genjax.nn import DownStack, UpStack
from genjax.nn.sizes import check_smallest_map
from genjax.nn.strided import normalize

SLOPE = 0.1  # of LeakyReLU, appendix C


class Code(NamedTuple):
    """One of the latent codes."""

    kind: Literal["categorical", "uniform", "gaussian"]
    size: int  # categories, or dimensions
    weight: float  # lambda
    outputs: int  # outputs of q for this code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture, codes and objective; the defaults are the paper's for MNIST."""

    shape: PositiveInts = (28, 28, 1)
    """Event shape (H, W, C)."""
    latent: PositiveInt = 62
    """Dimensions of the noise, uniform on (-1, 1)."""
    categorical: tuple[PositiveInt, ...] = (10,)
    """Number of categories of each categorical code, with equal probabilities."""
    uniform: tuple[PositiveInt, ...] = (1, 1)
    """Dimensions of each code on (-1, 1)."""
    gaussian: tuple[PositiveInt, ...] = ()
    """Dimensions of each code from N(0, 1)."""
    weights: tuple[NonNegativeFloat, ...] = ()
    """lambda of each code: categorical ones first, Gaussian ones last; () is 1 for all."""
    code_width: bool = False
    """Whether q of a continuous code has a learnt standard deviation per image; else it is 1."""
    generator_dense: PositiveInts = (1024,)
    """Units of the generator's dense layers before its first map."""
    generator_widths: PositiveInts = (128, 64)
    """Channels of its maps, smallest map first."""
    discriminator_widths: PositiveInts = (64, 128)
    """Channels of the maps of D and Q."""
    discriminator_dense: PositiveInts = (1024,)
    """Units of the dense layers that D and Q share."""
    code_hidden: PositiveInt = 128
    """Units of Q's own hidden layer."""
    kernel: PositiveInt = 4
    """Side of the convolutions."""
    objective: GanObjective = dataclasses.field(default_factory=GanObjective)
    """Loss, penalties and update schedule."""
    dtype: Dtype = "float32"
    """Computation of the hidden layers; images and logits stay float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_gradient_penalties(self.objective, "batch")
        if len(self.shape) != 3:
            raise ValueError(checks.no_image_shape(self.shape))
        check_smallest_map(self.shape, self.generator_widths, "generator_widths", "smallest")
        widths = self.discriminator_widths
        check_smallest_map(self.shape, widths, "discriminator_widths", "largest")
        count = len(self.categorical) + len(self.uniform) + len(self.gaussian)
        if not count:
            raise ValueError("infogan needs at least one code; family dcgan has none.")
        if self.code_width and count == len(self.categorical):
            raise ValueError("code_width needs a continuous code; set uniform or gaussian.")
        if self.weights and len(self.weights) != count:
            raise ValueError(
                f"weights must have one entry for each of the {count} codes, got {self.weights}."
            )


def traits(config: Config) -> Traits:
    del config
    return Traits(data="images", density="none", ema=("generator",))


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


def codes(config: Config) -> tuple[Code, ...]:
    """Returns the codes, in the order in which they follow the noise in the generator's input."""
    sizes: list[Any] = [("categorical", n) for n in config.categorical]
    sizes += [("uniform", n) for n in config.uniform]
    sizes += [("gaussian", n) for n in config.gaussian]
    weights = config.weights or (1.0,) * len(sizes)
    out = []
    for (kind, size), weight in zip(sizes, weights, strict=True):
        double = config.code_width and kind != "categorical"
        out.append(Code(kind, size, weight, 2 * size if double else size))
    return tuple(out)


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
        outputs = sum(code.outputs for code in codes(c))
        q = nn.Dense(outputs, kernel_init=kernel_init, dtype=jnp.float32, name="codes")(q)
        return logits[:, 0], q, shared


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    generator_key, discriminator_key = jax.random.split(key)
    z = jnp.zeros((1, config.latent + sum(code.size for code in codes(config))))
    networks = {
        "generator": Generator(config).init(generator_key, z),
        "discriminator": Discriminator(config).init(
            discriminator_key, jnp.zeros((1, *config.shape))
        ),
    }
    return merge_networks(networks, config.objective)


def noise(config: Config, key: jax.Array, n: int) -> jax.Array:
    """Draws noise followed by codes, categorical ones as one-hot: `[n, Z + C]`."""
    noise_key, code_key = jax.random.split(key)
    out = [jax.random.uniform(noise_key, (n, config.latent), minval=-1.0)]
    keys = jax.random.split(code_key, len(codes(config)))
    for code, k in zip(codes(config), keys, strict=True):
        if code.kind == "categorical":
            out.append(jax.nn.one_hot(jax.random.randint(k, (n,), 0, code.size), code.size))
        elif code.kind == "uniform":
            out.append(jax.random.uniform(k, (n, code.size), minval=-1.0))
        else:
            out.append(jax.random.normal(k, (n, code.size)))
    return jnp.concatenate(out, axis=1)


def generate(config: Config, variables: dict[str, Any], z: jax.Array) -> jax.Array:
    """Computes G(z, c) of noise and codes: `[B, Z + C] -> [B, *shape]` in (0, 1)."""
    return apply_network(Generator(config), variables, "generator", z)


def discriminate(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Computes the logits of D(x), `[B]`."""
    return _discriminate(config, variables, x)[0]


def code_posterior(config: Config, variables: dict[str, Any], x: jax.Array) -> tuple[Any, ...]:
    """Computes q(c | x), one entry per code.

    Returns:
      Logits `[B, K]` of a categorical code; mean and log standard deviation, `[B, size]` each, of
      a continuous one.
    """
    return _split(config, _discriminate(config, variables, x)[1])


def _information(
    config: Config, outputs: Any, z: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes -lambda L_I, `[B]`, and the bound of each code for the log."""
    bounds, start = [], config.latent
    for code, posterior in zip(codes(config), _split(config, outputs[0]), strict=True):
        bounds.append(code_information(code.kind, posterior, z[:, start : start + code.size]))
        start += code.size
    weighted = [code.weight * b for code, b in zip(codes(config), bounds, strict=True)]
    return -sum(weighted[1:], weighted[0]), {f"information_{i}": b for i, b in enumerate(bounds)}


# By default -log D(x) - log(1 - D(G(z, c))) - lambda L_I and -log D(G(z, c)) - lambda L_I, in nats.
LOSSES: Mapping[str, LossFn] = gan_losses(
    "infogan",
    Generator,
    Discriminator,
    noise=noise,
    regularizer=_information,
)


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    *,
    codes: jax.Array | None = None,
) -> jax.Array:
    """Draws samples, float32 `[n, *shape]` in (0, 1); one image without `n`.

    Args:
      config: the Config.
      variables: its variables.
      key: of noise and codes; the noise does not depend on whether codes are given.
      n: number of samples.
      codes: `[n, C]` in the order of the function `codes`; None draws them.
    """
    checks.sampling(Config, config, variables, key)
    z = noise(config, key, checks.sample_count(n))
    if codes is not None:
        checks.same_shape("infogan.sample", codes=codes, drawn=z[:, config.latent :])
        z = jnp.concatenate([z[:, : config.latent], codes], axis=1)
    x = generate(config, variables, z)
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Returns the last layer that D and Q share as unsupervised features: `[B, F]`."""
    return _discriminate(config, variables, x)[2].astype(jnp.float32)


def _discriminate(
    config: Config, variables: dict[str, Any], x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    checks.events("infogan", x, config.shape)
    return apply_network(Discriminator(config), variables, "discriminator", x)


def _split(config: Config, q: jax.Array) -> tuple[Any, ...]:
    """Splits outputs of q `[B, P]` into those of each code, see `code_posterior`."""
    out: list[Any] = []
    start = 0
    for code in codes(config):
        part = q[:, start : start + code.outputs]
        start += code.outputs
        if code.kind == "categorical":
            out.append(part)
        elif config.code_width:
            out.append((part[:, : code.size], part[:, code.size :]))
        else:
            out.append((part, jnp.zeros_like(part)))
    return tuple(out)
