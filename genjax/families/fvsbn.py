"""FVSBN, the fully visible sigmoid belief net: a logistic regression per pixel.

    p(x_d = 1 | x_<d) = sigmoid(b_d + sum_{j < d} W_dj x_j)

It has D (D - 1) / 2 + D parameters, a convex loss and no hidden units. All conditionals are one
product with a strictly triangular matrix.

Frey 1998, "Graphical Models for Machine Learning and Digital Communication", section 3.2 (logistic
autoregression); Larochelle and Murray 2011, "The Neural Autoregressive Distribution Estimator",
section 2, eq. 4 (as a baseline).
"""

import dataclasses
import math
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Order of the pixels, and dropout."""

    shape: checks.PositiveInts = (28, 28, 1)
    """Event shape: (D,) or (H, W, C)."""
    order: Literal["raster", "random"] = "random"
    """Order of the pixels; the paper draws one at random and keeps it (2011, section 6)."""
    order_seed: checks.NonNegativeInt = 0
    """Seed of the random order; NADE and MADE draw the same one."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of the inputs of all conditionals; not in the paper."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    dims = math.prod(config.shape)
    # The other half of the stored matrix is not used.
    parameters = dims * (dims - 1) // 2 + dims
    return Traits(data="binary", density="exact", num_parameters=parameters)


def tiny() -> Config:
    return Config(shape=(3, 3, 1), dropout=0.1)


class FVSBN(nn.Module):
    """Network of the conditionals; x and logits are in raster order."""

    config: Config

    def setup(self) -> None:
        dims = math.prod(self.config.shape)
        # The loss is convex, so any initialization works; 0 makes every pixel uniform.
        self.W = self.param("W", nn.initializers.zeros, (dims, dims))  # [from, to]
        self.b = self.param("b", nn.initializers.zeros, (dims,))

    def masked(self) -> jax.Array:
        """Returns the weights from each pixel to those after it in the order, `[D, D]`."""
        place = jnp.argsort(jnp.asarray(order(self.config)))
        return jnp.where(place[:, None] < place[None, :], self.W, 0)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes logits `[B, D]` from `x [B, D]`."""
        return jnp.dot(x, self.masked(), precision=jax.lax.Precision.HIGHEST) + self.b[None]

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Samples `[n, D]`: every pixel adds its row of weights to the logits, O(D^2)."""
        perm = order(self.config)
        noise = jax.random.uniform(key, (perm.size, n))

        def pixel(logits: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            u, w, d = part
            x = draw_values(logits[:, d], u, 2).astype(logits.dtype)  # [n]
            return logits + x[:, None] * w[None], x

        start = jnp.broadcast_to(self.b, (n, perm.size))
        _, x = jax.lax.scan(pixel, start, (noise, self.masked()[perm], jnp.asarray(perm)))
        return x.T[:, np.argsort(perm)]


init, sample = flat_network(FVSBN)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), `[B]` nats, with dropout of inputs."""
    check_batch("fvsbn", config, batch)
    x = inputs = flat_events("fvsbn", config, batch["x"])
    if config.dropout:
        inputs = x * dropout_mask(key, config.dropout, x.shape)
    return nan_unless_binary(bernoulli_nll(FVSBN(config).apply(variables, inputs), x), x), {}


def logits(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes logits of p(x_d = 1 | pixels before d in `order`), `[B, *shape]`."""
    return FVSBN(config).apply(variables, flat_events("fvsbn", config, x)).reshape(x.shape)


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats."""
    check_density(Config, config, variables, x, 2)
    return -nan_unless_binary(bernoulli_nll(logits(config, variables, x), x), x)
