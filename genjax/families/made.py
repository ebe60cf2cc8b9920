"""MADE: an autoencoder whose masked outputs are the conditionals of the chain rule.

Inputs have degrees 1 .. D, their places in the order; hidden units have random degrees m(k).
Connections by which an output would depend on its own or a later input are masked:

    h = act(b + (W * M) x),             M_kd = 1 where m(k) >= d         (eq. 12, and 14 if deeper)
    p(x_d = 1 | x_<d) = sigmoid(c + (V * M') h + (A * M'') x)_d,
                                        M'_dk = 1 where d > m(k)         (eq. 13)
    M'' strictly lower triangular: the direct connections                (eq. 11)

One product per layer gives all conditionals. The same weights serve many masks, with other degrees
(connectivity-agnostic) or other orders (order-agnostic): in training each batch uses one mask, in
evaluation the probabilities are averaged over all.

Germain, Gregor, Murray and Larochelle 2015, "MADE: Masked Autoencoder for Distribution Estimation",
sections 3 and 4.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import draw_values, nan_unless_binary
from genjax.core.autoregressive import draw_order, flat_network
from genjax.core.autoregressive import order as first_order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density, flat_events
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.losses import bernoulli_nll
from genjax.nn import MaskedDense, draw_degrees
from genjax.nn.masked import precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the paper's for binarized MNIST with one mask."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    hidden: checks.PositiveInts = (8000,)
    """Number of units of each hidden layer (section 6.2: 8000)."""
    activation: Literal["relu", "softplus"] = "relu"
    """Hidden activation (section 6.1 has both)."""
    direct: bool = True
    """Whether inputs are connected to outputs directly (eq. 11)."""
    masks: checks.PositiveInt = 1
    """Number of masks trained on and averaged over (table 6: 1 and 32)."""
    resample_order: bool = True
    """Whether each mask has its own order (section 4.2); that of the first is `order`."""
    resample_degrees: bool = True
    """Whether each mask has its own degrees of hidden units (section 4.3)."""
    order: Literal["raster", "random"] = "random"
    """Order of the pixels in the first mask; the paper draws one at random."""
    order_seed: checks.NonNegativeInt = 0
    """Seed of the random orders; NADE and FVSBN draw the same first one."""
    mask_seed: checks.NonNegativeInt = 0
    """Seed of the degrees."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of hidden units; not in the paper."""
    dtype: checks.Dtype = "float32"
    """Dtype of the hidden layers; parameters, logits and samples are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.masks > 1 and not (self.resample_order or self.resample_degrees):
            raise ValueError(
                f"made: {self.masks} masks with one order and the same degrees are equal; set"
                f" resample_order or resample_degrees, or masks=1."
            )


def traits(config: Config) -> Traits:
    return Traits(data="binary", density="exact")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=(16, 12), masks=3, dropout=0.1)


def order(config: Config, mask: int | None = None) -> np.ndarray:
    """Returns the flat pixel that each step of the chain rule predicts under a mask, `[D]`.

    Raises:
      ValueError: there are several masks and `mask` is None.
    """
    return _orders(config)[_mask_index(config, mask)].copy()  # the cached table must not change


@functools.lru_cache(maxsize=32)
def _orders(config: Config) -> np.ndarray:
    """`[masks, D]` int32."""
    first = first_order(config)
    others = [
        draw_order(first.size, config.order_seed, k) if config.resample_order else first
        for k in range(1, config.masks)
    ]
    return np.stack([first, *others]).astype(np.int32)


@functools.lru_cache(maxsize=32)
def _degrees(config: Config) -> list[np.ndarray]:
    """Degrees of the inputs and of each hidden layer: `[masks, units]` int32 each."""
    dims = math.prod(config.shape)
    places = np.argsort(_orders(config), axis=1).astype(np.int32) + 1  # 1 .. D
    hidden = [
        draw_degrees(dims, config.hidden, config.mask_seed, k if config.resample_degrees else 0)
        for k in range(config.masks)
    ]
    return [places, *(np.stack(layer) for layer in zip(*hidden, strict=True))]


class MADE(nn.Module):
    """Network of the conditionals under a mask; x and logits are in raster order."""

    config: Config

    def setup(self) -> None:
        c, dims = self.config, math.prod(self.config.shape)
        self.hidden = [MaskedDense(h, dtype=jnp.dtype(c.dtype)) for h in c.hidden]
        lecun = nn.initializers.lecun_normal()
        self.out = MaskedDense(dims, strict=True, kernel_init=lecun)
        if c.direct:
            zeros = nn.initializers.zeros
            self.direct = MaskedDense(dims, strict=True, use_bias=False, kernel_init=zeros)

    def act(self, a: jax.Array) -> jax.Array:
        return jax.nn.relu(a) if self.config.activation == "relu" else jax.nn.softplus(a)

    def __call__(self, x: jax.Array, mask: Any = 0, key: jax.Array | None = None) -> jax.Array:
        """Computes logits `[B, D]`; `mask` is an index `[]`, `key` that of dropout or None."""
        places = self.degrees(mask)[0]
        h, last = self.features(x, mask, key)
        logits = self.out(h, last, places)
        return logits + self.direct(x, places, places) if self.config.direct else logits

    def degrees(self, mask: Any) -> list[jax.Array]:
        """Returns degrees of inputs and hidden layers under a mask index, or one per row."""
        return [jnp.asarray(table)[mask] for table in _degrees(self.config)]

    def features(
        self, x: jax.Array, mask: Any = 0, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Computes the last hidden layer `[B, H]` in float32, and its degrees `[H]`."""
        degrees, share = self.degrees(mask), self.config.dropout
        h = x
        for i, layer in enumerate(self.hidden):
            h = self.act(layer(h, degrees[i], degrees[i + 1]))
            if key is not None:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - share, h.shape)
                h = jnp.where(kept, h / (1 - share), 0)
        # The last product is float32: its logits enter a likelihood.
        return h.astype(jnp.float32), degrees[-1]

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Samples `[n, D]` in one pass over the chain rule, each with its own mask.

        The inputs of a unit of degree d are complete when the d-th pixel is drawn. Only then its
        activation is added to later sums, so no mask is needed. A sample takes O(D H) operations
        with one hidden layer, O(D H^2) with more.
        """
        c, dims = self.config, math.prod(self.config.shape)
        choose, draw = jax.random.split(key)
        mask = jax.random.randint(choose, (n,), 0, c.masks)
        pixels = jnp.asarray(_orders(c))[mask].T  # [D, n]
        degrees = [m if c.masks > 1 else m[:1] for m in self.degrees(mask)[1:]]  # [n or 1, H]
        layers = [self.hidden[i].variables["params"] for i in range(len(c.hidden))]
        out = self.out.variables["params"]
        direct = self.direct.variables["params"]["kernel"] if c.direct else jnp.zeros((dims, 0))
        columns = out["kernel"].T  # [D, H]

        def pixel(carry: Any, part: Any) -> tuple[Any, jax.Array]:
            sums, last, skip = carry  # [n, H_i] each, [n, H_L], [n, D] or None
            d, at, u = part  # place 1 .. D, pixel [n], noise [n]
            logits = jnp.sum(last * columns[at], axis=1) + out["bias"][at]
            if skip is not None:
                logits = logits + jnp.take_along_axis(skip, at[:, None], axis=1)[:, 0]
            x = draw_values(logits, u, 2)  # [n]
            sent, new = x[:, None] * layers[0]["kernel"][at], []
            for i, degree in enumerate(degrees):
                if i:
                    kernel = layers[i]["kernel"]
                    sent = jnp.dot(sent, kernel, precision=precision(jnp.float32))
                new.append(sums[i] + sent)
                sent = jnp.where(degree == d, self.act(new[i]), 0)
            skip = None if skip is None else skip + x[:, None] * direct[at]  # [n, D]
            return (new, last + sent, skip), x

        start = (
            [jnp.broadcast_to(p["bias"], (n, p["bias"].size)) for p in layers],
            jnp.zeros((n, c.hidden[-1])),
            jnp.zeros((n, dims)) if c.direct else None,
        )
        noise = jax.random.uniform(draw, (dims, n))
        _, x = jax.lax.scan(pixel, start, (jnp.arange(1, dims + 1), pixels, noise))  # [D, n]
        return jnp.zeros((n, dims)).at[jnp.arange(n)[:, None], pixels.T].set(x.T)


init, sample = flat_network(MADE)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x) under a mask drawn for the whole batch, `[B]` nats.

    The paper cycles through the masks instead (section 4.2).
    """
    check_batch("made", config, batch)
    choose, drop = jax.random.split(key)
    mask = jax.random.randint(choose, (), 0, config.masks) if config.masks > 1 else 0
    x = flat_events("made", config, batch["x"])
    logits = MADE(config).apply(variables, x, mask, drop if config.dropout else None)
    return nan_unless_binary(bernoulli_nll(logits, x), x), {}


def logits(
    config: Config, variables: Variables, x: jax.Array, mask: int | None = None
) -> jax.Array:
    """Computes logits of p(x_d = 1 | pixels before d in `order`) under a mask, `[B, *shape]`.

    Raises:
      ValueError: there are several masks and `mask` is None.
    """
    flat = flat_events("made", config, x)
    return MADE(config).apply(variables, flat, _mask_index(config, mask)).reshape(x.shape)


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), the log of the mean probability over the masks, `[B]` nats.

    Masks are evaluated one after another, so that the memory is that of one.
    """
    check_density(Config, config, variables, x, 2)
    x = flat_events("made", config, x)

    @jax.checkpoint  # a gradient keeps the activations of one mask only
    def one(mask: Any) -> jax.Array:
        return -bernoulli_nll(MADE(config).apply(variables, x, mask), x)

    if config.masks == 1:
        return nan_unless_binary(one(0), x)
    each = jax.lax.map(one, jnp.arange(config.masks))  # [masks, B]
    return nan_unless_binary(jax.nn.logsumexp(each, axis=0) - math.log(config.masks), x)


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes the last hidden layer under the first mask, `[B, H]`."""
    x = flat_events("made", config, x)
    return MADE(config).apply(variables, x, method="features")[0]


def _mask_index(config: Config, mask: int | None) -> int:
    if mask is None and config.masks > 1:
        raise ValueError(
            f"made: each of {config.masks} masks has its own order and conditionals; pass"
            f" mask=0 .. {config.masks - 1}, or use log_prob, which averages over them."
        )
    if mask is not None and not 0 <= mask < config.masks:
        raise ValueError(f"made: mask must be from 0 to {config.masks - 1}, got {mask}.")
    return mask or 0
