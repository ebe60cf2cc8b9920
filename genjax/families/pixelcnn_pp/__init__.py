"""PixelCNN++: a mixture of discretised logistics for each pixel, given all before it.

p(x) = prod_i sum_k pi_k prod_c p(x_i,c | x_i,<c, k)

Salimans, Karpathy, Chen and Kingma 2017, "PixelCNN++: Improving the PixelCNN with Discretized
Logistic Mixture Likelihood and Other Modifications" (arXiv:1701.05517); the defaults are the
authors' code's for CIFAR-10 (160 features; the paper has 192). Weight normalisation begins from the
data that `init` is given, without dropout; the training loop gives it some.

Pixels condition on each other through the network, a pixel's channels through the means. So values
are drawn a pixel at a time. `sample(method=)` draws in three exact ways, see `genjax.core.autoregressive`;
`cached` computes what rows have in common once a row, and the rest once a pixel.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import (
    Traits,
    check_known,
    draw_images,
    draw_noise,
    gradient_step,
    nan_unless_level,
)
from genjax.core.autoregressive import KnownValues, SamplingMethod, batch_spec, check_image_shape
from genjax.core.autoregressive import order as order
from genjax.families.pixelcnn_pp.streams import PixelCNNPP
from genjax.losses import (
    discretized_logistic_nats,
    logistic_mixture_nats,
    moved_means,
    sum_event,
)
from genjax.nn import one_hot_condition, random_condition
from genjax.nn.causal import scaled, with_kernels

Stays = tuple[jax.Array, jax.Array]
LOWEST_LOG_SCALE = -7.0  # of the authors' code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the authors' code's for CIFAR-10."""

    shape: tuple[int, ...] = (32, 32, 3)
    """Event shape (H, W, C)."""
    levels: int = 256
    """Of a value."""
    features: int = 160
    """Feature maps of either stream."""
    blocks: int = 5
    """Gated residual blocks at each resolution, down and up."""
    halvings: int = 2
    """Times the maps are halved on the way down."""
    components: int = 10
    """Of a pixel's mixture."""
    dropout: float = 0.5
    """Share of a block's features dropped in training."""
    classes: int = 0
    """Labels that the density is conditioned on; 0 is none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the convolutions; the mixtures stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            features=self.features,
            blocks=self.blocks,
            components=self.components,
        )
        checks.not_negative(classes=self.classes, halvings=self.halvings)
        checks.fraction(dropout=self.dropout)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        check_image_shape(self.shape, self.levels)


def tiny() -> Config:
    # Of one resolution: each more would triple the time it takes to compile.
    return Config(
        shape=(3, 3, 1), levels=2, features=4, blocks=1, halvings=0, components=2, dropout=0.1
    )


def traits(config: Config) -> Traits:
    """Whole numbers of the Config's levels."""
    return Traits(
        data="levels",
        density="exact",
        sample_range=(0.0, config.levels - 1.0),
        init_examples=_init_examples(config),
    )


def _pairs(config: Config) -> int:
    """Coefficients between a pixel's channels: 3 of R, G and B."""
    return config.shape[2] * (config.shape[2] - 1) // 2


def _network(config: Config) -> PixelCNNPP:
    c = config
    outputs = c.components * (1 + 2 * c.shape[2] + _pairs(c))
    return PixelCNNPP(outputs, c.features, c.blocks, c.halvings, c.dropout, jnp.dtype(c.dtype))


def _init_examples(config: Config) -> int:
    """Training examples that `init` would like to see: 100, for its first scales."""
    return 100


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    """Without `batch`, first scales are those of uniform noise."""
    params_key, noise_key = jax.random.split(key)
    condition = None
    if batch is None:
        x = jax.random.uniform(noise_key, (2, *config.shape), minval=-1.0)
        condition = jnp.zeros((2, config.classes)) if config.classes else None
    else:
        checks.batch("pixelcnn_pp", batch, functools.partial(batch_spec, config))
        x = scaled(batch["x"], config.levels)
        condition = _condition(config, batch.get("label"), len(x))
    return _network(config).init(params_key, x, condition)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats; with dropout, of the thinned network."""
    checks.batch("pixelcnn_pp", batch, functools.partial(batch_spec, config))
    x = batch["x"]
    condition = _condition(config, batch.get("label"), x.shape[0])
    rngs = {"dropout": key} if config.dropout else None
    parts = _mixture(config, variables, x, condition, rngs)
    return sum_event(_nats(config, x, parts)), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def _condition(config: Config, label: Any, size: int) -> jax.Array | None:
    return one_hot_condition("pixelcnn_pp", config.classes, label, size)


def _mixture(
    config: Config, variables: dict[str, Any], x: jax.Array, condition: Any, rngs: Any = None
) -> tuple[jax.Array, ...]:
    """Logits `[B, H, W, K]`, means and log scales `[B, H, W, C, K]`, coefficients of channels."""
    train = rngs is not None
    out = _network(config).apply(variables, scaled(x, config.levels), condition, train, rngs=rngs)
    return _parts(config, out)


def _parts(config: Config, out: jax.Array) -> tuple[jax.Array, ...]:
    """The network's outputs `[..., outputs]` as a mixture."""
    channels, k = config.shape[2], config.components
    logits = out[..., :k]
    rest = out[..., k:].reshape(*out.shape[:-1], -1, k)  # [..., 2 C + pairs, K]
    means, log_scales = rest[..., :channels, :], rest[..., channels : 2 * channels, :]
    coefficients = jnp.tanh(rest[..., 2 * channels :, :])
    return logits, means, jnp.maximum(log_scales, LOWEST_LOG_SCALE), coefficients


def mixture(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> tuple[jax.Array, ...]:
    """What each pixel's distribution is made of, see `losses.logistic_mixture_nats`."""
    checks.events("pixelcnn_pp", x, config.shape)
    return _mixture(config, variables, x, _condition(config, label, x.shape[0]))


def log_conditionals(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x_d | values before d): `[B, *shape]` nats, 0 or below."""
    parts = mixture(config, variables, x, label)
    return -_nats(config, x, parts)


def _nats(config: Config, x: jax.Array, parts: tuple[jax.Array, ...]) -> jax.Array:
    return nan_unless_level(
        logistic_mixture_nats(x, *parts, levels=config.levels), x, config.levels
    )


def log_prob(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """Exact log p(x), with classes log p(x | label): `[B]` nats."""
    return sum_event(log_conditionals(config, variables, x, label))


def draw_mixture(
    parts: tuple[jax.Array, ...], noise: jax.Array, levels: int, stays: Stays | None = None
) -> jax.Array:
    """The values at which the cumulative probability passes `noise`, channel after channel.

    By bisection: the cumulative distribution of a mixture of logistics is known in closed form.

    Args:
      parts: of `mixture`.
      noise: uniform in (0, 1), `[B, H, W, C]`.
      levels: of a value.
      stays: images, and bool of all their values whether it stays and later channels see it; both
        `[B, H, W, C]`.
    """
    logits, means, log_scales, coefficients = parts
    log_weights = jax.nn.log_softmax(logits, axis=-1)
    x = jnp.zeros_like(noise)
    for c in range(noise.shape[-1]):
        unit = scaled(x, levels)
        mean = moved_means(means, coefficients, unit)[..., c, :]
        inverse = jnp.exp(-log_scales[..., c, :])
        weights = jax.nn.softmax(log_weights, axis=-1)
        u = noise[..., c]

        def cumulative(
            v: jax.Array, mean: jax.Array = mean, inverse: Any = inverse, weights: Any = weights
        ) -> jax.Array:
            edge = scaled(v, levels) + 1 / (levels - 1)
            passed = jax.nn.sigmoid((edge[..., None] - mean) * inverse)
            # By the weights' own sum, which rounding may leave below 1.
            return jnp.sum(weights * passed, axis=-1) / jnp.sum(weights, axis=-1)

        # The smallest v with u < P(x <= v) lies in [low, high]; the last level needs no sum.
        low, high = jnp.zeros_like(u), jnp.full_like(u, levels - 1)
        for _ in range(math.ceil(math.log2(levels))):
            middle = jnp.floor((low + high) / 2)
            passed = u < cumulative(middle)
            low, high = (
                jnp.where(passed, low, jnp.minimum(middle + 1, high)),
                jnp.where(passed, middle, high),
            )
        value = jnp.where(jnp.isnan(cumulative(low)), jnp.nan, low)
        if stays is not None:
            image, known = stays
            value = jnp.where(known[..., c], image[..., c], value)
        x = x.at[..., c].set(value)
        # What this channel says of the component.
        whole = jnp.broadcast_to(value[..., None], mean.shape)
        log_weights = log_weights - discretized_logistic_nats(
            whole, mean, log_scales[..., c, :], levels=levels
        )
    return x


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    *,
    label: jax.Array | None = None,
    given: KnownValues | None = None,
    method: SamplingMethod = "cached",
) -> jax.Array:
    """Exact samples: float32 `[n, *shape]` of levels 0 .. levels - 1; one image without `n`.

    Args:
      config: the settings.
      variables: of the network.
      key: of the draws; all methods make the same images of it, up to the rounding of logits.
      n: how many.
      label: `[n]`, with classes; drawn uniformly where none are given.
      given: images `[n, *shape]` and a bool mask `[*shape]` of the values that stay; these must
        come first in the order.
      method: see `genjax.core.autoregressive`.
    """
    noise_key, label_key = jax.random.split(key)
    many = checks.sample_count(n)
    noise = draw_noise(noise_key, many, config.shape)
    given = check_known("pixelcnn_pp", given, noise, config.levels)
    condition = random_condition("pixelcnn_pp", config.classes, label, label_key, many)
    stays = given and (given[0], jnp.broadcast_to(jnp.asarray(given[1])[None], noise.shape))

    def draw(x: jax.Array) -> jax.Array:
        parts = _mixture(config, variables, x, condition)
        return draw_mixture(parts, noise, config.levels, stays)

    def cached() -> jax.Array:
        return _cached(config, variables, noise, condition, stays)

    x = draw_images(method, draw, cached, noise, given, together=config.shape[2])
    return x if n else x[0]


def _cached(
    config: Config,
    variables: dict[str, Any],
    noise: jax.Array,
    condition: jax.Array | None,
    stays: Stays | None,
) -> jax.Array:
    """Row by row, pixel by pixel: `noise [B, H, W, C] -> x`."""
    network = _network(config)
    batch, rows, columns, channels = noise.shape
    fixed = with_kernels(network, variables, noise, condition)
    made = functools.partial(network.apply, mutable=["cache"])
    _, empty = jax.tree.map(jnp.zeros_like, jax.eval_shape(made, fixed, noise, condition))

    def row(carry: Any, r: jax.Array) -> tuple[Any, jax.Array]:
        cache, above = carry
        of_row, new = network.apply(
            {**fixed, **cache}, above, condition, r, method="row", mutable=["cache"]
        )

        def pixel(carry: Any, column: jax.Array) -> tuple[Any, jax.Array]:
            cache, left = carry
            out, new = network.apply(
                {**fixed, **cache},
                left,
                of_row,
                condition,
                r,
                column,
                method="pixel",
                mutable=["cache"],
            )

            def at(a: Any) -> Any:
                return jax.lax.dynamic_slice(a, (0, r, column, 0), (len(a), 1, 1, channels))

            parts = _parts(config, out[:, None, None])
            mine = stays and (at(stays[0]), at(stays[1]))
            x = draw_mixture(parts, at(noise), config.levels, mine)
            return (new, scaled(x, config.levels)), x[:, 0, 0]

        left = jnp.zeros((batch, 1, 1, channels))
        (cache, _), x = jax.lax.scan(pixel, (new, left), jnp.arange(columns))
        x = jnp.moveaxis(x, 0, 1)  # [B, W, C]
        return (cache, scaled(x[:, None], config.levels)), x

    first = jnp.zeros((batch, 1, columns, channels))
    _, x = jax.lax.scan(row, (empty, first), jnp.arange(rows))
    return jnp.moveaxis(x, 0, 1)
