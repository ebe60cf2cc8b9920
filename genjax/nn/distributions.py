"""Distributions of latents and of observations, parameterised by network outputs.

Each is a pytree with the methods that `genjax.core.protocols.LatentVariable` lists. The first axis
of the parameters is the batch; log densities are in nats.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from genjax.core import draw_values
from genjax.losses import (
    bernoulli_nll,
    discretized_logistic_nll,
    gaussian_cholesky_kl,
    gaussian_kl,
    gaussian_nll,
)


def standard_log_prob(z: jax.Array) -> jax.Array:
    """Returns the log density of N(0, I): `[..., Z] -> [...]`."""
    return -jnp.sum(0.5 * z**2 + 0.5 * math.log(2 * math.pi), axis=-1)


def _expand(a: jax.Array, like: jax.Array) -> jax.Array:
    """Adds leading axes of size 1, up to the rank of `like`."""
    return a.reshape((1,) * (like.ndim - a.ndim) + a.shape)


class StandardNormal(struct.PyTreeNode):
    """N(0, I) over vectors of `event_shape` (Z,)."""

    event_shape: tuple[int, ...] = struct.field(pytree_node=False)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        return jax.random.normal(key, (n, *self.event_shape))

    def log_prob(self, z: jax.Array) -> jax.Array:
        return standard_log_prob(z)


class Posterior(struct.PyTreeNode):
    """Base of posteriors, by default without closed forms."""

    def sample_and_log_prob(self, key: jax.Array) -> tuple[Any, jax.Array]:
        raise NotImplementedError(f"{type(self).__name__} does not evaluate log q(z | x).")

    def sample(self, key: jax.Array) -> Any:
        return self.sample_and_log_prob(key)[0]

    def kl(self, prior: Any) -> jax.Array | None:
        return None

    def kl_units(self, prior: Any) -> jax.Array | None:
        return None


class Gaussian(Posterior, kw_only=True):  # type: ignore[call-arg]
    """N(loc, L L^T) with L = diag(exp(log_std)) + lower.

    Source: Kingma and Welling 2019, "An Introduction to Variational Autoencoders", sections 2.5
    and 2.5.1.
    """

    loc: jax.Array  # `[B, Z]`
    log_std: jax.Array  # `[B, Z]`, log of the diagonal of L
    # `[B, Z, Z]`, strictly lower triangular, or None for a diagonal covariance
    lower: jax.Array | None = None

    @staticmethod
    def num_outputs(latent: int, full: bool = False) -> int:
        """Returns the number of network outputs that parameterise one Gaussian."""
        return 2 * latent + (latent * (latent - 1) // 2 if full else 0)

    @classmethod
    def from_outputs(cls, outputs: jax.Array, latent: int, full: bool = False) -> "Gaussian":
        """Splits `[..., num_outputs]` into means, log variances, and entries below the diagonal.

        A full covariance needs `[B, num_outputs]`; its entries are in row-major order.
        """
        loc, log_std = outputs[..., :latent], 0.5 * outputs[..., latent : 2 * latent]
        if not full:
            return cls(loc=loc, log_std=log_std)
        rows, columns = jnp.tril_indices(latent, -1)
        empty = jnp.zeros((outputs.shape[0], latent, latent), outputs.dtype)
        lower = empty.at[:, rows, columns].set(outputs[:, 2 * latent :])
        return cls(loc=loc, log_std=log_std, lower=lower)

    @property
    def cholesky(self) -> jax.Array:
        diagonal = jax.vmap(jnp.diag)(jnp.exp(self.log_std))
        return diagonal if self.lower is None else diagonal + self.lower

    def mean(self) -> jax.Array:
        return self.loc

    def transform(self, noise: jax.Array) -> jax.Array:
        """Returns loc + L noise, `[..., B, Z] -> [..., B, Z]`."""
        z = _expand(self.loc, noise) + _expand(jnp.exp(self.log_std), noise) * noise
        if self.lower is None:
            return z
        # Full float32 on a GPU too: densities are evaluated at this z.
        highest = jax.lax.Precision.HIGHEST
        return z + jnp.einsum("bij,...bj->...bi", self.lower, noise, precision=highest)

    def from_noise(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns `transform(noise)` and its log density, without solving for the noise."""
        terms = 0.5 * noise**2 + _expand(self.log_std, noise) + 0.5 * math.log(2 * math.pi)
        return self.transform(noise), -jnp.sum(terms, axis=-1)

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.from_noise(jax.random.normal(key, self.loc.shape))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Returns the log density of any z, `[..., B, Z] -> [..., B]`."""
        centred = z - _expand(self.loc, z)
        if self.lower is None:
            return self.from_noise(centred * _expand(jnp.exp(-self.log_std), z))[1]

        def solve(factor: jax.Array, columns: jax.Array) -> jax.Array:
            return jax.lax.linalg.triangular_solve(factor, columns, left_side=True, lower=True)

        samples = centred.reshape(-1, *self.loc.shape)  # [K, B, Z]
        noise = jax.vmap(solve)(self.cholesky, samples.transpose(1, 2, 0))  # [B, Z, K]
        return self.from_noise(noise.transpose(2, 0, 1).reshape(z.shape))[1]

    def kl(self, prior: Any) -> jax.Array | None:
        """Returns the divergence from a `StandardNormal`, `[B]`."""
        if not isinstance(prior, StandardNormal):
            return None
        if self.lower is None:
            return gaussian_kl(self.loc, log_std=self.log_std)
        return gaussian_cholesky_kl(self.loc, self.cholesky)

    def kl_units(self, prior: Any) -> jax.Array | None:
        """Returns the divergence of each unit from a `StandardNormal`, `[..., Z]`."""
        if self.lower is not None or not isinstance(prior, StandardNormal):
            return None
        return gaussian_kl(self.loc.ravel(), log_std=self.log_std.ravel()).reshape(self.loc.shape)

    def product(self, other: "Gaussian") -> "Gaussian":
        """Returns the normalised product with another density, both diagonal.

        Precisions add, and the mean is weighted by precision. Computed in logs, so that extreme
        widths do not overflow. Source: Sønderby et al. 2016, "Ladder Variational Autoencoders",
        section 2.2.
        """
        weight = jax.nn.sigmoid(2 * (other.log_std - self.log_std))
        log_std = -0.5 * jnp.logaddexp(-2 * self.log_std, -2 * other.log_std)
        return Gaussian(loc=weight * self.loc + (1 - weight) * other.loc, log_std=log_std)


class Bernoulli(struct.PyTreeNode):
    """Independent Bernoulli values with `logits` `[B, ...]`; grey levels in [0, 1] are accepted."""

    logits: jax.Array

    @staticmethod
    def initial_outputs(x: jax.Array) -> jax.Array:
        """Returns logits `[1, ...]` of the means of `x` `[N, ...]`, clipped to [0.001, 0.999]."""
        mean = jnp.clip(jnp.mean(x, axis=0), 0.001, 0.999)
        return (jnp.log(mean) - jnp.log1p(-mean))[None]

    def log_prob(self, x: jax.Array) -> jax.Array:
        return -bernoulli_nll(self.logits, x)

    def mean(self) -> jax.Array:
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        return draw_values(self.logits, jax.random.uniform(key, self.logits.shape), 2)


class Normal(struct.PyTreeNode, kw_only=True):  # type: ignore[call-arg]
    """Independent normal values with means `loc` and log standard deviations, `[B, ...]`."""

    loc: jax.Array
    log_std: jax.Array

    @staticmethod
    def initial_outputs(x: jax.Array) -> jax.Array:
        """Returns means and log standard deviations of `x` `[N, ...]`, `[2, ...]`."""
        return jnp.stack([jnp.mean(x, axis=0), jnp.log(jnp.std(x, axis=0) + 1e-3)])

    def log_prob(self, x: jax.Array) -> jax.Array:
        return -gaussian_nll(x, self.loc, log_std=self.log_std)

    def mean(self) -> jax.Array:
        return self.loc

    def sample(self, key: jax.Array) -> jax.Array:
        return self.loc + jnp.exp(self.log_std) * jax.random.normal(key, self.loc.shape)


class DiscretizedLogistic(struct.PyTreeNode, kw_only=True):  # type: ignore[call-arg]
    """Independent integers 0 .. levels - 1 under discretized logistics.

    `loc` and `log_scale` `[B, ...]` are in units of [-1, 1], to which the levels are scaled.
    """

    loc: jax.Array
    log_scale: jax.Array
    levels: int = struct.field(pytree_node=False)

    @staticmethod
    def initial_outputs(x: jax.Array, levels: int) -> jax.Array:
        """Returns the means of `x` `[N, ...]`, scaled to [-1, 1], `[1, ...]`."""
        return (2 * jnp.mean(x, axis=0) / (levels - 1) - 1)[None]

    def log_prob(self, x: jax.Array) -> jax.Array:
        scale = self.log_scale
        return -discretized_logistic_nll(x, self.loc, log_scale=scale, levels=self.levels)

    def mean(self) -> jax.Array:
        inverse = jnp.exp(-self.log_scale)

        def add(total: jax.Array, edge: jax.Array) -> tuple[jax.Array, None]:
            return total + jax.nn.sigmoid((self.loc - edge) * inverse), None

        edges = (2 * jnp.arange(1, self.levels) - self.levels) / (self.levels - 1)
        return jax.lax.scan(add, 0 * self.loc, edges)[0]

    def sample(self, key: jax.Array) -> jax.Array:
        noise = jax.random.logistic(key, self.loc.shape)
        value = self.loc + jnp.exp(self.log_scale) * noise
        return jnp.clip(jnp.round((value + 1) * (0.5 * (self.levels - 1))), 0, self.levels - 1)
