"""PixelCNN: an image's conditionals by masked convolutions, all at once in training.

p(x) = prod_i p(x_i,R | x_<i) p(x_i,G | x_<i, x_i,R) p(x_i,B | x_<i, x_i,R, x_i,G)

`network="masked"`: van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759),
sections 3.3 to 3.5 and figure 5. Its field has a blind spot: what lies up and to the right beyond
the slope of its kernels.

`network="gated"`: van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders"
(arXiv:1606.05328), sections 2.1 to 2.3: a vertical stack for all rows above, a horizontal one for
the pixel's own row, gates tanh(f) sigmoid(g) with a bias for each class, and no blind spot.

Values are binary, or `levels` of them. `sample(method=)` draws in three exact ways, see
`genjax.core.autoregressive`; `cached` computes the features of every pixel once a channel.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import (
    Traits,
    check_known,
    conditional_nats,
    draw_images,
    draw_noise,
    draw_values,
    gradient_step,
)
from genjax.core.autoregressive import (
    KnownValues,
    SamplingMethod,
    batch_spec,
    check_image_shape,
    level_traits,
)
from genjax.core.autoregressive import order as order
from genjax.families.pixelcnn.stacks import Gated, Masked, Sizes
from genjax.losses import sum_event
from genjax.nn import one_hot_condition, random_condition
from genjax.nn.causal import with_kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are a gated network for binarised MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape (H, W, C)."""
    levels: int = 2
    """Of a value: 2 is binary; 256 is a softmax over bytes, of `x` from 0 to 255."""
    network: Literal["masked", "gated"] = "gated"
    """Of 2016's first paper, or of its second."""
    layers: int = 10
    """Residual blocks, or gated layers, after the first convolution."""
    features: int = 64
    """Feature maps h of a layer; the residual stream of the masked network has 2h."""
    first: int = 7
    """Side of the first convolution's kernel."""
    kernel: int = 3
    """Side of the others'."""
    head: int = 32
    """Feature maps of the last two 1x1 layers (32 for MNIST, 1024 for CIFAR-10)."""
    dropout: float = 0.0
    """Share of each layer's features dropped in training, of the gated network in its horizontal
    stack alone; not in the papers."""
    classes: int = 0
    """Labels that the density is conditioned on; 0 is none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the convolutions; logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            layers=self.layers,
            features=self.features,
            first=self.first,
            kernel=self.kernel,
            head=self.head,
        )
        checks.not_negative(classes=self.classes)
        checks.fraction(dropout=self.dropout)
        checks.one_of(("masked", "gated"), network=self.network)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        check_image_shape(self.shape, self.levels, features=self.features, head=self.head)
        if self.first % 2 == 0 or self.kernel % 2 == 0 or min(self.first, self.kernel) < 3:
            raise ValueError(
                f"first and kernel must be odd, 3 or above, so that a pixel is in the middle; got"
                f" {self.first} and {self.kernel}."
            )


def tiny() -> Config:
    return Config(shape=(3, 3, 1), layers=2, features=4, first=3, head=4, dropout=0.1)


def traits(config: Config) -> Traits:
    """Binary, or whole numbers of several levels."""
    return level_traits(config.levels)


def _network(config: Config) -> Any:
    sizes = Sizes(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Sizes)})
    return Gated(sizes) if config.network == "gated" else Masked(sizes)


def _condition(config: Config, label: Any, size: int) -> jax.Array | None:
    return one_hot_condition("pixelcnn", config.classes, label, size)


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    return _network(config).init(key, jnp.zeros((1, *config.shape)), condition)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats; with dropout, of the thinned network."""
    checks.batch("pixelcnn", batch, functools.partial(batch_spec, config))
    x = batch["x"]
    condition = _condition(config, batch.get("label"), x.shape[0])
    rngs = {"dropout": key} if config.dropout else None
    found = _network(config).apply(variables, x, condition, bool(config.dropout), rngs=rngs)
    return sum_event(conditional_nats(found, x, config.levels)), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def logits(config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None) -> jax.Array:
    """Logits of the conditionals: `[B, *shape]` of p(x = 1), or `[B, *shape, levels]`."""
    checks.events("pixelcnn", x, config.shape)
    return _network(config).apply(variables, x, _condition(config, label, x.shape[0]))


def log_conditionals(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x_d | values before d): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x, label), x, config.levels)


def log_prob(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """Exact log p(x), with classes log p(x | label): `[B]` nats."""
    return sum_event(log_conditionals(config, variables, x, label))


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
    given = check_known("pixelcnn", given, noise, config.levels)
    condition = random_condition("pixelcnn", config.classes, label, label_key, many)
    network = _network(config)

    def draw(x: jax.Array) -> jax.Array:
        logits = network.apply(variables, x, condition)
        return draw_values(logits, noise, config.levels)

    def cached() -> jax.Array:
        fixed = with_kernels(network, variables, noise, condition)
        return network.apply(fixed, noise, condition, given, method="sample")

    x = draw_images(method, draw, cached, noise, given)
    return x if n else x[0]
