"""RNADE: NADE for real numbers, each conditional a mixture of Gaussians or of Laplacians.

p(x) = prod_d p(x_d | x_<d); the hidden units share their weights over d as in NADE, and one
learned number a dimension keeps them in range as the sum grows:

    a_1 = c,   a_{d+1} = a_d + x_d W_d,   h_d = relu(rho_d a_d)
    weights = softmax(V^w_d h_d + b^w_d),   means = V^m_d h_d + b^m_d,
    scales = exp(V^s_d h_d + b^s_d)

Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive density-estimator",
section 3. The paper also multiplies the gradient of each mean by its scale in training; Adam, which
divides gradients by their size, is used here without it.
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
from genjax.core import Traits, gradient_step
from genjax.losses import gaussian_mixture_nats, laplace_mixture_nats, sum_event


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Architecture; the defaults are the papers' for the UCI data."""

    shape: tuple[int, ...] = (11,)
    """Event shape: (D,) or (H, W, C); the columns of red wine."""
    hidden: int = 50
    """Hidden units H (2013, section 4.1; 2014, section 6.2)."""
    components: int = 20
    """Components K of each conditional (2014, section 6.2)."""
    kind: Literal["gaussian", "laplace"] = "gaussian"
    """Of the components."""
    order: Literal["raster", "random"] = "raster"
    """Order of the dimensions; the papers draw one at random and keep it."""
    order_seed: int = 0
    """Seed of the random order."""
    min_log_scale: float = -7.0
    """Log scales z become min + softplus(z - min), z itself well above the minimum: no density is
    infinite where a value repeats. Not in the papers."""
    dropout: float = 0.0
    """Share of hidden units dropped in training; not in the papers."""

    def __post_init__(self) -> None:
        checks.kinds(self)
        checks.positive(shape=self.shape, hidden=self.hidden, components=self.components)
        checks.one_of(("gaussian", "laplace"), kind=self.kind)
        checks.one_of(("raster", "random"), order=self.order)
        checks.not_negative(order_seed=self.order_seed)
        checks.fraction(dropout=self.dropout)


def traits(config: Config) -> Traits:
    del config
    return Traits(data="real", density="exact", sample_range=(-math.inf, math.inf))


def tiny() -> Config:
    return Config(shape=(3, 3, 1), hidden=8, components=3, order="random", dropout=0.1)


def batch_spec(config: Config, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """`x`: float32 `[B, *shape]`, any real number."""
    return {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}


def order(config: Config) -> np.ndarray:
    """`[D]`, the flat dimension that each step of the chain rule predicts."""
    dims = math.prod(config.shape)
    if config.order == "raster":
        return np.arange(dims)
    # Ranks of raw generator output: numpy promises to keep this stream, not its shuffles.
    return np.argsort(np.random.Philox(key=config.order_seed).random_raw(dims), kind="stable")


Mixture = tuple[jax.Array, jax.Array, jax.Array]  # logits, means, log scales, [..., K] each


class RNADE(nn.Module):
    """Parameters of the conditionals, in order."""

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
        """`x [B, D]` in order, `keep [B, H]` a dropout mask or None -> mixtures `[B, D, K]`.

        Holds [B, D, H] activations: D is tens in the papers.
        """
        perm = order(self.config)
        terms = x[:, :-1, None] * self.W[perm][None, :-1]  # [B, D - 1, H]
        # Shifted, not subtracted: a step must not see its own x, not even as rounding.
        a = jnp.pad(jnp.cumsum(terms, axis=1), ((0, 0), (1, 0), (0, 0))) + self.c[None, None]
        h = nn.relu(a * self.rho[perm][None, :, None])  # [B, D, H]
        if keep is not None:
            h = h * keep[:, None]
        out = jnp.einsum("bdh,dhpk->bdpk", h, self.V[perm], precision=jax.lax.Precision.HIGHEST)
        return self.split(out + self.b[perm][None])

    def split(self, z: jax.Array) -> Mixture:
        """`[..., 3, K]` to logits, means and log scales."""
        low = self.config.min_log_scale
        return z[..., 0, :], z[..., 1, :], low + nn.softplus(z[..., 2, :] - low)

    def encode(self, x: jax.Array) -> jax.Array:
        """`x [B, D]` in order -> hidden units after the last dimension, `[B, H]`."""
        return nn.relu(self.c[None] + x @ self.W[order(self.config)])

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` exact samples in one pass over the chain rule: `[n, D]` in order."""
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
        return x.T


def _spread(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Biases `[D, 3, K]`: means drawn from N(0, 1), as standardised data lies; the rest 0."""
    only_means = jnp.asarray([0.0, 1.0, 0.0], dtype)[None, :, None]
    return only_means * jax.random.normal(key, shape, dtype)


def init(config: Config, key: jax.Array, batch: Any = None) -> dict[str, Any]:
    del batch
    return RNADE(config).init(key, jnp.zeros((1, math.prod(config.shape))))


def loss(
    config: Config, variables: dict[str, Any], batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """-log p(x), `[B]` nats; with dropout, of the thinned network."""
    checks.batch("rnade", batch, functools.partial(batch_spec, config))
    x = _ordered(config, batch["x"])
    keep = None
    if config.dropout:
        kept = jax.random.bernoulli(key, 1 - config.dropout, (x.shape[0], config.hidden))
        keep = kept / jnp.float32(1 - config.dropout)
    return sum_event(_nats(config)(x, *RNADE(config).apply(variables, x, keep))), {}


def make_step(config: Config, optimizer: Any) -> Any:
    return gradient_step(functools.partial(loss, config), optimizer)


def mixtures(config: Config, variables: dict[str, Any], x: jax.Array) -> Mixture:
    """Conditionals p(x_d | x before d in `order`): logits, means, log scales, `[B, *shape, K]`."""
    checks.events("rnade", x, config.shape)
    back = np.argsort(order(config))
    found = RNADE(config).apply(variables, _ordered(config, x))
    return tuple(p[:, back].reshape(*x.shape, config.components) for p in found)  # type: ignore


def log_conditionals(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """log p(x_d | x before d in `order`): `[B, *shape]` nats; densities, so of any sign."""
    return -_nats(config)(x, *mixtures(config, variables, x))


def log_prob(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Exact log p(x): `[B]` nats."""
    return sum_event(log_conditionals(config, variables, x))


def sample(
    config: Config, variables: dict[str, Any], key: jax.Array, n: int | None = None
) -> jax.Array:
    """Exact samples: float32 `[n, *shape]`; one without `n`."""
    x = RNADE(config).apply(variables, key, checks.sample_count(n), method="sample")
    x = x[:, np.argsort(order(config))].reshape(-1, *config.shape)
    return x if n else x[0]


def encode(config: Config, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Hidden units after the whole example: `[B, H]`; no conditional, so no rho."""
    checks.events("rnade", x, config.shape)
    return RNADE(config).apply(variables, _ordered(config, x), method="encode")


def _nats(config: Config) -> Any:
    return gaussian_mixture_nats if config.kind == "gaussian" else laplace_mixture_nats


def _ordered(config: Config, x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)[:, order(config)]  # [B, D]
