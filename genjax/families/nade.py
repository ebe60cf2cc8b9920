"""NADE: the neural autoregressive distribution estimator, on binary data.

log p(x) = sum_d log p(x_d | x_<d), each conditional a logistic regression on hidden units that
share their weights over d, so that the whole density costs O(D H):

    a_1 = c,                 h_d = act(a_d),
    a_{d+1} = a_d + x_d W_d,  p(x_d = 1 | x_<d) = sigmoid(b_d + V_d h_d)

Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator", section 3 and
algorithm 1; Uria, Murray and Larochelle 2014, "A Deep and Tractable Density Estimator", section 2.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import Traits, conditional_nats, draw_values, gradient_step, nan_unless_binary
from genjax.losses import bernoulli_nll


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the papers' for binarised MNIST."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    hidden: int = 500
    """Hidden units H (2011, section 6.2; 2014, section 6.1)."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """Hidden activation (2014, table 2 has both)."""
    order: Literal["raster", "random"] = "random"
    """Order of the pixels; the papers draw one at random and keep it."""
    order_seed: int = 0
    """Seed of the random order."""
    dropout: float = 0.0
    """Share of hidden units dropped in training; not in the papers."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape, hidden=self.hidden)
        checks.one_of(("relu", "sigmoid"), activation=self.activation)
        checks.one_of(("raster", "random"), order=self.order)
        checks.not_negative(order_seed=self.order_seed)
        checks.fraction(dropout=self.dropout)


def traits(config: Config) -> Traits:
    del config
    return Traits(data="binary", density="exact")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=8, dropout=0.1)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`, the flat pixel that each step of the chain rule predicts."""
    dims = math.prod(config.shape)
    if config.order == "raster":
        return np.arange(dims)
    # Ranks of raw generator output: numpy promises to keep this stream, not its shuffles.
    return np.argsort(np.random.Philox(key=config.order_seed).random_raw(dims), kind="stable")


def block_length(dims: int) -> int:
    """Chain-rule steps of a block: near sqrt(D), depth and width of the scan balance."""
    return max(1, round(math.sqrt(dims)))


class NADE(nn.Module):
    """Logits of the conditionals, in order."""

    config: Config

    def setup(self) -> None:
        dims, hidden = math.prod(self.config.shape), self.config.hidden
        self.W = self.param("W", nn.initializers.normal(1 / math.sqrt(dims)), (dims, hidden))
        self.c = self.param("c", nn.initializers.zeros, (hidden,))
        self.V = self.param("V", nn.initializers.normal(1 / math.sqrt(hidden)), (dims, hidden))
        self.b = self.param("b", nn.initializers.zeros, (dims,))

    def act(self, a: jax.Array) -> jax.Array:
        return jax.nn.relu(a) if self.config.activation == "relu" else jax.nn.sigmoid(a)

    def __call__(self, x: jax.Array, keep: jax.Array | None = None) -> jax.Array:
        """`x [B, D]` in order, `keep [B, H]` a dropout mask or None -> logits `[B, D]` in order."""
        perm = order(self.config)
        arguments = (x, self.W[perm], self.V[perm], self.c, keep)
        logits = jax.lax.platform_dependent(*arguments, cpu=self.pixels, default=self.blocks)
        chex.assert_shape(logits, x.shape)
        return logits + self.b[perm][None]

    def blocks(self, x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array, keep: Any) -> Any:
        """Logits without their biases, by blocks of prefix sums."""
        k = block_length(x.shape[1])
        before = jnp.tril(jnp.ones((k, k), x.dtype), -1)  # step i sees j < i

        def block(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_k, W_k, V_k = part  # [B, k], [k, H], [k, H]
            # float32 sums: bfloat16 ones lose whole hidden units after a few hundred terms.
            prefix = jnp.einsum(
                "bij,jh->bih",
                x_k[:, None, :] * before[None],
                W_k,
                precision=jax.lax.Precision.HIGHEST,
            )
            h = self.act(a[:, None, :] + prefix)  # [B, k, H]
            if keep is not None:
                h = h * keep[:, None, :]
            logits = jnp.einsum("bih,ih->bi", h, V_k, precision=jax.lax.Precision.HIGHEST)
            total = jnp.einsum("bj,jh->bh", x_k, W_k, precision=jax.lax.Precision.HIGHEST)
            return a + total, logits

        return self._in_blocks(block, x, W, V, c)

    def pixels(self, x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array, keep: Any) -> Any:
        """The same, a pixel after the other: less arithmetic, and a chain that a CPU does not mind,
        whose caches hold the hidden units."""

        def pixel(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_d, W_d, V_d = part  # [B], [H], [H]
            h = self.act(a) if keep is None else self.act(a) * keep
            logits = jnp.dot(h, V_d, precision=jax.lax.Precision.HIGHEST)
            return a + x_d[:, None] * W_d[None], logits

        def block(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_k, W_k, V_k = part
            a, logits = jax.lax.scan(pixel, a, (x_k.T, W_k, V_k))
            return a, logits.T

        return self._in_blocks(block, x, W, V, c)

    def _in_blocks(
        self, block: Callable[..., Any], x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array
    ) -> jax.Array:
        """`block(a, (x, W, V)) -> (a, logits)` of some pixels each, from first to last."""
        batch, dims = x.shape
        k = block_length(dims)
        blocks = -(-dims // k)
        pad = blocks * k - dims
        # Padded steps add 0 to the sums and their logits are cut off below.
        W, V = (jnp.pad(p, ((0, pad), (0, 0))).reshape(blocks, k, -1) for p in (W, V))
        x = jnp.pad(x, ((0, 0), (0, pad)))
        parts = (x.reshape(batch, blocks, k).swapaxes(0, 1), W, V)
        # 0 * x: inside a user's shard_map the carry must vary over the devices as x does.
        start = c[None] + 0 * x[:, :1]  # [B, H]
        # Only one block of activations lives at a time: the backward pass computes it again,
        # which is cheaper than writing and reading [B, D, H].
        again = jax.checkpoint(block, prevent_cse=False)  # a scan keeps the two apart
        _, logits = jax.lax.scan(again, start, parts)  # [blocks, B, k]
        return logits.swapaxes(0, 1).reshape(batch, blocks * k)[:, :dims]

    def encode(self, x: jax.Array) -> jax.Array:
        """`x [B, D]` in order -> hidden units after the last pixel, `[B, H]`."""
        return self.act(self.c[None] + x @ self.W[order(self.config)])

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` exact samples in one pass over the chain rule: `[n, D]` in order."""
        perm = order(self.config)
        noise = jax.random.uniform(key, (perm.size, n))

        def pixel(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            u, w, v, b = part
            logits = jnp.dot(self.act(a), v, precision=jax.lax.Precision.HIGHEST) + b  # [n]
            x = draw_values(logits, u, 2).astype(a.dtype)
            return a + x[:, None] * w[None], x

        start = jnp.broadcast_to(self.c, (n, self.config.hidden))
        _, x = jax.lax.scan(pixel, start, (noise, self.W[perm], self.V[perm], self.b[perm]))
        return x.T


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    return NADE(config).init(key, jnp.zeros((1, math.prod(config.shape))))


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats; with dropout, of the thinned network."""
    checks.batch("nade", batch, functools.partial(batch_spec, config))
    x = _ordered(config, batch["x"])
    keep = None
    if config.dropout:
        kept = jax.random.bernoulli(key, 1 - config.dropout, (x.shape[0], config.hidden))
        keep = kept / jnp.float32(1 - config.dropout)
    return nan_unless_binary(bernoulli_nll(NADE(config).apply(variables, x, keep), x), x), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | pixels before d in `order`): `[B, *shape]`."""
    checks.events("nade", x, config.shape)
    in_order = NADE(config).apply(variables, _ordered(config, x))
    return in_order[:, np.argsort(order(config))].reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | pixels before d): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats."""
    checks.events("nade", x, config.shape)
    x = _ordered(config, x)
    return -nan_unless_binary(bernoulli_nll(NADE(config).apply(variables, x), x), x)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    x = NADE(config).apply(variables, key, checks.sample_count(n), method="sample")
    x = x[:, np.argsort(order(config))].reshape(-1, *config.shape)
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Hidden units after the whole image: `[B, H]`."""
    checks.events("nade", x, config.shape)
    return NADE(config).apply(variables, _ordered(config, x), method="encode")


def _ordered(config: Config, x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)[:, order(config)]  # [B, D]
