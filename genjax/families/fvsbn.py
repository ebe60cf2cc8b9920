"""FVSBN: the fully visible sigmoid belief net, a logistic regression for every pixel.

    p(x_d = 1 | x_<d) = sigmoid(b_d + sum_{j < d} W_dj x_j)

The simplest model that the chain rule allows beyond counting: D (D - 1) / 2 + D parameters, a
convex loss, no hidden units. All conditionals are one product with a strictly triangular matrix.

Frey 1998, "Graphical Models for Machine Learning and Digital Communication", section 3.2 (logistic
autoregression); Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator",
section 2, eq. 4, where it is the baseline.
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
from genjax.losses import bernoulli_nll
from genjax.nn import draw_order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """There is only the order to choose; weights are shrunk by the optimizer's weight decay."""

    shape: tuple[int, ...] = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    order: Literal["raster", "random"] = "random"
    """Order of the pixels; the paper draws one at random and keeps it (2011, section 6)."""
    order_seed: int = 0
    """Seed of the random order; NADE and MADE draw the same one."""
    dropout: float = 0.0
    """Share of the inputs of all conditionals dropped in training; not in the paper."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape)
        checks.one_of(("raster", "random"), order=self.order)
        checks.not_negative(order_seed=self.order_seed)
        checks.fraction(dropout=self.dropout)


def traits(config: Config) -> Traits:
    return Traits(data="binary", density="exact", num_parameters=_num_parameters(config))


def tiny() -> Config:
    return Config(shape=(3, 3, 1), dropout=0.1)


def _num_parameters(config: Config) -> int:
    """Free parameters D (D - 1) / 2 + D: the other half of the stored square is never read."""
    dims = math.prod(config.shape)
    return dims * (dims - 1) // 2 + dims


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, each entry 0 or 1."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`, the flat pixel that each step of the chain rule predicts."""
    dims = math.prod(config.shape)
    return np.arange(dims) if config.order == "raster" else draw_order(dims, config.order_seed)


class FVSBN(nn.Module):
    """Logits of the conditionals; pixels stay in their places, only the mask knows the order."""

    config: Config

    def setup(self) -> None:
        dims = math.prod(self.config.shape)
        # The loss is convex: it can begin anywhere, and at 0 every pixel is a fair coin.
        self.W = self.param("W", nn.initializers.zeros, (dims, dims))  # [from, to]
        self.b = self.param("b", nn.initializers.zeros, (dims,))

    def masked(self) -> jax.Array:
        """The weights that the order allows: `[D, D]`, from a pixel to those after it."""
        place = jnp.argsort(jnp.asarray(order(self.config)))
        return jnp.where(place[:, None] < place[None, :], self.W, 0)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`x [B, D]` -> logits `[B, D]`."""
        return jnp.dot(x, self.masked(), precision=jax.lax.Precision.HIGHEST) + self.b[None]

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` exact samples, `[n, D]`: every drawn pixel adds its row to the logits, O(D^2)."""
        perm = order(self.config)
        noise = jax.random.uniform(key, (perm.size, n))

        def pixel(logits: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            u, w, d = part
            x = draw_values(logits[:, d], u, 2).astype(logits.dtype)  # [n]
            return logits + x[:, None] * w[None], x

        start = jnp.broadcast_to(self.b, (n, perm.size))
        _, x = jax.lax.scan(pixel, start, (noise, self.masked()[perm], jnp.asarray(perm)))
        return x.T[:, np.argsort(perm)]


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    return FVSBN(config).init(key, jnp.zeros((1, math.prod(config.shape))))


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats; with dropout, of inputs that are 0 or scaled up."""
    checks.batch("fvsbn", batch, functools.partial(batch_spec, config))
    x = seen = _flat(batch["x"])
    if config.dropout:
        kept = jax.random.bernoulli(key, 1 - config.dropout, x.shape)
        seen = x * (kept / jnp.float32(1 - config.dropout))
    return nan_unless_binary(bernoulli_nll(FVSBN(config).apply(variables, seen), x), x), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def logits(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Logits of p(x_d = 1 | pixels before d in `order`): `[B, *shape]`."""
    checks.events("fvsbn", x, config.shape)
    return FVSBN(config).apply(variables, _flat(x)).reshape(x.shape)


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | pixels before d): `[B, *shape]` nats, 0 or below."""
    return -conditional_nats(logits(config, variables, x), x, 2)


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats."""
    return -nan_unless_binary(bernoulli_nll(logits(config, variables, x), x), x)


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples: float32 `[n, *shape]` in {0, 1}; one image without `n`."""
    x = FVSBN(config).apply(variables, key, checks.sample_count(n), method="sample")
    x = x.reshape(-1, *config.shape)
    return x if n else x[0]


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)  # [B, D]
