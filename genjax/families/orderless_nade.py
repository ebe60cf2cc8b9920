"""Orderless NADE and its ensemble, EoNADE: one deep network for every order of binary variables.

The network sees the visible pixels and, as D more inputs, which ones they are; it predicts every
hidden pixel at once,

    a = c + W (m * x) + M m,   h = act(U act(a) + c'),   p(x_i = 1 | x_m) = sigmoid(b_i + V_i h),

so that any order of the pixels makes a density by the chain rule. The loss is an unbiased estimate
of the mean over all D! orders. EoNADE averages the probabilities of several orders.

Uria, Murray and Larochelle 2014, "A Deep and Tractable Density Estimator", sections 3 (the loss,
eq. 7 and algorithm 1; the mask as input) and 4 (ensembles).
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
from genjax.core import Traits, conditional_nats, draw_values, gradient_step, nan_unless_binary
from genjax.losses import bernoulli_nats, sum_event

ROWS = 16_384  # images times orders evaluated together: bounds the memory, fills a GPU


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture and ensemble; the defaults are the paper's for binarised MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    hidden: tuple[int, ...] = (500, 500)
    """Units of each hidden layer (section 6.2)."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """Hidden activation."""
    input_masks: bool = True
    """Tell the network which pixels are visible; without, they look like zeros (table 2)."""
    dropout: float = 0.0
    """Share of hidden units dropped in training; not in the paper."""
    orders: int = 1
    """Orders whose probabilities are averaged into the density (section 4)."""
    order_seed: int = 0
    """Seed of the orders; those of a smaller ensemble are the first of a larger one."""
    report: Literal["ensemble", "mean"] = "ensemble"
    """Figure of a run: of the ensemble, or -log p averaged over its orders (section 6.1)."""
    validation_orders: int = 1
    """Orders of the ensemble that picks the best weights on validation, where these are fewer."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products; sums over pixels and logits stay float32."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape, hidden=self.hidden, orders=self.orders)
        checks.positive(validation_orders=self.validation_orders)
        checks.one_of(("relu", "sigmoid"), activation=self.activation)
        checks.one_of(("ensemble", "mean"), report=self.report)
        checks.one_of(("float32", "bfloat16"), dtype=self.dtype)
        checks.fraction(dropout=self.dropout)
        checks.not_negative(order_seed=self.order_seed)


def traits(config: Config) -> Traits:
    return Traits(
        data="binary",
        density="exact",
        metric="" if config.report == "ensemble" else f"mean NLL of {config.orders} orders",
        validation=dataclasses.replace(config, orders=min(config.orders, config.validation_orders)),
    )


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=(8, 7), dropout=0.1)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def orders(config: Config) -> np.ndarray:
    """`[orders, D]`: in each row the flat pixels as that order predicts them."""
    # Ranks of raw generator output: numpy promises to keep this stream, not its shuffles.
    raw = [
        np.random.Philox(key=[config.order_seed, i]).random_raw(math.prod(config.shape))
        for i in range(config.orders)
    ]
    return np.argsort(np.stack(raw), axis=1, kind="stable")


def order(config: Config) -> np.ndarray:
    """`[D]`, the first order of the ensemble: that of `logits` and `log_conditionals`."""
    return orders(dataclasses.replace(config, orders=1))[0]


class OrderlessNADE(nn.Module):
    """The network, and walks along orders that update it pixel by pixel."""

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
        """`x, visible [B, D]` (1 where seen), `keep` a dropout mask a layer -> logits `[B, D]`."""
        return _dot(self.units(x, visible, keep), self.V.T) + self.b[None]

    def units(self, x: jax.Array, visible: jax.Array, keep: Any = None) -> jax.Array:
        """Last hidden layer, `[B, H]`."""
        return self.hidden(self.first(x, visible), keep)

    def first(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """First layer before its activation: `[B, H]`."""
        # where, not a product: whatever stands in a hidden pixel, NaN even, must not matter.
        a = self.c[None] + _dot(jnp.where(visible > 0, x, 0), self.W, self.config.dtype)
        return a if self.M is None else a + _dot(visible, self.M, self.config.dtype)

    def added(self, x: jax.Array, pixel: jax.Array) -> jax.Array:
        """What one more visible pixel adds to `first`: `x [..., B]`, `pixel [...]`."""
        a = x[..., None] * self.W[pixel][..., None, :]  # [..., B, H]
        return a if self.M is None else a + self.M[pixel][..., None, :]

    def hidden(self, a: jax.Array, keep: Any = None) -> jax.Array:
        """First pre-activations `[B, H]` to the last hidden layer."""
        act = nn.relu if self.config.activation == "relu" else nn.sigmoid
        h = act(a)
        for i, (U, u) in enumerate(zip(self.U, self.u, strict=True)):
            h = h if keep is None else h * keep[i]
            h = act(_dot(h, U, self.config.dtype) + u[None])
        return h if keep is None else h * keep[-1]

    def step(self, a: jax.Array, pixel: jax.Array) -> jax.Array:
        """Logits of one pixel: `a [C, B, H]`, `pixel [C]` -> `[C, B]`, by its row of V."""
        h = self.hidden(a.reshape(-1, a.shape[-1])).reshape(*a.shape[:-1], -1)
        logits = jnp.einsum("cbh,ch->cb", h, self.V[pixel], precision=jax.lax.Precision.HIGHEST)
        return logits + self.b[pixel][:, None]

    def log_probs(self, x: jax.Array, perms: jax.Array) -> jax.Array:
        """log p of `x [B, D]` along each order of `perms [C, D]`: `[C, B]`, in one scan over D."""

        def pixel(carry: Any, i: jax.Array) -> tuple[Any, None]:
            a, nats = carry
            x_i = x.T[i]  # [C, B]
            return (a + self.added(x_i, i), nats + bernoulli_nats(self.step(a, i), x_i)), None

        (_, nats), _ = jax.lax.scan(pixel, self.start(x, len(perms)), perms.T)
        return -nats

    def logits_along(self, x: jax.Array, perm: jax.Array) -> jax.Array:
        """Logits along one order, `[D, B]` in that order."""

        def pixel(a: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
            return a + self.added(x.T[i], i), self.step(a, i)[0]

        return jax.lax.scan(pixel, self.start(x, 1)[0], perm[:, None])[1]

    def start(self, x: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Nothing visible: pre-activations `[C, B, H]` and nats `[C, B]`."""
        # 0 * x: inside a user's shard_map the carry must vary over the devices as x does.
        nats = jnp.zeros((count, 1)) + 0 * x[:, 0][None]
        return self.c[None, None] + nats[..., None], nats

    def complete(
        self, key: jax.Array, x: jax.Array, visible: jax.Array, perms: jax.Array
    ) -> jax.Array:
        """Draw the hidden pixels of `x [B, D]`, each image along its order of `perms [B, D]`."""

        def pixel(carry: Any, part: Any) -> tuple[Any, None]:
            a, x = carry
            i, u = part  # [B] both
            drawn = draw_values(self.step(a[:, None], i)[:, 0], u, 2).astype(x.dtype)
            seen = jnp.take_along_axis(visible, i[:, None], 1)[:, 0] > 0
            # A visible pixel is in the sum from the beginning, and stays as it is.
            a = a + jnp.where(seen, 0.0, 1.0)[:, None] * self.added(drawn[:, None], i)[:, 0]
            kept = jnp.where(seen, jnp.take_along_axis(x, i[:, None], 1)[:, 0], drawn)
            return (a, x.at[jnp.arange(len(x)), i].set(kept)), None

        noise = jax.random.uniform(key, perms.T.shape)
        (_, x), _ = jax.lax.scan(pixel, (self.first(x, visible), x), (perms.T, noise))
        return x


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    nothing = jnp.zeros((1, math.prod(config.shape)))
    return OrderlessNADE(config).init(key, nothing, nothing)


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Unbiased estimate of -log p(x) averaged over all orders: `[B]` nats (eq. 7).

    An example sees the d - 1 pixels that stand before a uniform one in a uniform order, so d is
    uniform in 1 .. D; D / (D - d + 1) times the nats of its hidden pixels.
    """
    checks.batch("orderless_nade", batch, functools.partial(batch_spec, config))
    x = _flat(batch["x"])
    pixel_key, subset_key, drop_key = jax.random.split(key, 3)
    pixel = jax.random.randint(pixel_key, (len(x), 1), 0, x.shape[1])
    visible = _seen_before(subset_key, pixel, x)
    keep = None
    if config.dropout:
        layers = enumerate(config.hidden)
        keep = [
            jax.random.bernoulli(jax.random.fold_in(drop_key, i), 1 - config.dropout, (len(x), h))
            / jnp.float32(1 - config.dropout)
            for i, h in layers
        ]
    logits = OrderlessNADE(config).apply(variables, x, visible, keep)
    return nan_unless_binary(masked_nats(logits, x, visible), x), {}


def masked_nats(logits: jax.Array, x: jax.Array, visible: jax.Array) -> jax.Array:
    """D / (hidden pixels) times the nats of the hidden ones: `[B, D]` each -> `[B]` (eq. 7)."""
    hidden = 1 - visible
    return sum_event(hidden * bernoulli_nats(logits, x)) * x.shape[1] / jnp.sum(hidden, axis=1)


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def log_probs(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x) along every order of the ensemble: `[orders, B]` nats.

    About 2 orders B D H^2 floating-point operations with two layers of H: a step of the chain rule
    updates the first layer by one pixel and computes one output. 128 orders, 2x500 and 10,000
    images of 784 pixels make 5e14. At most `ROWS` images times orders are held at a time.
    """
    checks.events("orderless_nade", x, config.shape)
    x, perms = _flat(x), orders(config)
    rounds = -(-len(perms) // max(1, ROWS // len(x)))
    perms = np.resize(perms, (rounds, -(-len(perms) // rounds), x.shape[1]))  # filled up, cut below
    walk = functools.partial(OrderlessNADE(config).apply, variables, x, method="log_probs")
    found = jax.lax.map(walk, jnp.asarray(perms)).reshape(-1, len(x))[: config.orders]
    return jax.vmap(nan_unless_binary, (0, None))(found, x)


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x) of the ensemble, the mean of its orders' probabilities: `[B]` nats."""
    return jax.nn.logsumexp(log_probs(config, variables, x), axis=0) - math.log(config.orders)


def reported(config: Config, variables: dict[str, Any], batch: dict[str, jax.Array]) -> jax.Array:
    """The figure of a run, `[B]` nats: -log p of the ensemble, or its mean over the orders."""
    if config.report == "ensemble":
        return -log_prob(config, variables, batch["x"])
    return -jnp.mean(log_probs(config, variables, batch["x"]), axis=0)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | pixels before d in `order`): `[B, *shape]`."""
    checks.events("orderless_nade", x, config.shape)
    perm = order(config)
    walk = functools.partial(OrderlessNADE(config).apply, variables, method="logits_along")
    return walk(_flat(x), jnp.asarray(perm))[np.argsort(perm)].T.reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | pixels before d in `order`): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def logits_given(
    config: Config, variables: dict[str, Any], x: jax.Array, visible: jax.Array
) -> jax.Array:
    """Logits of p(x_i = 1 | visible pixels) for every hidden i, in one pass: `[B, *shape]`.

    Args:
      config: of the network.
      variables: of the network.
      x: `[B, *shape]`; what stands in hidden pixels does not matter.
      visible: `[B, *shape]`, 1 where a pixel is seen; logits of these mean nothing.
    """
    checks.events("orderless_nade", x, config.shape)
    checks.same_shape("orderless_nade", x=x, visible=visible)
    both = (_flat(x), _flat(visible.astype(x.dtype)))
    return OrderlessNADE(config).apply(variables, *both).reshape(x.shape)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples, each along one order of the ensemble: float32 `[n, *shape]`; one without n."""
    choose, draw = jax.random.split(key)
    which = jax.random.randint(choose, (checks.sample_count(n),), 0, config.orders)
    perms = jnp.asarray(orders(config))[which]
    nothing = jnp.zeros(perms.shape)
    x = _complete(config, variables, draw, nothing, nothing, perms).reshape(-1, *config.shape)
    return x if n else x[0]


def sample_given(
    config: Config, variables: dict[str, Any], key: jax.Array, x: jax.Array, visible: jax.Array
) -> jax.Array:
    """Exact completions of `x` given its visible pixels: `[B, *shape]`.

    The hidden pixels follow the first order of the ensemble with the visible ones left out;
    arguments as of `logits_given`.
    """
    checks.events("orderless_nade", x, config.shape)
    checks.same_shape("orderless_nade", x=x, visible=visible)
    flat, seen = _flat(x), _flat(visible.astype(x.dtype))
    perms = jnp.broadcast_to(jnp.asarray(order(config)), flat.shape)
    return _complete(config, variables, key, flat, seen, perms).reshape(x.shape)


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Last hidden layer with all pixels visible: `[B, H]`."""
    checks.events("orderless_nade", x, config.shape)
    everything = jnp.ones_like(_flat(x))
    return OrderlessNADE(config).apply(variables, _flat(x), everything, method="units")


def _complete(config: Config, variables: dict[str, Any], *arguments: jax.Array) -> jax.Array:
    return OrderlessNADE(config).apply(variables, *arguments, method="complete")


def _seen_before(key: jax.Array, pixel: jax.Array, x: jax.Array) -> jax.Array:
    """Pixels that stand before `pixel [B, 1]` in one random order an example: 0 or 1, `[B, D]`."""
    # An order is that of D random words; which are smaller needs no sort. Words tie once in ten
    # thousand examples of 784 pixels, and then the subset is smaller, which its weight counts.
    words = jax.random.bits(key, x.shape)
    return (words < jnp.take_along_axis(words, pixel, axis=1)).astype(jnp.float32)


def _dot(x: jax.Array, kernel: jax.Array, dtype: str = "float32") -> jax.Array:
    """Matrix product in `dtype`, summed in float32; float32 is not cut to TensorFloat-32."""
    if dtype == "float32":
        return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    return jnp.dot(x, kernel, preferred_element_type=jnp.float32)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)  # [B, D]
