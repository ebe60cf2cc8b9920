"""Annealed importance sampling on a model whose log p(x) has a closed form."""

import dataclasses
import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support.linear_gaussian as model
from scipy import stats
from support.helpers import all_images

from genjax.core import log_prob_bound
from genjax.evals import (
    annealed_log_prob,
    make_annealed,
    reverse_annealed_log_prob,
    temperatures,
)
from genjax.families import vae
from genjax.losses import gaussian_nll
from genjax.nn import StandardNormal

CONFIG = model.Config()
VARIABLES = model.make(CONFIG)
Z, X, _ = model.draw(CONFIG, VARIABLES, 1, 12)
EXACT = model.exact(CONFIG, VARIABLES, X)
KEY = jax.random.key(0)


def family(**changed):
    """The model with some of its functions changed."""
    return types.SimpleNamespace(**{**vars(model), "__name__": "changed", **changed})


@functools.lru_cache
def compiled(count, chains, reverse=False, **settings):
    betas = temperatures(count)
    if reverse:
        return jax.jit(
            lambda x, z, key: reverse_annealed_log_prob(
                model, CONFIG, VARIABLES, x, z, key, betas=betas, chains=chains, **settings
            )
        )
    return jax.jit(
        lambda x, key: annealed_log_prob(
            model, CONFIG, VARIABLES, x, key, betas=betas, chains=chains, **settings
        )
    )


def as_float64(result):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), result)


def test_temperatures():
    even = temperatures(10, "linear")
    np.testing.assert_allclose(even, np.arange(11) / 10)
    bent = temperatures(10)
    assert (bent[0], bent[-1]) == (0.0, 1.0)
    assert (np.diff(bent) > 0).all()
    np.testing.assert_allclose(bent + bent[::-1], 1)
    assert bent[1] < 0.1  # closer together at the ends than even ones
    s = 1 / (1 + np.exp(-4.0 * (2 * np.arange(11) / 10 - 1)))
    np.testing.assert_allclose(bent, (s - s[0]) / (s[-1] - s[0]))
    with pytest.raises(ValueError, match="`schedule` must be one of"):
        temperatures(3, "cosine")


def test_mean_weight_is_the_likelihood():
    """With 20 temperatures single chains are inaccurate, but their mean weight is not."""
    result = as_float64(compiled(20, 3000)(X, KEY))
    assert result.std_error.max() < 0.15  # makes the next check informative
    ratio = np.exp(result.log_prob - EXACT)
    assert (np.abs(ratio - 1) < 5 * result.std_error).all()
    # On average over examples, with a smaller error.
    error = np.sqrt((result.std_error**2).sum()) / len(X)
    assert abs(ratio.mean() - 1) < 5 * error
    assert (np.abs(result.acceptance - 0.65) < 0.12).all()
    assert (result.effective < 0.5 * 3000).all()


def test_step_sizes_do_not_depend_on_their_chains():
    """With one chain per example that tunes itself, the mean weight is 1.7 % off, 20 errors."""
    config = model.Config(latent=1, shape=(2,), noise=0.3)
    variables = model.make(config)
    _, x, _ = model.draw(config, variables, 3, 1)
    many = jnp.broadcast_to(x, (20_000, 2))
    settings = dict(betas=temperatures(40), chains=1, pilots=1, leapfrog=1, step_size=3.0)
    one = jax.jit(lambda key: annealed_log_prob(model, config, variables, many, key, **settings))
    ratio = np.exp(np.asarray(one(KEY).log_prob, np.float64) - model.exact(config, variables, x))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_does_not_depend_on_a_poor_encoder():
    params = VARIABLES["params"]
    poor = {"params": {**params, "encoder": 0 * params["encoder"], "log_std": jnp.full(3, -2.0)}}
    bound = jax.jit(lambda k: log_prob_bound(model, CONFIG, poor, X, k, 50))
    gap = EXACT - np.asarray(bound(KEY))
    assert gap.mean() > 5  # nats, gap of the bound of 50 samples
    result = as_float64(compiled(300, 24)(X, KEY))
    assert result.std_error.max() < 0.35
    assert (np.abs(result.log_prob - EXACT) < 5 * result.std_error).all()
    assert np.abs(result.log_prob - EXACT).mean() < 0.15
    # It is a lower bound on average.
    error = np.sqrt((result.std_error**2).sum()) / len(X)
    assert (result.log_prob - EXACT).mean() < 5 * error


def test_few_temperatures_give_a_loose_bound():
    few = np.asarray(compiled(3, 4)(X, KEY).log_prob)
    many = np.asarray(compiled(300, 24)(X, KEY).log_prob)
    assert (few - EXACT).mean() < -0.5
    assert abs((many - EXACT).mean()) < 0.1


def test_reversed_chains_give_an_upper_bound():
    """Of simulated data; close to log p(x) with many temperatures."""
    z, x, _ = model.draw(CONFIG, VARIABLES, 7, 60)
    exact = model.exact(CONFIG, VARIABLES, x)
    slack = {}
    for count in (3, 150):
        upper = np.asarray(compiled(count, 4, reverse=True)(x, z, KEY).log_prob, np.float64)
        slack[count] = upper - exact
    spread = {count: s.std() / np.sqrt(len(s)) for count, s in slack.items()}
    assert slack[3].mean() > 5 * spread[3]
    assert slack[3].mean() > 1
    assert -5 * spread[150] < slack[150].mean() < 0.3
    # E[w] = 1 / p(x) over the exact posterior, from which the simulated latents are samples.
    ratio = np.exp(-slack[150])
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_step_sizes_do_not_depend_on_reversed_chains():
    """A mixture of scales: pilots that start at the same sample give a bias of 4 %, 9 errors."""
    std, n = np.array([0.1, 1.0]), 20_000

    def log_normal(z, s):
        return -0.5 * (z[:, 0] / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)

    def log_posterior(z):
        return jnp.logaddexp(log_normal(z, std[0]), log_normal(z, std[1])) - math.log(2)

    def likelihood(config, variables, z):  # p(x) is 1
        log_p = log_posterior(z) - StandardNormal((1,)).log_prob(z)
        return types.SimpleNamespace(log_prob=lambda x: log_p)

    two = family(prior=lambda config, variables: StandardNormal((1,)), likelihood=likelihood)
    rng = np.random.default_rng(0)
    z = jnp.asarray((std[rng.integers(0, 2, n)] * rng.normal(size=n))[:, None], jnp.float32)
    settings = dict(betas=temperatures(20), chains=1, pilots=1, leapfrog=1)
    run = jax.jit(
        lambda z, key: reverse_annealed_log_prob(two, None, {}, z, z, key, **settings).log_prob
    )
    ratio = np.exp(-np.asarray(run(z, KEY), np.float64))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(n) < 0.02


def test_anneals_to_a_prior_that_is_not_standard_normal():
    """z ~ N(1, 1/4); the chains start at N(0, I)."""

    def prior(config, variables):
        def log_prob(z):
            return -gaussian_nll(z, jnp.ones_like(z), log_std=jnp.full_like(z, np.log(0.5)))

        return types.SimpleNamespace(event_shape=(3,), log_prob=log_prob)

    other = family(prior=prior)
    p = {k: np.asarray(v, np.float64) for k, v in VARIABLES["params"].items()}
    covariance = 0.25 * p["W"].T @ p["W"] + CONFIG.noise**2 * np.eye(4)
    exact = stats.multivariate_normal(p["W"].sum(0) + p["b"][0], covariance).logpdf(np.asarray(X))
    estimate = make_annealed(other, CONFIG, betas=temperatures(60, "linear"), chains=300)
    result = as_float64(estimate(VARIABLES, X, KEY, 12))
    assert result.std_error.max() < 0.4
    assert (np.abs(np.exp(result.log_prob - exact) - 1) < 5 * result.std_error).all()


def test_of_a_vae_is_the_integral_over_its_latent():
    config = vae.tiny()
    variables = vae.init(config, KEY)
    variables = jax.tree.map(lambda p: 5 * p + 0.2, variables)  # far from a linear model
    x = np.asarray(all_images(config.shape))[5::37]
    grid = np.linspace(-12, 12, 2401)
    decode = jax.jit(lambda z: vae.likelihood(config, variables, z).logits)
    logits = np.asarray(decode(grid[:, None].astype(np.float32)), np.float64).reshape(len(grid), -1)
    given_z = x.reshape(len(x), -1) @ logits.T - np.logaddexp(0, logits).sum(1)
    density = np.exp(given_z) * stats.norm.pdf(grid)
    exact = np.log(np.trapezoid(density, grid, axis=1))
    estimate = make_annealed(vae, config, betas=temperatures(100), chains=60, leapfrog=4)
    result = as_float64(estimate(variables, x, KEY, len(x)))
    assert result.std_error.max() < 0.3
    assert (np.abs(result.log_prob - exact) < 5 * result.std_error).all()
    error = np.sqrt((result.std_error**2).sum()) / len(x)
    assert abs((result.log_prob - exact).mean()) < 5 * error + (result.std_error**2).mean()


def test_batches_and_labels_of_a_split():
    config = dataclasses.replace(CONFIG, classes=3)
    variables = model.make(config, apart=3.0)
    _, x, label = model.draw(config, variables, 2, 10, np.arange(10) % 3)
    estimate = make_annealed(model, config, betas=temperatures(60), chains=100, leapfrog=5)
    result = as_float64(estimate(variables, x, KEY, 4, {"label": label}))  # the last batch has 2
    assert result.log_prob.shape == (10,)
    exact = np.concatenate(
        [model.exact(config, variables, x[i : i + 1], label[i]) for i in range(10)]
    )
    assert (np.abs(result.log_prob - exact) < 5 * result.std_error + 0.05).all()
    # Chains differ between batches and examples.
    same = jnp.broadcast_to(x[:1], x.shape)
    again = estimate(variables, same, KEY, 4, {"label": np.full(10, label[0])})
    assert len(np.unique(np.round(again.log_prob, 5))) == 10


def test_divergent_paths_are_rejected():
    """With steps that all diverge, every transition is rejected; the weights are of the prior."""
    result = compiled(3, 2000, leapfrog=3, step_size=1e30)(X, KEY)
    assert np.isfinite(result.log_prob).all()
    assert float(result.acceptance.max()) == 0
    assert (np.asarray(result.log_prob) < EXACT + 3).all()


def test_memory_does_not_depend_on_the_number_of_temperatures():
    def bytes_of(count):
        lowered = compiled(count, 64).lower(X, KEY)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    rows = 64 * len(X)
    grown = (bytes_of(4000) - bytes_of(400)) / 3600
    assert grown < 4 * rows  # less than one float32 per chain and temperature


def test_rejects_families_without_latents_and_invalid_settings():
    lacking = types.SimpleNamespace(__name__="genjax.families.some", prior=None)
    with pytest.raises(ValueError, match=r"^some has no latents and likelihood, which annealed"):
        annealed_log_prob(lacking, CONFIG, VARIABLES, X, KEY, betas=temperatures(3))
    with pytest.raises(ValueError, match=r"^some has no latents"):
        make_annealed(lacking, CONFIG, betas=temperatures(3))
    down, still = temperatures(3)[::-1], np.array([0.0, 0.5, 0.5, 1.0])
    for betas in (np.array([0.0, 0.5]), down, still):
        with pytest.raises(ValueError, match="betas must increase from 0 to 1"):
            annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=betas)
        with pytest.raises(ValueError, match="betas must increase from 0 to 1"):
            reverse_annealed_log_prob(model, CONFIG, VARIABLES, X, Z, KEY, betas=betas)
    with pytest.raises(ValueError, match="`leapfrog` must be positive"):
        annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=temperatures(3), leapfrog=0)
    with pytest.raises(ValueError, match=r"`acceptance` must be in \[0, 1\)"):
        annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=temperatures(3), acceptance=1.0)
