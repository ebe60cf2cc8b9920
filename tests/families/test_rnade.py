"""RNADE: normalisation by quadrature, samples, causality, and the paper's recursion."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from support.helpers import jitted, random_variables

from genjax.families import rnade

KINDS = ["gaussian", "laplace"]
SMALL = rnade.Config(shape=(5,), hidden=7, components=3, order="random", order_seed=3)


def moved(config, seed=5):
    """Returns parameters away from initialisation, with scales that quadrature resolves.

    W is small, since the log scale grows with x and would overflow.
    """
    params = random_variables(rnade, config, seed)["params"]
    params = {**params, "W": 0.3 * params["W"]}
    narrow = jnp.asarray([1.0, 1.0, 0.2])[None, None, :, None]
    return {"params": {**params, "V": params["V"] * narrow * 0.5, "b": params["b"] * narrow[0]}}


@pytest.mark.parametrize("kind", KINDS)
def test_integrates_to_one_in_one_and_two_dimensions(kind):
    line = np.linspace(-40, 40, 40_001)
    config = rnade.Config(shape=(1,), hidden=4, components=3, kind=kind)
    of = jitted(rnade, "log_prob", config)
    log_p = of(moved(config), jnp.asarray(line[:, None], jnp.float32))
    density = np.exp(np.asarray(log_p, np.float64))
    assert np.trapezoid(density, line) == pytest.approx(1, abs=1e-4)
    config = rnade.Config(shape=(2,), hidden=4, components=3, kind=kind, order="random")
    line = np.linspace(-30, 30, 601)
    x = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = jitted(rnade, "log_prob", config)(moved(config), jnp.asarray(x, jnp.float32))
    density = np.exp(np.asarray(log_p, np.float64)).reshape(601, 601)
    assert np.trapezoid(np.trapezoid(density, line), line) == pytest.approx(1, abs=2e-3)
    # Not a product of marginals: the second dimension depends on the first.
    outer = np.outer(density.sum(1), density.sum(0)) / density.sum()
    assert np.abs(density - outer).sum() > 0.05 * density.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_recursion_of_the_paper(kind):
    config = dataclasses.replace(SMALL, kind=kind, min_log_scale=-2.0)
    variables = random_variables(rnade, config)
    p = {k: np.asarray(v, np.float64) for k, v in variables["params"].items()}
    x = np.random.default_rng(0).normal(size=(6, 5))
    want = np.zeros(6)
    for row in range(6):
        a = p["c"].copy()
        for d in rnade.order(config):
            h = np.maximum(p["rho"][d] * a, 0)
            weights, means, z = np.einsum("h,hpk->pk", h, p["V"][d]) + p["b"][d]
            scales = np.exp(-2 + np.log1p(np.exp(-np.abs(z + 2))) + np.maximum(z + 2, 0))
            components = (stats.norm if kind == "gaussian" else stats.laplace).logpdf(
                x[row, d], means, scales
            )
            want[row] += special.logsumexp(special.log_softmax(weights) + components)
            a += x[row, d] * p["W"][d]
    got = rnade.log_prob(config, variables, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_conditionals_do_not_depend_on_later_dimensions():
    variables = moved(SMALL)
    order = rnade.order(SMALL)
    assert (order != np.arange(5)).any()
    x = jax.random.normal(jax.random.key(1), (20, 5))

    def parameters(x):
        stacked = jnp.stack(rnade.mixtures(SMALL, variables, x[None]))[:, 0]  # [3, D, K]
        return stacked[:, order]

    # [20, 3, i, K, j] -> [i, j], both in order
    jacobian = np.abs(np.asarray(jax.vmap(jax.jacobian(parameters))(x))).max(axis=(0, 1, 3))
    jacobian = jacobian[:, order]
    assert np.all(jacobian[np.triu_indices(5)] == 0)
    assert np.all(jacobian[np.tril_indices(5, -1)] > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_uniform_probability_transforms(kind):
    """u_d = P(X_d < x_d | x_<d) of the density is uniform and independent, if x are its samples."""
    config = dataclasses.replace(SMALL, kind=kind)
    variables = moved(config)
    draw = jax.jit(lambda v, k: rnade.sample(config, v, k, 4_000))
    x = draw(variables, jax.random.key(2))
    u = transforms(config, variables, x)
    for d in range(5):
        assert stats.kstest(u[:, d], "uniform").pvalue > 1e-4
    correlation = np.corrcoef(u.T)[np.triu_indices(5, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(4_000)
    # Samples of another network do not pass.
    other = draw(moved(config, seed=9), jax.random.key(2))
    foreign = transforms(config, variables, other)
    assert min(stats.kstest(foreign[:, d], "uniform").pvalue for d in range(5)) < 1e-6


def transforms(config, variables, x):
    logits, means, log_scales = map(np.asarray, rnade.mixtures(config, variables, x))
    cdf = (stats.norm if config.kind == "gaussian" else stats.laplace).cdf
    parts = cdf(np.asarray(x)[..., None], means, np.exp(log_scales))
    return (special.softmax(logits, axis=-1) * parts).sum(axis=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_of_samples_are_those_of_the_first_mixture(kind):
    config = dataclasses.replace(SMALL, kind=kind)
    variables = moved(config)
    first = rnade.order(config)[0]
    x = np.asarray(rnade.sample(config, variables, jax.random.key(3), 40_000))[:, first]
    x = x.astype(np.float64)
    found = rnade.mixtures(config, variables, jnp.zeros((1, 5)))
    logits, means, log_scales = (np.asarray(p, np.float64)[0, first] for p in found)
    w = special.softmax(logits)
    variances = np.exp(2 * log_scales) * (1 if kind == "gaussian" else 2)
    mean = (w * means).sum()
    second = (w * (variances + means**2)).sum()
    assert x.mean() == pytest.approx(mean, abs=5 * float(x.std()) / 200)
    assert (x**2).mean() == pytest.approx(second, abs=5 * float((x**2).std()) / 200)


def test_a_repeated_value_has_a_finite_density():
    """Maximum likelihood would send the scale of a constant column to 0."""
    config = dataclasses.replace(SMALL, min_log_scale=-3.0)
    variables = random_variables(rnade, config)
    params = variables["params"]
    narrow = {**params, "b": params["b"].at[:, 2].set(-1e9)}
    x = jnp.zeros((1, 5))
    _, _, log_scales = rnade.mixtures(config, {"params": narrow}, x)
    assert float(log_scales.min()) == -3.0
    loss = functools.partial(rnade.loss, config, {"params": narrow}, {"x": x})
    assert np.isfinite(loss(jax.random.key(0))[0]).all()
