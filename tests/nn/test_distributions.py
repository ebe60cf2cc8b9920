"""Distributions: densities against SciPy, samples against moments and probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.nn import (
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Normal,
    StandardNormal,
    standard_log_prob,
)

LATENT, BATCH, SAMPLES = 3, 2, 4


def logistic(loc, log_scale):
    return DiscretizedLogistic(loc=loc, log_scale=log_scale, levels=LEVELS)


def numbers(full):
    size = Gaussian.num_outputs(LATENT, full)
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
    q = Gaussian.from_outputs(row, LATENT, full)
    noise = jax.random.normal(jax.random.key(1), (SAMPLES, BATCH, LATENT))
    z, log_q = q.from_noise(noise)
    for b in range(BATCH):
        mean, factor = reference(row[b], full)
        np.testing.assert_allclose(
            z[:, b], mean + np.asarray(noise[:, b]) @ factor.T, rtol=1e-4, atol=1e-5
        )
        want = scipy.stats.multivariate_normal(mean, factor @ factor.T).logpdf(z[:, b])
        np.testing.assert_allclose(log_q[:, b], want, rtol=1e-4)
        np.testing.assert_allclose(q.log_prob(z)[:, b], want, rtol=1e-4)
        kl = 0.5 * (np.sum(factor**2) + mean @ mean - 3) - np.log(np.diag(factor)).sum()
        assert float(q.kl(StandardNormal((LATENT,)))[b]) == pytest.approx(kl, rel=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_the_density_of_a_z_has_its_own_gradient(full):
    """What dreg and score differentiate: at a z that does not move with q, and in z."""
    row = numbers(full)
    z = jax.random.normal(jax.random.key(2), (SAMPLES, BATCH, LATENT))

    def total(row, z):
        return Gaussian.from_outputs(row, LATENT, full).log_prob(z).sum()

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
    np.testing.assert_allclose(standard_log_prob(jnp.asarray(z)), want, rtol=1e-5)


def test_product_is_the_product_of_two_gaussians():
    h = np.linspace(-3, 3, 7)
    for one, other in (((0.5, -0.3), (-1.0, 0.8)), ((2.0, 0.0), (2.5, -2.0))):
        as_arrays = [
            Gaussian(loc=jnp.full((1, 1), pair[0]), log_std=jnp.full((1, 1), pair[1]))
            for pair in (one, other)
        ]
        merged = as_arrays[0].product(as_arrays[1])
        mean, log_std = float(merged.loc[0, 0]), float(merged.log_std[0, 0])
        both = sum(scipy.stats.norm.logpdf(h, m, np.exp(s)) for m, s in (one, other))
        ratio = both - scipy.stats.norm.logpdf(h, mean, np.exp(log_std))
        assert np.ptp(ratio) < 1e-4  # the product, up to a constant
    # What is known by far more surely is what is left, and nothing overflows.
    wide = jnp.full((1, 1), 60.0)
    sure = Gaussian(loc=jnp.full((1, 1), 3.0), log_std=jnp.full((1, 1), -60.0))

    def total(log_std):
        merged = Gaussian(loc=wide, log_std=log_std).product(sure)
        return (merged.loc + merged.log_std).sum()

    assert float(total(wide)) == pytest.approx(-57)
    assert float(jax.grad(total)(wide)[0, 0]) == 0


LEVELS = 7
LOGISTIC = (jnp.array([[-0.9, 0.0, 0.35, 2.0]]), jnp.array([[-1.0, -3.0, 0.2, -0.5]]))


def probabilities():
    """Probability of each level by the density, float64 `[levels, entries]`."""
    out = []
    for level in range(LEVELS):
        x = jnp.full((1, 1), float(level))
        entries = [tuple(p[:, i : i + 1] for p in LOGISTIC) for i in range(4)]
        out.append([float(logistic(*p).log_prob(x)[0]) for p in entries])
    return np.exp(np.asarray(out))


def test_the_mean_of_levels_is_the_sum_over_them():
    want = (np.arange(LEVELS)[:, None] * probabilities()).sum(0)
    got = logistic(*LOGISTIC).mean()
    np.testing.assert_allclose(got[0], want, rtol=1e-4)


def test_samples_of_levels_have_the_probabilities_of_the_density():
    n = 20_000
    many = tuple(jnp.broadcast_to(p, (n, 4)) for p in LOGISTIC)
    draw = jax.jit(lambda key: logistic(*many).sample(key))
    x = np.asarray(draw(jax.random.key(0))).astype(int)
    expected = probabilities()
    for i in range(4):
        seen = np.bincount(x[:, i], minlength=LEVELS)
        keep = expected[:, i] * n > 5
        observed = np.append(seen[keep], seen[~keep].sum())
        wanted = np.append(expected[keep, i], expected[~keep, i].sum()) * n
        observed, wanted = (observed, wanted) if wanted[-1] > 5 else (observed[:-1], wanted[:-1])
        statistic = ((observed - wanted) ** 2 / wanted).sum()
        assert scipy.stats.chi2.sf(statistic, len(wanted) - 1) > 1e-6


def test_samples_of_a_gaussian_have_its_moments():
    n = 20_000
    mean, log_std = jnp.full((n, 1), 0.7), jnp.full((n, 1), -0.5)
    x = np.asarray(Normal(loc=mean, log_std=log_std).sample(jax.random.key(1)))
    std = np.exp(-0.5)
    assert x.mean() == pytest.approx(0.7, abs=5 * std / np.sqrt(n))
    assert x.std() == pytest.approx(std, abs=5 * std / np.sqrt(2 * n))
    np.testing.assert_array_equal(Normal(loc=mean, log_std=log_std).mean(), mean)


def test_biases_of_the_data_give_back_its_means():
    """What the first output is when all else is 0: the mean of each pixel, and its deviation."""
    x = (jax.random.uniform(jax.random.key(2), (500, 3)) < jnp.array([[0.2, 0.7, 2.0]])) * 1.0
    (logits,) = Bernoulli.initial_outputs(x)
    want = np.clip(np.asarray(x).mean(0), 0.001, 0.999)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), want, rtol=1e-4)
    assert want[2] == np.float32(0.999)  # a pixel that is always 1 may still learn
    mean, log_std = Normal.initial_outputs(3 * x)
    np.testing.assert_allclose(mean, 3 * np.asarray(x).mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_std)[:2], 3 * np.asarray(x).std(0)[:2], rtol=1e-2)
    (centre,) = DiscretizedLogistic.initial_outputs(6 * x, LEVELS)
    np.testing.assert_allclose(centre, 2 * np.asarray(x).mean(0) - 1, rtol=1e-5)
