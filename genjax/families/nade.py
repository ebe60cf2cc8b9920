"""NADE, the neural autoregressive distribution estimator, for binary data.

log p(x) = sum_d log p(x_d | x_<d). Each conditional is a logistic regression on hidden units whose
weights are shared over d, so that the density costs O(D H):

    a_1 = c,                 h_d = act(a_d),
    a_{d+1} = a_d + x_d W_d,  p(x_d = 1 | x_<d) = sigmoid(b_d + V_d h_d)

Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator", section 3 and
algorithm 1; Uria, Murray and Larochelle 2014, "A Deep and Tractable Density Estimator", section 2.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import draw_values, nan_unless_binary
from genjax.core.autoregressive import flat_network, order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_batch, check_density, flat_events
from genjax.core.protocols import Batch, LossOutput, Traits, Variables
from genjax.losses import bernoulli_nll
from genjax.nn import dropout_mask

HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the papers' for binarized MNIST."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    hidden: checks.PositiveInt = 500
    """Number of hidden units H (2011, section 6.2; 2014, section 6.1)."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """Hidden activation (2014, table 2 has both)."""
    order: Literal["raster", "random"] = "random"
    """Order of the pixels; the papers draw one at random and keep it."""
    order_seed: checks.NonNegativeInt = 0
    """Seed of the random order."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of hidden units; not in the papers."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    return Traits(data="binary", density="exact")


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=8, dropout=0.1)


def block_length(dims: int) -> int:
    """Returns the number of chain-rule steps per block: about sqrt(D)."""
    return max(1, round(math.sqrt(dims)))


class NADE(nn.Module):
    """Network of the conditionals; x and logits are sorted by `order`."""

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
        """Computes logits `[B, D]` from `x [B, D]` and a dropout mask `keep [B, H]` or None."""
        perm = order(self.config)
        arguments = (x, self.W[perm], self.V[perm], self.c, keep)
        logits = jax.lax.platform_dependent(*arguments, cpu=self.pixels, default=self.blocks)
        return logits + self.b[perm][None]

    def blocks(self, x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array, keep: Any) -> Any:
        """Computes logits without biases, block by block, by prefix sums within a block."""
        k = block_length(x.shape[1])
        before = jnp.tril(jnp.ones((k, k), x.dtype), -1)  # step i depends on j < i

        def block(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_k, W_k, V_k = part  # [B, k], [k, H], [k, H]
            # Full float32: bfloat16 sums lose hidden units after a few hundred terms.
            x_before = x_k[:, None, :] * before[None]  # [B, k, k]
            prefix = jnp.einsum("bij,jh->bih", x_before, W_k, precision=HIGHEST)
            h = self.act(a[:, None, :] + prefix)  # [B, k, H]
            if keep is not None:
                h = h * keep[:, None, :]
            logits = jnp.einsum("bih,ih->bi", h, V_k, precision=HIGHEST)
            total = jnp.einsum("bj,jh->bh", x_k, W_k, precision=HIGHEST)
            return a + total, logits

        return self._in_blocks(block, x, W, V, c)

    def pixels(self, x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array, keep: Any) -> Any:
        """Computes the same pixel by pixel: fewer operations, and faster on a CPU."""

        def pixel(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_d, W_d, V_d = part  # [B], [H], [H]
            h = self.act(a) if keep is None else self.act(a) * keep
            logits = jnp.dot(h, V_d, precision=HIGHEST)
            return a + x_d[:, None] * W_d[None], logits

        def block(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            x_k, W_k, V_k = part
            a, logits = jax.lax.scan(pixel, a, (x_k.T, W_k, V_k))
            return a, logits.T

        return self._in_blocks(block, x, W, V, c)

    def _in_blocks(
        self, block: Callable[..., Any], x: jax.Array, W: jax.Array, V: jax.Array, c: jax.Array
    ) -> jax.Array:
        """Scans `block(a, (x, W, V)) -> (a, logits)` over blocks of pixels."""
        batch, dims = x.shape
        k = block_length(dims)
        blocks = -(-dims // k)
        pad = blocks * k - dims
        # Padded steps add 0 to the sums; their logits are removed below.
        W, V = (jnp.pad(p, ((0, pad), (0, 0))).reshape(blocks, k, -1) for p in (W, V))
        x = jnp.pad(x, ((0, 0), (0, pad)))
        parts = (x.reshape(batch, blocks, k).swapaxes(0, 1), W, V)
        # 0 * x: inside shard_map the carry must vary over devices as x does.
        start = c[None] + 0 * x[:, :1]  # [B, H]
        # Recomputed in the backward pass, which is cheaper than storing [B, D, H]. Inside a scan
        # prevent_cse is not needed.
        block = jax.checkpoint(block, prevent_cse=False)
        _, logits = jax.lax.scan(block, start, parts)  # [blocks, B, k]
        return logits.swapaxes(0, 1).reshape(batch, blocks * k)[:, :dims]

    def encode(self, x: jax.Array) -> jax.Array:
        """Computes the hidden units after the last pixel, `[B, H]`."""
        return self.act(self.c[None] + x @ self.W[order(self.config)])

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Samples `[n, D]`, in raster order, in one pass over the chain rule."""
        perm = order(self.config)
        noise = jax.random.uniform(key, (perm.size, n))

        def pixel(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            u, w, v, b = part
            logits = jnp.dot(self.act(a), v, precision=HIGHEST) + b  # [n]
            x = draw_values(logits, u, 2).astype(a.dtype)
            return a + x[:, None] * w[None], x

        start = jnp.broadcast_to(self.c, (n, self.config.hidden))
        _, x = jax.lax.scan(pixel, start, (noise, self.W[perm], self.V[perm], self.b[perm]))
        return x.T[:, np.argsort(perm)]


init, sample = flat_network(NADE)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), `[B]` nats, with dropout."""
    check_batch("nade", config, batch)
    x = _ordered(config, batch["x"])
    size = (x.shape[0], config.hidden)
    keep = dropout_mask(key, config.dropout, size) if config.dropout else None
    return nan_unless_binary(bernoulli_nll(NADE(config).apply(variables, x, keep), x), x), {}


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | pixels before d in `order`), `[B, *shape]`."""
    in_order = NADE(config).apply(variables, _ordered(config, x))
    return in_order[:, np.argsort(order(config))].reshape(x.shape)


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats."""
    check_density(Config, config, variables, x, 2)
    x = _ordered(config, x)
    return -nan_unless_binary(bernoulli_nll(NADE(config).apply(variables, x), x), x)


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes the hidden units after the last pixel, `[B, H]`."""
    return NADE(config).apply(variables, _ordered(config, x), method="encode")


def _ordered(config: Config, x: jax.Array) -> jax.Array:
    return flat_events("nade", config, x)[:, order(config)]
