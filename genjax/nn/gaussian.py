"""Gaussians whose parameters a network gives: diagonal, or full by a Cholesky factor.

Kingma and Welling 2019, "An Introduction to Variational Autoencoders", sections 2.5 and 2.5.1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.losses import gaussian_cholesky_kl, gaussian_kl


class Gaussian(NamedTuple):
    """N(mean, L L^T) with L = diag(exp(log_std)) + below; a pytree.

    mean: `[B, Z]`.
    log_std: `[B, Z]`, log of L's diagonal.
    below: `[B, Z, Z]`, strictly lower triangular, or None for a diagonal covariance.
    """

    mean: jax.Array
    log_std: jax.Array
    below: jax.Array | None = None

    @property
    def cholesky(self) -> jax.Array:
        """L, `[B, Z, Z]`."""
        diagonal = jax.vmap(jnp.diag)(jnp.exp(self.log_std))
        return diagonal if self.below is None else diagonal + self.below


def gaussian_size(latent: int, full: bool) -> int:
    """Numbers that describe one."""
    return 2 * latent + (latent * (latent - 1) // 2 if full else 0)


def split_gaussian(numbers: jax.Array, latent: int, full: bool) -> Gaussian:
    """The Gaussian of a network's outputs, `[B, gaussian_size]`.

    They are the means, the log variances, and row by row what is below the diagonal.
    """
    mean, log_std = numbers[:, :latent], 0.5 * numbers[:, latent : 2 * latent]
    if not full:
        return Gaussian(mean, log_std)
    rows, columns = jnp.tril_indices(latent, -1)
    empty = jnp.zeros((numbers.shape[0], latent, latent), numbers.dtype)
    return Gaussian(mean, log_std, empty.at[:, rows, columns].set(numbers[:, 2 * latent :]))


def draw_gaussian(q: Gaussian, noise: jax.Array) -> jax.Array:
    """mean + L noise: `[K, B, Z]` for noise `[K, B, Z]`."""
    z = q.mean[None] + jnp.exp(q.log_std)[None] * noise
    if q.below is None:
        return z
    # float32 means float32 on a GPU too: densities are evaluated at this z.
    return z + jnp.einsum("bij,kbj->kbi", q.below, noise, precision=jax.lax.Precision.HIGHEST)


def noise_log_density(q: Gaussian, noise: jax.Array) -> jax.Array:
    """log density of `draw_gaussian(q, noise)`, with nothing to solve: `[K, B]` nats."""
    terms = 0.5 * noise**2 + q.log_std[None] + 0.5 * math.log(2 * math.pi)
    return -jnp.sum(terms, axis=-1)


def standard_log_density(z: jax.Array) -> jax.Array:
    """log density of N(0, I): `[..., Z] -> [...]` nats."""
    return -jnp.sum(0.5 * z**2 + 0.5 * math.log(2 * math.pi), axis=-1)


def gaussian_log_density(q: Gaussian, z: jax.Array) -> jax.Array:
    """log density of any z: `[K, B, Z] -> [K, B]` nats."""
    apart = z - q.mean[None]
    if q.below is None:
        return noise_log_density(q, apart * jnp.exp(-q.log_std)[None])

    def solve(factor: jax.Array, apart: jax.Array) -> jax.Array:
        """L^-1 apart for all samples of one example: `[K, Z]`."""
        return jax.lax.linalg.triangular_solve(factor, apart.T, left_side=True, lower=True).T

    return noise_log_density(q, jax.vmap(solve, (0, 1), 1)(q.cholesky, apart))


def precision_weighted(one: Gaussian, other: Gaussian) -> Gaussian:
    """The product of two diagonal Gaussians, normalised.

    Precisions add, and the mean is theirs weighted by precision (Sønderby et al. 2016, "Ladder
    Variational Autoencoders", section 2.2). In logs, so that neither a very wide nor a very narrow
    one is lost to overflow.
    """
    weight = jax.nn.sigmoid(2 * (other.log_std - one.log_std))
    log_std = -0.5 * jnp.logaddexp(-2 * one.log_std, -2 * other.log_std)
    return Gaussian(weight * one.mean + (1 - weight) * other.mean, log_std)


def kl_from_standard(q: Gaussian) -> jax.Array:
    """KL(q || N(0, I)) in closed form: `[B]` nats."""
    if q.below is None:
        return gaussian_kl(q.mean, q.log_std)
    return gaussian_cholesky_kl(q.mean, q.cholesky)


def kl_units_from_standard(q: Gaussian) -> jax.Array:
    """The same of a diagonal covariance, latent by latent: `[B, Z]` nats."""
    return gaussian_kl(q.mean.ravel(), q.log_std.ravel()).reshape(q.mean.shape)
