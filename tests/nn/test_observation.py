"""p(x | z): its mean and its samples are those of its density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.nn import draw_observation, observation_bias, observation_mean, observation_nll

LEVELS = 7
LOGISTIC = (jnp.array([[-0.9, 0.0, 0.35, 2.0]]), jnp.array([[-1.0, -3.0, 0.2, -0.5]]))


def probabilities():
    """Of each level by the density, float64 `[levels, entries]`."""
    out = []
    for level in range(LEVELS):
        x = jnp.full((1, 1), float(level))
        out.append(
            [
                -float(
                    observation_nll(
                        "discretized_logistic", tuple(p[:, i : i + 1] for p in LOGISTIC), x, LEVELS
                    )[0]
                )
                for i in range(4)
            ]
        )
    return np.exp(np.asarray(out))


def test_the_mean_of_levels_is_the_sum_over_them():
    want = (np.arange(LEVELS)[:, None] * probabilities()).sum(0)
    got = observation_mean("discretized_logistic", LOGISTIC, LEVELS)
    np.testing.assert_allclose(got[0], want, rtol=1e-4)


def test_samples_of_levels_have_the_probabilities_of_the_density():
    n = 20_000
    many = tuple(jnp.broadcast_to(p, (n, 4)) for p in LOGISTIC)
    draw = jax.jit(lambda key: draw_observation("discretized_logistic", many, key, LEVELS))
    x = np.asarray(draw(jax.random.key(0))).astype(int)
    expected = probabilities()
    for i in range(4):
        seen = np.bincount(x[:, i], minlength=LEVELS)
        keep = expected[:, i] * n > 5
        observed = np.append(seen[keep], seen[~keep].sum())
        wanted = np.append(expected[keep, i], expected[~keep, i].sum()) * n
        observed, wanted = (observed, wanted) if wanted[-1] > 5 else (observed[:-1], wanted[:-1])
        statistic = ((observed - wanted) ** 2 / wanted).sum()
        assert stats.chi2.sf(statistic, len(wanted) - 1) > 1e-6


def test_samples_of_a_gaussian_have_its_moments():
    n = 20_000
    mean, log_std = jnp.full((n, 1), 0.7), jnp.full((n, 1), -0.5)
    x = np.asarray(draw_observation("gaussian", (mean, log_std), jax.random.key(1), 2))
    std = np.exp(-0.5)
    assert x.mean() == pytest.approx(0.7, abs=5 * std / np.sqrt(n))
    assert x.std() == pytest.approx(std, abs=5 * std / np.sqrt(2 * n))
    np.testing.assert_array_equal(observation_mean("gaussian", (mean, log_std), 2), mean)


def test_biases_of_the_data_give_back_its_means():
    """What the first output is when all else is 0: the mean of each pixel, and its deviation."""
    x = (jax.random.uniform(jax.random.key(2), (500, 3)) < jnp.array([[0.2, 0.7, 2.0]])) * 1.0
    (logits,) = observation_bias("bernoulli", x, 2)
    want = np.clip(np.asarray(x).mean(0), 0.001, 0.999)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), want, rtol=1e-4)
    assert want[2] == np.float32(0.999)  # a pixel that is always 1 may still learn
    mean, log_std = observation_bias("gaussian", 3 * x, 2)
    np.testing.assert_allclose(mean, 3 * np.asarray(x).mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_std)[:2], 3 * np.asarray(x).std(0)[:2], rtol=1e-2)
    (centre,) = observation_bias("discretized_logistic", 6 * x, LEVELS)
    np.testing.assert_allclose(centre, 2 * np.asarray(x).mean(0) - 1, rtol=1e-5)
