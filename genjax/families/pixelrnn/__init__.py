"""PixelRNN: an image's conditionals by LSTMs that sweep over its pixels.

p(x) = prod_i p(x_i,R | x_<i) p(x_i,G | x_<i, x_i,R) p(x_i,B | x_<i, x_i,R, x_i,G)

Van den Oord et al. 2016, "Pixel Recurrent Neural Networks" (arXiv:1601.06759), section 3: a masked
convolution, then `layers` of Row LSTM (a triangle above each pixel is seen) or Diagonal BiLSTM (all
earlier pixels are), with residual connections, then two 1x1 layers. The Diagonal BiLSTM works on
one column more than the image has, see `genjax.families.pixelrnn.lstm.PixelRNN.margin`.

With `factor` k > 1 it is the multi-scale network of section 3.6: a PixelRNN of the small image
x[::k, ::k], and one of x that is told the small image in every layer. Convolutions look over the
small image, ahead of a pixel too, and a transposed one enlarges what they find. What is given then
is log p(small, x), which is below log p(x) by as much as x can also be made from other small
images.

`sample(method=)` draws in three exact ways, see `genjax.core.autoregressive`; `cached` computes the states
of every pixel once a channel.
"""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

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
    check_levels,
    level_traits,
)
from genjax.core.autoregressive import order as order
from genjax.families.pixelrnn.lstm import PixelRNN, Sizes
from genjax.losses import sum_event
from genjax.nn import one_hot_condition, random_label
from genjax.nn.causal import scaled, with_kernels
from genjax.nn.transposed import ConvTranspose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the paper's seven layers for binarised MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape (H, W, C)."""
    levels: int = 2
    """Of a value: 2 is binary; 256 is a softmax over bytes, of `x` from 0 to 255."""
    network: Literal["row", "diagonal"] = "diagonal"
    """Row LSTM, or Diagonal BiLSTM."""
    layers: int = 7
    """LSTM layers after the first convolution (12 for CIFAR-10)."""
    features: int = 16
    """Units h of an LSTM; the maps between layers have 2h (128 for CIFAR-10)."""
    first: int = 7
    """Side of the first convolution's kernel."""
    head: int = 32
    """Feature maps of the last two 1x1 layers (32 for MNIST, 1024 for CIFAR-10)."""
    residual: bool = True
    """Whether a layer's input is added to its output."""
    skip: bool = False
    """Whether every layer is heard by the last two directly."""
    factor: int = 1
    """Of the multi-scale network: side of the image over that of the small one; 1 is one scale."""
    small_layers: int = 3
    """3x3 convolutions over the small image, which reach as many of its pixels to every side; the
    paper does not print how many."""
    classes: int = 0
    """Labels that the density is conditioned on; 0 is none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Computation of the hidden layers; cells and logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(
            shape=self.shape,
            layers=self.layers,
            features=self.features,
            first=self.first,
            head=self.head,
            factor=self.factor,
            small_layers=self.small_layers,
        )
        checks.not_negative(classes=self.classes)
        checks.one_of(("row", "diagonal"), network=self.network)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        check_image_shape(self.shape, self.levels, features=self.features, head=self.head)
        if self.first % 2 == 0 or self.first < 3:
            raise ValueError(f"first must be odd, 3 or above, got {self.first}.")
        if any(side % self.factor for side in self.shape[:2]):
            raise ValueError(f"factor must divide the sides {self.shape[:2]}, got {self.factor}.")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), layers=2, features=4, first=3, head=4)


def traits(config: Config) -> Traits:
    """Binary, or whole numbers of several levels."""
    metric = "NLL" if config.factor == 1 else "NLL bound"
    return dataclasses.replace(level_traits(config.levels), metric=metric)


class Network(nn.Module):
    """The PixelRNN of one scale, with what it is told; see `logits`."""

    config: Config

    def setup(self) -> None:
        c = self.config
        sizes = Sizes(**{f.name: getattr(c, f.name) for f in dataclasses.fields(Sizes)})
        enlarged = c.features if c.factor > 1 else 0
        self.rnn = PixelRNN(sizes, told=enlarged + c.classes)
        if enlarged:
            sides = (c.factor, c.factor)
            exact = jax.lax.Precision.HIGHEST
            each = range(c.small_layers)
            self.look = [nn.Conv(enlarged, (3, 3), precision=exact) for _ in each]
            self.enlarge = ConvTranspose(enlarged, sides, sides, "VALID", precision=exact)

    def told(self, condition: jax.Array | None, small: jax.Array | None) -> jax.Array | None:
        """Class and small image at every pixel, `[B, H, W, K]`, or None."""
        c, (h, w, _) = self.config, self.config.shape
        parts = []
        if small is not None:
            found = scaled(small.astype(jnp.promote_types(small.dtype, jnp.float32)), c.levels)
            for conv in self.look:
                found = nn.relu(conv(found))
            parts.append(self.enlarge(found))
        if condition is not None:
            size = (condition.shape[0], h, w, condition.shape[1])
            parts.append(jnp.broadcast_to(condition[:, None, None], size))
        return jnp.concatenate(parts, axis=-1) if parts else None

    def __call__(self, x: jax.Array, condition: Any = None, small: Any = None) -> jax.Array:
        return self.rnn(x, self.told(condition, small))

    def sample(self, noise: jax.Array, condition: Any, small: Any, given: Any) -> jax.Array:
        """Every state once, see `genjax.families.pixelrnn.lstm`."""
        return self.rnn.sample(noise, self.told(condition, small), given)


def small_config(config: Config) -> Config:
    """The Config of the small image's network."""
    h, w, channels = config.shape
    shape = (h // config.factor, w // config.factor, channels)
    return dataclasses.replace(config, shape=shape, factor=1)


def shrunk(config: Config, x: jax.Array) -> jax.Array:
    """The small image, one pixel of every factor x factor: `[B, *shape] -> [B, h, w, C]`."""
    return x[:, :: config.factor, :: config.factor]


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    condition = jnp.zeros((1, config.classes)) if config.classes else None
    if config.factor == 1:
        return Network(config).init(key, jnp.zeros((1, *config.shape)), condition)
    keys, x = jax.random.split(key), jnp.zeros((1, *config.shape))
    small = shrunk(config, x)
    large = Network(config).init(keys[0], x, condition, small)["params"]
    return {"params": {"large": large, "small": init(small_config(config), keys[1])["params"]}}


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), with a factor -log p(small, x): `[B]` nats."""
    del key
    checks.batch("pixelrnn", batch, functools.partial(batch_spec, config))
    return -log_prob(config, variables, batch["x"], batch.get("label")), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def _scale(variables: dict[str, Any], name: str) -> dict[str, Any]:
    return {"params": variables["params"][name]}


def logits(
    config: Config,
    variables: dict[str, Any],
    x: jax.Array,
    label: Any = None,
    small: jax.Array | None = None,
) -> jax.Array:
    """Logits of the conditionals: `[B, *shape]` of p(x = 1), or `[B, *shape, levels]`.

    With a factor, of x given the small image: `small` `[B, h, w, C]`, or that of x itself.
    """
    checks.events("pixelrnn", x, config.shape)
    condition = one_hot_condition("pixelrnn", config.classes, label, x.shape[0])
    if config.factor == 1:
        if small is not None:
            raise ValueError("pixelrnn: this Config has one scale; leave out small.")
        return Network(config).apply(variables, x, condition)
    small = shrunk(config, x) if small is None else small
    _check_small(config, small, x.shape[0])
    return Network(config).apply(_scale(variables, "large"), x, condition, small)


def _check_small(
    config: Config, small: jax.Array, n: int, given: KnownValues | None = None
) -> None:
    """Small images, of levels, that agree with what is given of the large ones."""
    want = (n, *small_config(config).shape)
    if jnp.shape(small) != want:
        raise ValueError(
            f"pixelrnn: small must be {list(want)}, one small image an image, got"
            f" {list(jnp.shape(small))}."
        )
    if not checks.concrete(small):
        return
    check_levels("pixelrnn", np.asarray(small), config.levels, "small")
    if given is not None and checks.concrete(given[0]):
        x, known = (np.asarray(part) for part in given)
        at = (slice(None, None, config.factor),) * 2
        if (np.asarray(small) != x[:, *at])[:, known[at]].any():
            raise ValueError(
                "pixelrnn: small differs from given where both know a pixel; take small ="
                " pixelrnn.shrunk(config, x) of the same images."
            )


def log_conditionals(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """log p(x_d | values before d): `[B, *shape]` nats, 0 or below.

    With a factor, those of the small image are added where its pixels lie in x.
    """
    terms = -conditional_nats(logits(config, variables, x, label), x, config.levels)
    if config.factor == 1:
        return terms
    k, small = config.factor, small_config(config)
    others = log_conditionals(small, _scale(variables, "small"), shrunk(config, x), label)
    return terms.at[:, ::k, ::k].add(others)


def log_prob(
    config: Config, variables: dict[str, Any], x: jax.Array, label: Any = None
) -> jax.Array:
    """Exact log p(x), with a factor log p(small, x); with classes given the label: `[B]` nats."""
    return sum_event(log_conditionals(config, variables, x, label))


def sample(
    config: Config,
    variables: dict[str, Any],
    key: jax.Array,
    n: int | None = None,
    *,
    label: jax.Array | None = None,
    small: jax.Array | None = None,
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
      small: with a factor, the small images `[n, h, w, C]`; drawn first where none are given.
      given: images `[n, *shape]` and a bool mask `[*shape]` of the values that stay; these must
        come first in the order. With a factor, give `small` too.
      method: see `genjax.core.autoregressive`.
    """
    noise_key, label_key, small_key = jax.random.split(key, 3)
    many = checks.sample_count(n)
    label = random_label("pixelrnn", config.classes, label, label_key, many)
    condition = one_hot_condition("pixelrnn", config.classes, label, many)
    noise = draw_noise(noise_key, many, config.shape)
    given = check_known("pixelrnn", given, noise, config.levels)
    if config.factor > 1:
        if small is None:
            if given is not None:
                raise ValueError("pixelrnn: to complete an image at two scales, give small too.")
            of_small = _scale(variables, "small")
            small = sample(
                small_config(config), of_small, small_key, many, label=label, method=method
            )
        _check_small(config, small, many, given)
        variables = _scale(variables, "large")
    elif small is not None:
        raise ValueError("pixelrnn: this Config has one scale; leave out small, or set factor.")
    network = Network(config)

    def draw(x: jax.Array) -> jax.Array:
        logits = network.apply(variables, x, condition, small)
        return draw_values(logits, noise, config.levels)

    def cached() -> jax.Array:
        fixed = with_kernels(network, variables, noise, condition, small)
        return network.apply(fixed, noise, condition, small, given, method="sample")

    x = draw_images(method, draw, cached, noise, given)
    return x if n else x[0]
