"""InfoGAN's bound on the mutual information: formulas, and equality at the true posterior."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax.losses import (
    categorical_information,
    code_information,
    gaussian_information,
    uniform_information,
)

K = 4


def test_formulas_in_float64():
    rng = np.random.default_rng(0)
    logits, codes = rng.normal(size=(5, 3, K)), rng.integers(0, K, (5, 3))
    mean, log_std, c = rng.normal(size=(3, 5, 2))
    log_q = np.take_along_axis(scipy.special.log_softmax(logits, -1), codes[..., None], -1)[..., 0]
    density = scipy.stats.norm(mean, np.exp(log_std)).logpdf(c)
    with jax.enable_x64(True):
        got = (
            categorical_information(jnp.asarray(logits), jnp.asarray(codes)),
            gaussian_information(mean, log_std=log_std, codes=c),
            uniform_information(mean, log_std=log_std, codes=c, low=-2.0, high=3.0),
        )
    want = (
        (log_q + math.log(K)).sum(1),
        (density + scipy.stats.norm().entropy()).sum(1),
        (density + scipy.stats.uniform(-2, 5).entropy()).sum(1),
    )
    for a, b in zip(got, want, strict=True):
        assert a.shape == (5,)
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.fixture(scope="module")
def channel():
    """Returns codes and outputs of a noisy channel p(x | c), in exact proportions, and I(c; x)."""
    rng = np.random.default_rng(1)
    given = rng.dirichlet(np.ones(6), K)  # [c, x]
    counts = np.round(given * 1000).astype(int)
    counts[:, 0] += 1000 - counts.sum(1)  # codes are uniform
    given = counts / 1000
    codes, x = np.repeat(np.stack(np.nonzero(counts)), counts[np.nonzero(counts)], axis=1)
    marginal = given.mean(0)
    mutual = (given / K * np.log(np.maximum(given, 1e-300) / marginal)).sum()
    return codes, x, given, mutual


def test_the_bound_is_tight_at_the_true_posterior_only(channel):
    codes, x, given, mutual = channel
    with np.errstate(divide="ignore"):
        table = np.log(given).T  # [x, c]; p(c | x) is proportional to p(x | c)
    with jax.enable_x64(True):

        def bound(table):
            return float(categorical_information(jnp.asarray(table)[x], jnp.asarray(codes)).mean())

        assert bound(np.maximum(table, -700)) == pytest.approx(mutual, abs=1e-9)
        for seed in range(10):
            other = np.maximum(table, -700) + np.random.default_rng(seed).normal(size=table.shape)
            assert bound(other) < mutual


def test_bound_of_a_gaussian_channel_is_its_capacity():
    """x = c + noise of deviation s: I = log(1 + 1/s^2) / 2, at the posterior's mean and width."""
    s, n = 0.5, 200_000
    rng = np.random.default_rng(2)
    c = rng.normal(size=(n, 1))
    x = c + s * rng.normal(size=(n, 1))
    width = np.full((n, 1), 0.5 * math.log(s**2 / (1 + s**2)))
    each = np.asarray(gaussian_information(x / (1 + s**2), log_std=width, codes=c))
    error = each.std() / math.sqrt(n)
    assert abs(each.mean(dtype=np.float64) - 0.5 * math.log(1 + 1 / s**2)) < 5 * error


def test_bound_is_zero_without_information_and_the_entropy_with_all():
    codes = jnp.arange(10)
    assert categorical_information(jnp.zeros((10, 10)), codes).tolist() == pytest.approx([0] * 10)
    sure = categorical_information(1e4 * jnp.eye(10), codes)
    np.testing.assert_allclose(sure, math.log(10), rtol=1e-6)


def test_a_certain_and_wrong_posterior_has_a_finite_gradient():
    value, grad = jax.value_and_grad(lambda z: categorical_information(z, jnp.array([1])).sum())(
        jnp.array([[1e4, -1e4]])
    )
    assert float(value) == pytest.approx(-2e4, rel=1e-4)
    np.testing.assert_allclose(grad, [[-1, 1]])


# Mean, log standard deviation, codes: results are within float32.
FAR = [(m, s, (0.25, -0.5)) for m in (1e4, -1e4) for s in (-30.0, 0.0, 50.0)]
FAR += [(m, -50.0, (0.0, 0.0)) for m in (1e-6, -1e-6)]


@pytest.mark.parametrize(("mean", "log_std", "codes"), FAR)
@pytest.mark.parametrize("bound", [gaussian_information, uniform_information])
def test_extreme_parameters_have_the_value_and_gradients_of_float64(bound, mean, log_std, codes):
    """A certain and wrong q, and an uninformative one; gradients are derived by hand."""
    scaled = (np.array([codes]) - mean) * math.exp(-log_std)
    entropy = 0.5 * (1 + math.log(2 * math.pi)) if bound is gaussian_information else math.log(2)
    want = (-0.5 * scaled**2 - log_std - 0.5 * math.log(2 * math.pi) + entropy).sum()
    given = [jnp.full((1, 2), value) for value in (mean, log_std)]

    def total(mean, log_std):
        return bound(mean, log_std=log_std, codes=jnp.array([codes])).sum()

    both = jax.value_and_grad(total, argnums=(0, 1))
    value, (by_mean, by_width) = both(*given)
    np.testing.assert_allclose(value, want, rtol=2e-5)
    # float32 flushes subnormal numbers to 0.
    np.testing.assert_allclose(by_mean, scaled * math.exp(-log_std), rtol=2e-5, atol=1e-37)
    np.testing.assert_allclose(by_width, scaled**2 - 1, rtol=2e-5)


def test_rejects_invalid_arguments():
    column = jnp.zeros((2, 1))
    with pytest.raises(ValueError, match="labels must be integers"):
        categorical_information(jnp.zeros((2, K)), jnp.zeros(2))
    with pytest.raises(ValueError, match="the arguments must have the same shape"):
        gaussian_information(column, log_std=column, codes=jnp.zeros(2))
    with pytest.raises(ValueError, match="`high_minus_low` must be positive"):
        uniform_information(column, log_std=column, codes=column, low=1.0, high=1.0)


def test_information_by_kind_of_code():
    mean, log_std, codes = jnp.zeros((3, 2)), jnp.ones((3, 2)), jnp.full((3, 2), 0.5)
    for kind, expected in (("uniform", uniform_information), ("gaussian", gaussian_information)):
        np.testing.assert_array_equal(
            code_information(kind, (mean, log_std), codes),
            expected(mean, log_std=log_std, codes=codes),
        )
    with pytest.raises(ValueError, match=r"kind.*one of categorical, uniform, gaussian"):
        code_information("Uniform", (mean, log_std), codes)
