"""Gaussians of a network's numbers: density against SciPy, draws against their moments."""

import jax
import numpy as np
import pytest
import scipy.stats

from genjax.nn import (
    draw_gaussian,
    gaussian_log_density,
    gaussian_size,
    kl_from_standard,
    noise_log_density,
    split_gaussian,
)

LATENT, BATCH, SAMPLES = 3, 2, 4


def numbers(full):
    size = gaussian_size(LATENT, full)
    assert size == (9 if full else 6)
    return jax.random.normal(jax.random.key(0), (BATCH, size))


def reference(row, full):
    """Mean and factor from one row: means, log variances, rows below the diagonal."""
    row = np.asarray(row, np.float64)
    factor = np.diag(np.exp(0.5 * row[3:6]))
    if full:
        factor[1, 0], factor[2, 0], factor[2, 1] = row[6:]
    return row[:3], factor


@pytest.mark.parametrize("full", [False, True])
def test_densities_of_draws_and_of_any_z_are_those_of_scipy(full):
    row = numbers(full)
    q = split_gaussian(row, LATENT, full)
    noise = jax.random.normal(jax.random.key(1), (SAMPLES, BATCH, LATENT))
    z = draw_gaussian(q, noise)
    for b in range(BATCH):
        mean, factor = reference(row[b], full)
        np.testing.assert_allclose(
            z[:, b], mean + np.asarray(noise[:, b]) @ factor.T, rtol=1e-4, atol=1e-5
        )
        want = scipy.stats.multivariate_normal(mean, factor @ factor.T).logpdf(z[:, b])
        np.testing.assert_allclose(noise_log_density(q, noise)[:, b], want, rtol=1e-4)
        np.testing.assert_allclose(gaussian_log_density(q, z)[:, b], want, rtol=1e-4)
        kl = 0.5 * (np.sum(factor**2) + mean @ mean - 3) - np.log(np.diag(factor)).sum()
        assert float(kl_from_standard(q)[b]) == pytest.approx(kl, rel=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_the_density_of_a_z_has_its_own_gradient(full):
    """What dreg and score differentiate: at a z that does not move with q, and in z."""
    row = numbers(full)
    z = jax.random.normal(jax.random.key(2), (SAMPLES, BATCH, LATENT))

    def total(row, z):
        return gaussian_log_density(split_gaussian(row, LATENT, full), z).sum()

    d_row, d_z = jax.jit(jax.grad(total, (0, 1)))(row, z)
    for b in range(BATCH):
        mean, factor = reference(row[b], full)
        precision = np.linalg.inv(factor @ factor.T)
        apart = np.asarray(z[:, b], np.float64) - mean
        np.testing.assert_allclose(d_z[:, b], -apart @ precision, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(d_row[b, :3], (apart @ precision).sum(0), rtol=1e-3, atol=1e-4)
