"""RNADE: NADE for real data, with a mixture of Gaussians or Laplacians per conditional.

p(x) = prod_d p(x_d | x_<d). The hidden units share their weights over d as in NADE; one learned
factor per dimension keeps them in range as the sum grows:

    a_1 = c,   a_{d+1} = a_d + x_d W_d,   h_d = relu(rho_d a_d)
    weights = softmax(V^w_d h_d + b^w_d),   means = V^m_d h_d + b^m_d,
    scales = exp(V^s_d h_d + b^s_d)

Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive density-estimator",
section 3. The paper also multiplies the gradient of each mean by its scale, which is left out here:
Adam normalizes gradients.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import Batch, LossOutput, Traits, Variables, check_batch, flat_events
from genjax.core.autoregressive import flat_network, order
from genjax.core.batches import batch_spec as batch_spec
from genjax.core.batches import check_density
from genjax.losses import gaussian_mixture_nats, laplace_mixture_nats, sum_event
from genjax.nn import dropout_mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the papers' for the UCI data."""

    shape: checks.PositiveInts = (11,)
    """Event shape: (D,) or (H, W, C); the default is the columns of red wine."""
    hidden: checks.PositiveInt = 50
    """Number of hidden units H (2013, section 4.1; 2014, section 6.2)."""
    components: checks.PositiveInt = 20
    """Number of components K of each conditional (2014, section 6.2)."""
    kind: Literal["gaussian", "laplace"] = "gaussian"
    """Distribution of the components."""
    order: Literal["raster", "random"] = "raster"
    """Order of the dimensions; the papers draw one at random and keep it."""
    order_seed: checks.NonNegativeInt = 0
    """Seed of the random order."""
    min_log_scale: float = -7.0
    """Lower bound of log scales: z becomes min + softplus(z - min). Without it the density is
    infinite where a value repeats. Not in the papers."""
    dropout: checks.UnitInterval = 0.0
    """Dropout rate of hidden units; not in the papers."""

    def __post_init__(self) -> None:
        checks.validate(self)


def traits(config: Config) -> Traits:
    return Traits(data="real", density="exact", sample_range=(-math.inf, math.inf))


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=8, components=3, order="random", dropout=0.1)


Mixture = tuple[jax.Array, jax.Array, jax.Array]  # logits, means, log scales, [..., K] each


class RNADE(nn.Module):
    """Network of the conditionals; x and mixtures are sorted by `order`."""

    config: Config

    def setup(self) -> None:
        c, dims = self.config, math.prod(self.config.shape)
        self.W = self.param("W", nn.initializers.normal(1 / math.sqrt(dims)), (dims, c.hidden))
        self.c = self.param("c", nn.initializers.zeros, (c.hidden,))
        self.rho = self.param("rho", nn.initializers.ones, (dims,))
        out = (dims, c.hidden, 3, c.components)
        self.V = self.param("V", nn.initializers.normal(0.1 / math.sqrt(c.hidden)), out)
        self.b = self.param("b", _spread, (dims, 3, c.components))

    def __call__(self, x: jax.Array, keep: jax.Array | None = None) -> Mixture:
        """Computes mixtures `[B, D, K]` from `x [B, D]` and a dropout mask `keep [B, H]` or None.

        Stores `[B, D, H]` activations.
        """
        perm = order(self.config)
        terms = x[:, :-1, None] * self.W[perm][None, :-1]  # [B, D - 1, H]
        # Shifted, not subtracted: a step must not depend on its own x, not even by rounding.
        a = jnp.pad(jnp.cumsum(terms, axis=1), ((0, 0), (1, 0), (0, 0))) + self.c[None, None]
        h = nn.relu(a * self.rho[perm][None, :, None])  # [B, D, H]
        if keep is not None:
            h = h * keep[:, None]
        out = jnp.einsum("bdh,dhpk->bdpk", h, self.V[perm], precision=jax.lax.Precision.HIGHEST)
        return self.split(out + self.b[perm][None])

    def split(self, z: jax.Array) -> Mixture:
        """Splits `[..., 3, K]` into logits, means and log scales."""
        low = self.config.min_log_scale
        return z[..., 0, :], z[..., 1, :], low + nn.softplus(z[..., 2, :] - low)

    def encode(self, x: jax.Array) -> jax.Array:
        """Computes the hidden units after the last dimension, `[B, H]`."""
        return nn.relu(self.c[None] + x @ self.W[order(self.config)])

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Samples `[n, D]`, in raster order, in one pass over the chain rule."""
        perm, k = order(self.config), self.config.components
        choose, draw = jax.random.split(key)
        gumbel = jax.random.gumbel(choose, (perm.size, n, k))
        kind = jax.random.normal if self.config.kind == "gaussian" else jax.random.laplace
        noise = kind(draw, (perm.size, n))

        def dimension(a: jax.Array, part: Any) -> tuple[jax.Array, jax.Array]:
            g, e, w, V, b, rho = part
            z = jnp.einsum("nh,hpk->npk", nn.relu(a * rho), V, precision=jax.lax.Precision.HIGHEST)
            logits, means, log_scales = self.split(z + b[None])  # [n, K]
            pick = jnp.argmax(logits + g, axis=-1, keepdims=True)
            mean, log_scale = (jnp.take_along_axis(p, pick, 1)[:, 0] for p in (means, log_scales))
            x = mean + jnp.exp(log_scale) * e
            return a + x[:, None] * w[None], x

        weights = (self.W[perm], self.V[perm], self.b[perm], self.rho[perm])
        start = jnp.broadcast_to(self.c, (n, self.config.hidden))
        _, x = jax.lax.scan(dimension, start, (gumbel, noise, *weights))
        return x.T[:, np.argsort(perm)]


def _spread(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Initializes biases `[D, 3, K]`: means from N(0, 1), as standardized data, else 0."""
    only_means = jnp.asarray([0.0, 1.0, 0.0], dtype)[None, :, None]
    return only_means * jax.random.normal(key, shape, dtype)


init, sample = flat_network(RNADE)


def loss(config: Config, variables: Variables, batch: Batch, key: jax.Array) -> LossOutput:
    """Computes -log p(x), `[B]` nats, with dropout."""
    check_batch("rnade", config, batch)
    x = _ordered(config, batch["x"])
    size = (x.shape[0], config.hidden)
    keep = dropout_mask(key, config.dropout, size) if config.dropout else None
    return sum_event(_nats(config, x, RNADE(config).apply(variables, x, keep))), {}


def mixtures(config: Config, variables: Variables, x: jax.Array) -> Mixture:
    """Computes logits, means and log scales of the conditionals, `[B, *shape, K]` each."""
    back = np.argsort(order(config))
    out = RNADE(config).apply(variables, _ordered(config, x))
    return tuple(p[:, back].reshape(*x.shape, config.components) for p in out)  # type: ignore


def log_conditionals(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x_d | x before d in `order`), `[B, *shape]` nats, of any sign."""
    return -_nats(config, x, mixtures(config, variables, x))


def log_prob(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes log p(x), `[B]` nats."""
    check_density(Config, config, variables, x)
    return sum_event(log_conditionals(config, variables, x))


def encode(config: Config, variables: Variables, x: jax.Array) -> jax.Array:
    """Computes the hidden units after the last dimension, without rho: `[B, H]`."""
    return RNADE(config).apply(variables, _ordered(config, x), method="encode")


def _nats(config: Config, x: jax.Array, mixture: tuple[jax.Array, ...]) -> jax.Array:
    nats = gaussian_mixture_nats if config.kind == "gaussian" else laplace_mixture_nats
    logits, means, log_scales = mixture
    return nats(x, logits=logits, means=means, log_scales=log_scales)


def _ordered(config: Config, x: jax.Array) -> jax.Array:
    return flat_events("rnade", config, x)[:, order(config)]
