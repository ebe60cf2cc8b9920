"""PixelCNN: conditionals of an image by masked convolutions, computed in parallel in training.

p(x) = prod_i p(x_i,R | x_<i) p(x_i,G | x_<i, x_i,R) p(x_i,B | x_<i, x_i,R, x_i,G)

`network="masked"`: van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759),
sections 3.3 to 3.5 and figure 5. Its receptive field has a blind spot to the upper right.

`network="gated"`: van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders"
(arXiv:1606.05328), sections 2.1 to 2.3: a vertical stack for the rows above, a horizontal stack for
the pixel's own row, gates tanh(f) sigmoid(g) with a bias per class, no blind spot.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core import compiled_init, conditional_nats, draw_images, draw_noise, image_samplers
from genjax.core.autoregressive import (
    KnownValues,
    check_image_shape,
    level_traits,
)
from genjax.core.autoregressive import order as order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.families.pixelcnn.stacks import Gated, Masked
from genjax.losses import sum_event
from genjax.nn import one_hot_condition, random_condition
from genjax.nn.causal import network_draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are a gated network for binarized MNIST."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape (H, W, C)."""
    levels: Annotated[int, checks.Bounds(2)] = 2
    """Number of values of an entry: 2 is binary; 256 is a softmax over `x` from 0 to 255."""
    network: Literal["masked", "gated"] = "gated"
    """Masked is the network of the first paper, gated that of the second."""
    layers: checks.PositiveInt = 10
    """Number of residual blocks, or gated layers, after the first convolution."""
    features: checks.PositiveInt = 64
    """Feature maps h of a layer; the residual stream of the masked network has 2h."""
    first: checks.PositiveInt = 7
    """Kernel size of the first convolution."""
    kernel: checks.PositiveInt = 3
    """Kernel size of the other convolutions."""
    head: checks.PositiveInt = 32
    """Feature maps of the last two 1x1 layers (32 for MNIST, 1024 for CIFAR-10)."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of each layer's features; the gated network has it in the horizontal stack only.
    Not in the papers."""
    classes: checks.NonNegativeInt = 0
    """Number of labels that the density is conditioned on; 0 is unconditional."""
    dtype: checks.Dtype = "float32"
    """Dtype of the convolutions; logits are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_image_shape(self.shape, features=self.features, head=self.head)
        if self.first % 2 == 0 or self.kernel % 2 == 0 or min(self.first, self.kernel) < 3:
            raise ValueError(
                f"first and kernel must be odd and at least 3, got {self.first} and {self.kernel}."
            )


def tiny() -> Config:
    return Config(shape=(3, 3, 1), layers=2, features=4, first=3, head=4, dropout=0.1)


def traits(config: Config) -> Traits:
    return level_traits(config.levels)


def _network(config: Config) -> Any:
    return Gated(config) if config.network == "gated" else Masked(config)


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    return _network(config).init(key, jnp.zeros((1, *config.shape)), condition)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), `[B]` nats, with dropout."""
    check_batch("pixelcnn", config, batch)
    x = batch["x"]
    condition = one_hot_condition("pixelcnn", config.classes, batch.get("label"), x.shape[0])
    rngs = {"dropout": key} if config.dropout else None
    out = _network(config).apply(variables, x, condition, bool(config.dropout), rngs=rngs)
    return sum_event(conditional_nats(out, x)), {}


def logits(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Computes logits of the conditionals, `[B, *shape]` of p(x = 1) or `[B, *shape, levels]`."""
    checks.events("pixelcnn", x, config.shape)
    condition = one_hot_condition("pixelcnn", config.classes, label, x.shape[0])
    return _network(config).apply(variables, x, condition)


def log_prob(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Computes log p(x), or log p(x | label), `[B]` nats."""
    check_density(Config, config, variables, x, config.levels)
    return -sum_event(conditional_nats(logits(config, variables, x, label), x))


def _draw(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int,
    given: KnownValues | None,
    method: str,
    label: jax.Array | None = None,
) -> jax.Array:
    noise_key, label_key = jax.random.split(key)
    noise = draw_noise(noise_key, n, config.shape)
    condition = random_condition("pixelcnn", config.classes, label, label_key, n)
    draws = network_draws(_network(config), variables, (condition,), noise, given)
    return draw_images(method, *draws, noise, given)


sample, complete = image_samplers("pixelcnn", _draw)
