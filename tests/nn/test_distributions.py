"""Gaussians of a network's numbers: density against SciPy, draws against their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.nn import (
    Gaussian,
    draw_gaussian,
    gaussian_log_density,
    gaussian_size,
    kl_from_standard,
    noise_log_density,
    precision_weighted,
    split_gaussian,
    standard_log_density,
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


def test_the_standard_density_is_that_of_scipy():
    z = np.random.default_rng(0).normal(size=(SAMPLES, BATCH, LATENT))
    want = scipy.stats.norm.logpdf(z).sum(-1)
    np.testing.assert_allclose(standard_log_density(jnp.asarray(z)), want, rtol=1e-5)


def test_precision_weighted_is_the_product_of_two_gaussians():
    h = np.linspace(-3, 3, 7)
    for one, other in (((0.5, -0.3), (-1.0, 0.8)), ((2.0, 0.0), (2.5, -2.0))):
        as_arrays = [Gaussian(*(jnp.full((1, 1), v) for v in pair)) for pair in (one, other)]
        merged = precision_weighted(*as_arrays)
        mean, log_std = float(merged.mean[0, 0]), float(merged.log_std[0, 0])
        both = sum(scipy.stats.norm.logpdf(h, m, np.exp(s)) for m, s in (one, other))
        ratio = both - scipy.stats.norm.logpdf(h, mean, np.exp(log_std))
        assert np.ptp(ratio) < 1e-4  # the product, up to a constant
    # What is known by far more surely is what is left, and nothing overflows.
    wide = jnp.full((1, 1), 60.0)
    sure = Gaussian(jnp.full((1, 1), 3.0), jnp.full((1, 1), -60.0))

    def total(log_std):
        merged = precision_weighted(Gaussian(wide, log_std), sure)
        return (merged.mean + merged.log_std).sum()

    assert float(total(wide)) == pytest.approx(-57)
    assert float(jax.grad(total)(wide)[0, 0]) == 0
