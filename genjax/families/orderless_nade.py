"""Orderless NADE and its ensemble, EoNADE: one deep network for every order of binary variables.

The network sees the visible pixels and, as D more inputs, their mask; it predicts all hidden pixels
at once,

    a = c + W (m * x) + M m,   h = act(U act(a) + c'),   p(x_i = 1 | x_m) = sigmoid(b_i + V_i h),

so every order of the pixels gives a density by the chain rule. The loss is an unbiased estimate of
the mean over all D! orders. EoNADE averages the probabilities of several orders.

Uria, Murray and Larochelle 2014, "A Deep and Tractable Density Estimator", sections 3 (loss, eq. 7
and algorithm 1; mask as input) and 4 (ensembles).
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
from genjax.core import compiled_init, draw_values, nan_unless_binary
from genjax.core.autoregressive import draw_order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density, flat_events
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.losses import bernoulli_nats, sum_event
from genjax.nn import dropout_mask

ROWS = 16_384  # images times orders evaluated together; bounds the memory and fills a GPU


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and ensemble; the defaults are the paper's for binarized MNIST."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    hidden: checks.PositiveInts = (500, 500)
    """Number of units of each hidden layer (section 6.2)."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """Hidden activation."""
    input_masks: bool = True
    """Whether the mask of visible pixels is an input; else hidden pixels look like 0 (table 2)."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of hidden units; not in the paper."""
    orders: checks.PositiveInt = 1
    """Number of orders whose probabilities are averaged into the density (section 4)."""
    order_seed: checks.NonNegativeInt = 0
    """Seed of the orders; a smaller ensemble has the first orders of a larger one."""
    report: Literal["ensemble", "mean"] = "ensemble"
    """Reported quantity: -log p of the ensemble, or averaged over its orders (section 6.1)."""
    validation_orders: checks.PositiveInt = 1
    """Largest number of orders evaluated on the validation split."""
    dtype: checks.Dtype = "float32"
    """Dtype of the matrix products; sums over pixels and logits are float32."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    return Traits(
        data="binary",
        density="exact",
        metric="" if config.report == "ensemble" else f"mean NLL of {config.orders} orders",
        validation=dataclasses.replace(config, orders=min(config.orders, config.validation_orders)),
    )


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=(8, 7), dropout=0.1)


def orders(config: Config) -> np.ndarray:
    """Returns the flat pixels in the sequence of each order, `[orders, D]`."""
    dims = math.prod(config.shape)
    return np.stack([draw_order(dims, config.order_seed, i) for i in range(config.orders)])


def order(config: Config) -> np.ndarray:
    """Returns the first order of the ensemble, `[D]`: that of `logits` and `complete`."""
    return draw_order(math.prod(config.shape), config.order_seed)


class OrderlessNADE(nn.Module):
    """The network, and its evaluation along orders, pixel by pixel."""

    config: Config

    def setup(self) -> None:
        c, dims = self.config, math.prod(self.config.shape)
        into = nn.initializers.normal(1 / math.sqrt(dims))
        self.W = self.param("W", into, (dims, c.hidden[0]))
        self.M = self.param("M", into, (dims, c.hidden[0])) if c.input_masks else None
        self.c = self.param("c", nn.initializers.zeros, (c.hidden[0],))
        pairs = list(zip(c.hidden[:-1], c.hidden[1:], strict=True))
        he = nn.initializers.he_normal()
        self.U = [self.param(f"U_{i}", he, pair) for i, pair in enumerate(pairs, 1)]
        zeros = nn.initializers.zeros
        self.u = [self.param(f"u_{i}", zeros, (out,)) for i, (_, out) in enumerate(pairs, 1)]
        out = nn.initializers.normal(1 / math.sqrt(c.hidden[-1]))
        self.V = self.param("V", out, (dims, c.hidden[-1]))
        self.b = self.param("b", nn.initializers.zeros, (dims,))

    def __call__(self, x: jax.Array, visible: jax.Array, keep: Any = None) -> jax.Array:
        """Computes logits `[B, D]` from `x, visible [B, D]` and dropout masks or None."""
        return _dot(self.units(x, visible, keep), self.V.T) + self.b[None]

    def units(self, x: jax.Array, visible: jax.Array, keep: Any = None) -> jax.Array:
        """Computes the last hidden layer, `[B, H]`."""
        return self.hidden(self.first(x, visible), keep)

    def first(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """Computes the first layer before its activation, `[B, H]`."""
        # where, not a product: hidden pixels must not matter, even if they are NaN.
        a = self.c[None] + _dot(jnp.where(visible > 0, x, 0), self.W, self.config.dtype)
        return a if self.M is None else a + _dot(visible, self.M, self.config.dtype)

    def added(self, x: jax.Array, pixel: jax.Array) -> jax.Array:
        """Computes the term of one more visible pixel in `first`: `x [..., B]`, `pixel [...]`."""
        a = x[..., None] * self.W[pixel][..., None, :]  # [..., B, H]
        return a if self.M is None else a + self.M[pixel][..., None, :]

    def hidden(self, a: jax.Array, keep: Any = None) -> jax.Array:
        """Computes the last hidden layer from the first pre-activations `[B, H]`."""
        act = nn.relu if self.config.activation == "relu" else nn.sigmoid
        h = act(a)
        for i, (U, u) in enumerate(zip(self.U, self.u, strict=True)):
            h = h if keep is None else h * keep[i]
            h = act(_dot(h, U, self.config.dtype) + u[None])
        return h if keep is None else h * keep[-1]

    def step(self, a: jax.Array, pixel: jax.Array) -> jax.Array:
        """Computes logits `[C, B]` of one pixel per order: `a [C, B, H]`, `pixel [C]`."""
        h = self.hidden(a.reshape(-1, a.shape[-1])).reshape(*a.shape[:-1], -1)
        logits = jnp.einsum("cbh,ch->cb", h, self.V[pixel], precision=jax.lax.Precision.HIGHEST)
        return logits + self.b[pixel][:, None]

    def log_probs(self, x: jax.Array, perms: jax.Array) -> jax.Array:
        """Computes log p of `x [B, D]` along each order of `perms [C, D]`: `[C, B]` nats."""

        def pixel(carry: Any, i: jax.Array) -> tuple[Any, None]:
            a, nats = carry
            x_i = x.T[i]  # [C, B]
            return (a + self.added(x_i, i), nats + bernoulli_nats(self.step(a, i), x_i)), None

        (_, nats), _ = jax.lax.scan(pixel, self.start(x, len(perms)), perms.T)
        return -nats

    def logits_along(self, x: jax.Array, perm: jax.Array) -> jax.Array:
        """Computes logits along one order, `[D, B]` in that order."""

        def pixel(a: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
            return a + self.added(x.T[i], i), self.step(a, i)[0]

        return jax.lax.scan(pixel, self.start(x, 1)[0], perm[:, None])[1]

    def start(self, x: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Returns pre-activations `[C, B, H]` with no pixel visible, and nats `[C, B]` of 0."""
        # 0 * x: inside shard_map the carry must vary over devices as x does.
        nats = jnp.zeros((count, 1)) + 0 * x[:, 0][None]
        return self.c[None, None] + nats[..., None], nats

    def complete(
        self, key: jax.Array, x: jax.Array, visible: jax.Array, perms: jax.Array
    ) -> jax.Array:
        """Samples the hidden pixels of `x [B, D]`, each image along its row of `perms [B, D]`."""

        def pixel(carry: Any, part: Any) -> tuple[Any, None]:
            a, x = carry
            i, u = part  # [B] both
            drawn = draw_values(self.step(a[:, None], i)[:, 0], u, 2).astype(x.dtype)
            seen = jnp.take_along_axis(visible, i[:, None], 1)[:, 0] > 0
            # Visible pixels are in the sum from the start and keep their value.
            a = a + jnp.where(seen, 0.0, 1.0)[:, None] * self.added(drawn[:, None], i)[:, 0]
            kept = jnp.where(seen, jnp.take_along_axis(x, i[:, None], 1)[:, 0], drawn)
            return (a, x.at[jnp.arange(len(x)), i].set(kept)), None

        noise = jax.random.uniform(key, perms.T.shape)
        (_, x), _ = jax.lax.scan(pixel, (self.first(x, visible), x), (perms.T, noise))
        return x


@compiled_init
def init(config: Config, key: jax.Array, batch: Any = None) -> Variables:
    nothing = jnp.zeros((1, math.prod(config.shape)))
    return OrderlessNADE(config).init(key, nothing, nothing)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes an unbiased estimate of -log p(x) averaged over all orders, `[B]` nats (eq. 7).

    The d - 1 pixels before a uniform pixel in a uniform order are visible, so d is uniform in
    1 .. D.
    """
    check_batch("orderless_nade", config, batch)
    x = flat_events("orderless_nade", config, batch["x"])
    pixel_key, subset_key, drop_key = jax.random.split(key, 3)
    pixel = jax.random.randint(pixel_key, (len(x), 1), 0, x.shape[1])
    visible = _pixels_before(subset_key, pixel, x)
    keep = None
    if config.dropout:
        keep = [
            dropout_mask(jax.random.fold_in(drop_key, i), config.dropout, (len(x), h))
            for i, h in enumerate(config.hidden)
        ]
    logits = OrderlessNADE(config).apply(variables, x, visible, keep)
    return nan_unless_binary(masked_nats(logits, x, visible), x), {}


def masked_nats(logits: jax.Array, x: jax.Array, visible: jax.Array) -> jax.Array:
    """Computes D times the mean nats of the hidden pixels, `[B, D]` each -> `[B]` (eq. 7)."""
    hidden = 1 - visible
    return sum_event(hidden * bernoulli_nats(logits, x)) * x.shape[1] / jnp.sum(hidden, axis=1)


def log_probs(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x) along every order of the ensemble, `[orders, B]` nats.

    At most `ROWS` images times orders are in memory at once.
    """
    check_density(Config, config, variables, x, 2)
    x, perms = flat_events("orderless_nade", config, x), orders(config)
    rounds = -(-len(perms) // max(1, ROWS // len(x)))
    # Padded to whole rounds; the surplus is removed below.
    perms = np.resize(perms, (rounds, -(-len(perms) // rounds), x.shape[1]))
    evaluate = functools.partial(OrderlessNADE(config).apply, variables, x, method="log_probs")
    log_p = jax.lax.map(evaluate, jnp.asarray(perms)).reshape(-1, len(x))[: config.orders]
    return jax.vmap(nan_unless_binary, (0, None))(log_p, x)


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), the log of the mean probability over the orders, `[B]` nats."""
    return jax.nn.logsumexp(log_probs(config, variables, x), axis=0) - math.log(config.orders)


def report(config: Config, variables: Variables, batch: Batch) -> jax.Array:
    """Computes the reported quantity, `[B]` nats; see `Config.report`."""
    if config.report == "ensemble":
        return -log_prob(config, variables, batch["x"])
    return -jnp.mean(log_probs(config, variables, batch["x"]), axis=0)


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | pixels before d in `order`), `[B, *shape]`."""
    perm = order(config)
    arguments = (flat_events("orderless_nade", config, x), jnp.asarray(perm))
    out = OrderlessNADE(config).apply(variables, *arguments, method="logits_along")
    return out[np.argsort(perm)].T.reshape(x.shape)


def sample(config: Config, variables: Variables, key: jax.Array, n: int | None = None) -> jax.Array:
    """Samples along random orders of the ensemble: float32 `[n, *shape]`; one without `n`."""
    checks.sampling(Config, config, variables, key)
    choose, draw = jax.random.split(key)
    which = jax.random.randint(choose, (checks.sample_count(n),), 0, config.orders)
    perms = jnp.asarray(orders(config))[which]
    nothing = jnp.zeros(perms.shape)
    x = _complete(config, variables, draw, nothing, nothing, perms).reshape(-1, *config.shape)
    return x if n else x[0]


def complete(
    config: Config, variables: Variables, key: jax.Array, x: jax.Array, known: Any
) -> jax.Array:
    """Samples the unknown pixels of `x` given the known ones: `[B, *shape]`.

    The unknown pixels follow `order`.

    `known` is bool `[*shape]`, or `[B, *shape]` for a mask per image; unknown pixels of `x` are
    ignored.
    """
    flat = flat_events("orderless_nade", config, x)
    visible = jnp.broadcast_to(jnp.asarray(known, x.dtype), x.shape).reshape(flat.shape)
    perms = jnp.broadcast_to(jnp.asarray(order(config)), flat.shape)
    return _complete(config, variables, key, flat, visible, perms).reshape(x.shape)


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes the last hidden layer with all pixels visible, `[B, H]`."""
    x = flat_events("orderless_nade", config, x)
    return OrderlessNADE(config).apply(variables, x, jnp.ones_like(x), method="units")


def _complete(config: Config, variables: Variables, *arguments: jax.Array) -> jax.Array:
    return OrderlessNADE(config).apply(variables, *arguments, method="complete")


def _pixels_before(key: jax.Array, pixel: jax.Array, x: jax.Array) -> jax.Array:
    """Samples the mask `[B, D]` of the pixels before `pixel [B, 1]` in a random order."""
    # The order is that of D random words, which needs no sort. Rare ties only shrink the subset.
    words = jax.random.bits(key, x.shape)
    return (words < jnp.take_along_axis(words, pixel, axis=1)).astype(jnp.float32)


def _dot(x: jax.Array, kernel: jax.Array, dtype: str = "float32") -> jax.Array:
    """Matrix product in `dtype`, summed in float32; float32 is not cut to TensorFloat-32."""
    if dtype == "float32":
        return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    return jnp.dot(x, kernel, preferred_element_type=jnp.float32)
