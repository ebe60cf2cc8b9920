"""PixelCNN++: a mixture of discretized logistics for each pixel, given all pixels before it.

p(x) = prod_i sum_k pi_k prod_c p(x_i,c | x_i,<c, k)

Pixels depend on each other through the network, the channels of a pixel through the means, so the
channels of a pixel are drawn together.

Salimans, Karpathy, Chen and Kingma 2017, "PixelCNN++: Improving the PixelCNN with Discretized
Logistic Mixture Likelihood and Other Modifications" (arXiv:1701.05517); the defaults are those of
the authors' code for CIFAR-10 (160 features; the paper has 192). Weight normalization is
initialized from the batch that `init` is given, without dropout.
"""

import dataclasses
import functools
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import compiled_init, draw_images, draw_noise, image_samplers, nan_unless_level
from genjax.core.autoregressive import KnownValues, check_image_shape
from genjax.core.autoregressive import order as order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.families.pixelcnn_pp.streams import PixelCNNPP
from genjax.losses import (
    discretized_logistic_nats,
    logistic_mixture_nats,
    moved_means,
    sum_event,
)
from genjax.nn import one_hot_condition, random_condition
from genjax.nn.causal import scale_levels, with_cached_kernels

Known = tuple[jax.Array, jax.Array]  # images and bool, [B, H, W, C] each
LOWEST_LOG_SCALE = -7.0  # of the authors' code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are those of the authors' code for CIFAR-10."""

    shape: checks.PositiveInts = (32, 32, 3)
    """Event shape (H, W, C)."""
    levels: Annotated[int, checks.Bounds(2)] = 256
    """Number of values of an entry."""
    features: checks.PositiveInt = 160
    """Feature maps of either stream."""
    blocks: checks.PositiveInt = 5
    """Gated residual blocks at each resolution, down and up."""
    halvings: checks.NonNegativeInt = 2
    """Number of times that the resolution is halved."""
    components: checks.PositiveInt = 10
    """Number of components of a pixel's mixture."""
    dropout: checks.UnitInterval = 0.5
    """Dropout rate of a block's features."""
    classes: checks.NonNegativeInt = 0
    """Number of labels that the density is conditioned on; 0 is unconditional."""
    dtype: checks.Dtype = "float32"
    """Dtype of the convolutions; the mixtures are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_image_shape(self.shape)


def tiny() -> Config:
    # One resolution: each further one would triple the compile time.
    return Config(
        shape=(3, 3, 1), levels=2, features=4, blocks=1, halvings=0, components=2, dropout=0.1
    )


def traits(config: Config) -> Traits:
    return Traits(
        data="levels", density="exact", sample_range=(0.0, config.levels - 1.0), init_examples=100
    )


def _network(config: Config) -> PixelCNNPP:
    channels = config.shape[2]
    pairs = channels * (channels - 1) // 2
    return PixelCNNPP(config, config.components * (1 + 2 * channels + pairs))


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    """Returns parameters whose first outputs are standardized on a batch, or on uniform noise."""
    params_key, noise_key = jax.random.split(key)
    condition = None
    if batch is None:
        x = jax.random.uniform(noise_key, (2, *config.shape), minval=-1.0)
        condition = jnp.zeros((2, config.classes)) if config.classes else None
    else:
        check_batch("pixelcnn_pp", config, batch)
        x = scale_levels(batch["x"], config.levels)
        condition = one_hot_condition("pixelcnn_pp", config.classes, batch.get("label"), len(x))
    return _network(config).init(params_key, x, condition)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), `[B]` nats, with dropout."""
    check_batch("pixelcnn_pp", config, batch)
    x = batch["x"]
    condition = one_hot_condition("pixelcnn_pp", config.classes, batch.get("label"), len(x))
    rngs = {"dropout": key} if config.dropout else None
    parts = _mixture(config, variables, x, condition, rngs)
    return sum_event(_nats(config, x, parts)), {}


def _mixture(
    config: Config, variables: Variables, x: jax.Array, condition: Any, rngs: Any = None
) -> tuple[jax.Array, ...]:
    """See `mixture`; `rngs` enables dropout."""
    train = rngs is not None
    out = _network(config).apply(
        variables, scale_levels(x, config.levels), condition, train, rngs=rngs
    )
    return _parts(config, out)


def _parts(config: Config, out: jax.Array) -> tuple[jax.Array, ...]:
    """Splits the network's outputs `[..., outputs]` into the parameters of mixtures."""
    channels, k = config.shape[2], config.components
    logits = out[..., :k]
    rest = out[..., k:].reshape(*out.shape[:-1], -1, k)  # [..., 2 C + pairs, K]
    means, log_scales = rest[..., :channels, :], rest[..., channels : 2 * channels, :]
    coefficients = jnp.tanh(rest[..., 2 * channels :, :])
    return logits, means, jnp.maximum(log_scales, LOWEST_LOG_SCALE), coefficients


def mixture(
    config: Config, variables: Variables, x: jax.Array, label: Any = None
) -> tuple[jax.Array, ...]:
    """Computes the parameters of each pixel's mixture, see `losses.logistic_mixture_nats`.

    Returns:
      logits `[B, H, W, K]`, means and log scales `[B, H, W, C, K]`, coefficients
      `[B, H, W, C (C - 1) / 2, K]`.
    """
    checks.events("pixelcnn_pp", x, config.shape)
    condition = one_hot_condition("pixelcnn_pp", config.classes, label, x.shape[0])
    return _mixture(config, variables, x, condition)


def log_conditionals(
    config: Config, variables: Variables, x: jax.Array, label: Any = None
) -> jax.Array:
    """Computes log p(x_d | values before d), `[B, *shape]` nats."""
    return -_nats(config, x, mixture(config, variables, x, label))


def _nats(config: Config, x: jax.Array, parts: tuple[jax.Array, ...]) -> jax.Array:
    names = ("logits", "means", "log_scales", "coefficients")
    given = dict(zip(names, parts, strict=True))
    nats = logistic_mixture_nats(x, **given, levels=config.levels)
    return nan_unless_level(nats, x, config.levels)


def log_prob(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Computes log p(x), or log p(x | label), `[B]` nats."""
    check_density(Config, config, variables, x, config.levels)
    return sum_event(log_conditionals(config, variables, x, label))


def draw_mixture(
    parts: tuple[jax.Array, ...], noise: jax.Array, levels: int, given: Known | None = None
) -> jax.Array:
    """Samples by inverting the cumulative distribution with bisection, channel after channel.

    `parts` are those of `mixture`, `noise` `[B, H, W, C]` is uniform in (0, 1). Known values are
    kept, and later channels of their pixel depend on them. Returns `[B, H, W, C]` float32.
    """
    logits, means, log_scales, coefficients = parts
    log_weights = jax.nn.log_softmax(logits, axis=-1)
    x = jnp.zeros_like(noise)
    for c in range(noise.shape[-1]):
        unit = scale_levels(x, levels)
        mean = moved_means(means, coefficients, unit)[..., c, :]
        inverse = jnp.exp(-log_scales[..., c, :])
        weights = jax.nn.softmax(log_weights, axis=-1)
        u = noise[..., c]

        def cumulative(
            v: jax.Array, mean: jax.Array = mean, inverse: Any = inverse, weights: Any = weights
        ) -> jax.Array:
            edge = scale_levels(v, levels) + 1 / (levels - 1)
            passed = jax.nn.sigmoid((edge[..., None] - mean) * inverse)
            # Rounding may leave the sum of the weights below 1.
            return jnp.sum(weights * passed, axis=-1) / jnp.sum(weights, axis=-1)

        # The smallest v with u < P(x <= v) is in [low, high].
        low, high = jnp.zeros_like(u), jnp.full_like(u, levels - 1)
        for _ in range(math.ceil(math.log2(levels))):
            middle = jnp.floor((low + high) / 2)
            passed = u < cumulative(middle)
            low, high = (
                jnp.where(passed, low, jnp.minimum(middle + 1, high)),
                jnp.where(passed, middle, high),
            )
        value = jnp.where(jnp.isnan(cumulative(low)), jnp.nan, low)
        if given is not None:
            image, known = given
            value = jnp.where(known[..., c], image[..., c], value)
        x = x.at[..., c].set(value)
        # Posterior of the component given this channel.
        whole = jnp.broadcast_to(value[..., None], mean.shape)
        log_weights = log_weights - discretized_logistic_nats(
            whole, mean, log_scale=log_scales[..., c, :], levels=levels
        )
    return x


def _draw(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int,
    prefix: KnownValues | None,
    method: str,
    label: jax.Array | None = None,
) -> jax.Array:
    noise_key, label_key = jax.random.split(key)
    noise = draw_noise(noise_key, n, config.shape)
    condition = random_condition("pixelcnn_pp", config.classes, label, label_key, n)
    given = prefix and (prefix[0], jnp.broadcast_to(jnp.asarray(prefix[1])[None], noise.shape))

    def draw(x: jax.Array) -> jax.Array:
        parts = _mixture(config, variables, x, condition)
        return draw_mixture(parts, noise, config.levels, given)

    def cached() -> jax.Array:
        return _cached(config, variables, noise, condition, given)

    return draw_images(method, draw, cached, noise, prefix, together=config.shape[2])


sample, complete = image_samplers("pixelcnn_pp", _draw)


def _cached(
    config: Config,
    variables: Variables,
    noise: jax.Array,
    condition: jax.Array | None,
    given: Known | None,
) -> jax.Array:
    """Samples `[B, H, W, C]` pixel by pixel, with the features of earlier pixels in a cache."""
    network = _network(config)
    batch, rows, columns, channels = noise.shape
    fixed = with_cached_kernels(network, variables, noise, condition)
    whole = functools.partial(network.apply, mutable=["cache"])
    _, empty = jax.tree.map(jnp.zeros_like, jax.eval_shape(whole, fixed, noise, condition))

    def row(carry: Any, r: jax.Array) -> tuple[Any, jax.Array]:
        cache, above = carry
        row_features, new = network.apply(
            {**fixed, **cache}, above, condition, r, method="row", mutable=["cache"]
        )

        def pixel(carry: Any, column: jax.Array) -> tuple[Any, jax.Array]:
            cache, left = carry
            out, new = network.apply(
                {**fixed, **cache},
                left,
                row_features,
                condition,
                r,
                column,
                method="pixel",
                mutable=["cache"],
            )

            def at(a: Any) -> Any:
                return jax.lax.dynamic_slice(a, (0, r, column, 0), (len(a), 1, 1, channels))

            parts = _parts(config, out[:, None, None])
            known_here = given and (at(given[0]), at(given[1]))
            x = draw_mixture(parts, at(noise), config.levels, known_here)
            return (new, scale_levels(x, config.levels)), x[:, 0, 0]

        left = jnp.zeros((batch, 1, 1, channels))
        (cache, _), x = jax.lax.scan(pixel, (new, left), jnp.arange(columns))
        x = jnp.moveaxis(x, 0, 1)  # [B, W, C]
        return (cache, scale_levels(x[:, None], config.levels)), x

    first = jnp.zeros((batch, 1, columns, channels))
    _, x = jax.lax.scan(row, (empty, first), jnp.arange(rows))
    return jnp.moveaxis(x, 0, 1)
