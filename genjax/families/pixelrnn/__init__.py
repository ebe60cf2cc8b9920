"""PixelRNN: conditionals of an image by LSTMs that sweep over its pixels.

p(x) = prod_i p(x_i,R | x_<i) p(x_i,G | x_<i, x_i,R) p(x_i,B | x_<i, x_i,R, x_i,G)

Van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), section 3: a masked
convolution, then `layers` of Row LSTM (whose receptive field is a triangle above each pixel) or
Diagonal BiLSTM (all earlier pixels) with residual connections, then two 1x1 layers.

`factor` k > 1 is the multi-scale network of section 3.6: a PixelRNN of the small image x[::k, ::k],
and one of x conditioned on the small image. Convolutions and a transposed convolution map the small
image to biases of every layer. The density is then log p(small, x), a lower bound on log p(x).
"""

import dataclasses
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import compiled_init, conditional_nats, draw_images, draw_noise, image_samplers
from genjax.core.autoregressive import (
    KnownValues,
    check_image_shape,
    check_levels,
    level_traits,
)
from genjax.core.autoregressive import order as order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.families.pixelrnn.stacked_lstm import PixelRNN
from genjax.losses import sum_event
from genjax.nn import one_hot_condition, random_label
from genjax.nn.causal import network_draws, scale_levels
from genjax.nn.convolution import Conv, ConvTranspose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the paper's seven layers for binarized MNIST."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape (H, W, C)."""
    levels: Annotated[int, checks.Bounds(2)] = 2
    """Number of values of an entry: 2 is binary; 256 is a softmax over `x` from 0 to 255."""
    network: Literal["row", "diagonal"] = "diagonal"
    """Row LSTM, or Diagonal BiLSTM."""
    layers: checks.PositiveInt = 7
    """Number of LSTM layers after the first convolution (12 for CIFAR-10)."""
    features: checks.PositiveInt = 16
    """Units h of an LSTM; the maps between layers have 2h (128 for CIFAR-10)."""
    first: checks.PositiveInt = 7
    """Kernel size of the first convolution."""
    head: checks.PositiveInt = 32
    """Feature maps of the last two 1x1 layers (32 for MNIST, 1024 for CIFAR-10)."""
    residual: bool = True
    """Whether a layer's input is added to its output."""
    skip: bool = False
    """Whether every layer is connected to the last two directly."""
    factor: checks.PositiveInt = 1
    """Side of the image over that of the small one in the multi-scale network; 1 is one scale."""
    small_layers: checks.PositiveInt = 3
    """Number of 3x3 convolutions of the small image; the paper does not state it."""
    classes: checks.NonNegativeInt = 0
    """Number of labels that the density is conditioned on; 0 is unconditional."""
    dtype: checks.Dtype = "float32"
    """Dtype of the hidden layers; cells and logits are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        check_image_shape(self.shape, features=self.features, head=self.head)
        if self.first % 2 == 0 or self.first < 3:
            raise ValueError(f"first must be odd and at least 3, got {self.first}.")
        if any(side % self.factor for side in self.shape[:2]):
            raise ValueError(f"factor must divide the sides {self.shape[:2]}, got {self.factor}.")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), layers=2, features=4, first=3, head=4)


def traits(config: Config) -> Traits:
    metric = "NLL" if config.factor == 1 else "NLL bound"
    return dataclasses.replace(level_traits(config.levels), metric=metric)


class Network(nn.Module):
    """The PixelRNN of one scale, conditioned on a class and on the small image."""

    config: Config

    def setup(self) -> None:
        c = self.config
        upsampled = c.features if c.factor > 1 else 0
        self.rnn = PixelRNN(c, condition_features=upsampled + c.classes)
        if upsampled:
            sides = (c.factor, c.factor)
            exact = jax.lax.Precision.HIGHEST
            layers = range(c.small_layers)
            self.small_convs = [Conv(upsampled, (3, 3), precision=exact) for _ in layers]
            self.upsample = ConvTranspose(upsampled, sides, sides, "VALID", precision=exact)

    def condition_map(
        self, condition: jax.Array | None, small: jax.Array | None
    ) -> jax.Array | None:
        """Computes features of the class and the small image, `[B, H, W, K]` or None."""
        c, (h, w, _) = self.config, self.config.shape
        parts = []
        if small is not None:
            y = scale_levels(small.astype(jnp.promote_types(small.dtype, jnp.float32)), c.levels)
            for conv in self.small_convs:
                y = nn.relu(conv(y))
            parts.append(self.upsample(y))
        if condition is not None:
            size = (condition.shape[0], h, w, condition.shape[1])
            parts.append(jnp.broadcast_to(condition[:, None, None], size))
        return jnp.concatenate(parts, axis=-1) if parts else None

    def __call__(self, x: jax.Array, condition: Any = None, small: Any = None) -> jax.Array:
        return self.rnn(x, self.condition_map(condition, small))

    def sample(self, noise: jax.Array, condition: Any, small: Any, given: Any) -> jax.Array:
        return self.rnn.sample(noise, self.condition_map(condition, small), given)


def small_config(config: Config) -> Config:
    """Returns the Config of the network of the small image."""
    h, w, channels = config.shape
    shape = (h // config.factor, w // config.factor, channels)
    return dataclasses.replace(config, shape=shape, factor=1)


def _downsample(config: Config, x: jax.Array) -> jax.Array:
    return x[:, :: config.factor, :: config.factor]


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    if config.factor == 1:
        return Network(config).init(key, jnp.zeros((1, *config.shape)), condition)
    keys, x = jax.random.split(key), jnp.zeros((1, *config.shape))
    small = _downsample(config, x)
    large = Network(config).init(keys[0], x, condition, small)["params"]
    return {"params": {"large": large, "small": init(small_config(config), keys[1])["params"]}}


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), or -log p(small, x), `[B]` nats."""
    check_batch("pixelrnn", config, batch)
    return -log_prob(config, variables, batch["x"], batch.get("label")), {}


def _scale(variables: Variables, name: str) -> dict[str, Any]:
    return {"params": variables["params"][name]}


def logits(
    config: Config,
    variables: Variables,
    x: jax.Array,
    label: Any = None,
    small: jax.Array | None = None,
) -> jax.Array:
    """Computes logits of the conditionals, `[B, *shape]` of p(x = 1) or `[B, *shape, levels]`.

    Those of a multi-scale network are conditioned on `small [B, h, w, C]`, by default that of x.
    """
    checks.events("pixelrnn", x, config.shape)
    condition = one_hot_condition("pixelrnn", config.classes, label, x.shape[0])
    if config.factor == 1:
        if small is not None:
            raise ValueError("pixelrnn: this Config has one scale; do not pass small.")
        return Network(config).apply(variables, x, condition)
    small = _downsample(config, x) if small is None else small
    _check_small(config, small, x.shape[0])
    return Network(config).apply(_scale(variables, "large"), x, condition, small)


def _check_small(
    config: Config, small: jax.Array, n: int, given: KnownValues | None = None
) -> None:
    """Checks shape and levels of small images, and that they agree with known values."""
    shape = (n, *small_config(config).shape)
    if jnp.shape(small) != shape:
        raise ValueError(
            f"pixelrnn: small must be {list(shape)}, got {list(jnp.shape(small))}; pass one small"
            f" image per image."
        )
    if not checks.concrete(small):
        return
    check_levels("pixelrnn", np.asarray(small), config.levels, "small")
    if given is not None and checks.concrete(given[0]):
        x, known = (np.asarray(part) for part in given)
        at = (slice(None, None, config.factor),) * 2
        if (np.asarray(small) != x[:, *at])[:, known[at]].any():
            k = config.factor
            raise ValueError(
                f"pixelrnn: small differs from known values of x; pass x[:, ::{k}, ::{k}] of the"
                f" same images."
            )


def log_conditionals(
    config: Config, variables: Variables, x: jax.Array, label: Any = None
) -> jax.Array:
    """Computes log p(x_d | values before d), `[B, *shape]` nats.

    In a multi-scale network, those of the small image are added at its pixels.
    """
    terms = -conditional_nats(logits(config, variables, x, label), x)
    if config.factor == 1:
        return terms
    k, small = config.factor, small_config(config)
    others = log_conditionals(small, _scale(variables, "small"), _downsample(config, x), label)
    return terms.at[:, ::k, ::k].add(others)


def log_prob(config: Config, variables: Variables, x: jax.Array, label: Any = None) -> jax.Array:
    """Computes log p(x) or log p(x | label), multi-scale log p(small, x), `[B]` nats."""
    check_density(Config, config, variables, x, config.levels)
    return sum_event(log_conditionals(config, variables, x, label))


def _draw(
    config: Config,
    variables: Variables,
    key: jax.Array,
    n: int,
    given: KnownValues | None,
    method: str,
    label: jax.Array | None = None,
    small: jax.Array | None = None,
) -> jax.Array:
    """Samples images, given small ones `[n, h, w, C]` or sampled ones in a multi-scale network."""
    noise_key, label_key, small_key = jax.random.split(key, 3)
    label = random_label("pixelrnn", config.classes, label, label_key, n)
    condition = one_hot_condition("pixelrnn", config.classes, label, n)
    noise = draw_noise(noise_key, n, config.shape)
    if config.factor > 1:
        if small is None:
            if given is not None:
                k = config.factor
                raise ValueError(
                    f"pixelrnn: to complete x at two scales, pass x[:, ::{k}, ::{k}] as `small`."
                )
            of_small = _scale(variables, "small")
            small = _draw(small_config(config), of_small, small_key, n, None, method, label)
        _check_small(config, small, n, given)
        variables = _scale(variables, "large")
    elif small is not None:
        raise ValueError("pixelrnn: this Config has one scale; do not pass small, or set factor.")
    draws = network_draws(Network(config), variables, (condition, small), noise, given)
    return draw_images(method, *draws, noise, given)


sample, complete = image_samplers("pixelrnn", _draw)
