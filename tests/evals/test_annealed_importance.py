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


def as_float64(found):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), found)


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
    with pytest.raises(ValueError, match="schedule must be one of"):
        temperatures(3, "cosine")


def test_the_mean_weight_is_p_of_x():
    """With 20 temperatures single chains are far off, and their mean weight is not."""
    found = as_float64(compiled(20, 3000)(X, KEY))
    assert found.std_error.max() < 0.15  # else the next line says nothing
    ratio = np.exp(found.log_prob - EXACT)
    assert (np.abs(ratio - 1) < 5 * found.std_error).all()
    # All of them together, whose error is smaller.
    error = np.sqrt((found.std_error**2).sum()) / len(X)
    assert abs(ratio.mean() - 1) < 5 * error
    assert (np.abs(found.acceptance - 0.65) < 0.12).all()
    assert (found.effective < 0.5 * 3000).all()


def test_no_chain_has_a_say_in_its_own_step_size():
    """One chain an example: tuned by itself, its mean weight is 1.7 % off, 20 errors."""
    config = model.Config(latent=1, shape=(2,), noise=0.3)
    variables = model.make(config)
    _, x, _ = model.draw(config, variables, 3, 1)
    many = jnp.broadcast_to(x, (20_000, 2))
    settings = dict(betas=temperatures(40), chains=1, pilots=1, leapfrog=1, step_size=3.0)
    one = jax.jit(lambda key: annealed_log_prob(model, config, variables, many, key, **settings))
    ratio = np.exp(np.asarray(one(KEY).log_prob, np.float64) - model.exact(config, variables, x))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_within_its_error_where_a_poor_encoder_bounds_badly():
    params = VARIABLES["params"]
    poor = {"params": {**params, "encoder": 0 * params["encoder"], "log_std": jnp.full(3, -2.0)}}
    bound = jax.jit(lambda k: log_prob_bound(model, CONFIG, poor, X, k, 50))
    gap = EXACT - np.asarray(bound(KEY))
    assert gap.mean() > 5  # nats: the bound of 50 samples is this far off
    found = as_float64(compiled(300, 24)(X, KEY))
    assert found.std_error.max() < 0.35
    assert (np.abs(found.log_prob - EXACT) < 5 * found.std_error).all()
    assert np.abs(found.log_prob - EXACT).mean() < 0.15
    # It is a lower bound on average: its mean is not above by more than chance.
    error = np.sqrt((found.std_error**2).sum()) / len(X)
    assert (found.log_prob - EXACT).mean() < 5 * error


def test_few_temperatures_are_below():
    few = np.asarray(compiled(3, 4)(X, KEY).log_prob)
    many = np.asarray(compiled(300, 24)(X, KEY).log_prob)
    assert (few - EXACT).mean() < -0.5
    assert abs((many - EXACT).mean()) < 0.1


def test_the_reverse_chains_bound_from_above():
    """Simulated data: the two sides enclose log p(x), and closely with many temperatures."""
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
    # E[w] = 1 / p(x) over the exact posterior, which the simulated latents are draws of.
    ratio = np.exp(-slack[150])
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_no_backward_chain_has_a_say_in_its_step_size_either():
    """Narrow and wide Gaussian: pilots that begin where the chain does are 4 % off, 9 errors."""
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


def test_a_prior_of_its_own_is_annealed_to():
    """z ~ N(1, 1/4): the chains still begin at N(0, I)."""

    def prior(config, variables):
        def log_prob(z):
            return -gaussian_nll(z, jnp.ones_like(z), jnp.full_like(z, np.log(0.5)))

        return types.SimpleNamespace(event_shape=(3,), log_prob=log_prob)

    other = family(prior=prior)
    p = {k: np.asarray(v, np.float64) for k, v in VARIABLES["params"].items()}
    covariance = 0.25 * p["W"].T @ p["W"] + CONFIG.noise**2 * np.eye(4)
    exact = stats.multivariate_normal(p["W"].sum(0) + p["b"][0], covariance).logpdf(np.asarray(X))
    estimate = make_annealed(other, CONFIG, betas=temperatures(60, "linear"), chains=300)
    found = as_float64(estimate(VARIABLES, X, KEY, 12))
    assert found.std_error.max() < 0.4
    assert (np.abs(np.exp(found.log_prob - exact) - 1) < 5 * found.std_error).all()


def test_of_a_vae_it_is_the_integral_over_its_latent():
    config = vae.tiny()
    variables = jax.jit(lambda key: vae.init(config, key))(KEY)
    variables = jax.tree.map(lambda p: 5 * p + 0.2, variables)  # far from a linear model
    x = np.asarray(all_images(config.shape))[5::37]
    grid = np.linspace(-12, 12, 2401)
    decode = jax.jit(lambda z: vae.likelihood(config, variables, z).logits)
    logits = np.asarray(decode(grid[:, None].astype(np.float32)), np.float64).reshape(len(grid), -1)
    given_z = x.reshape(len(x), -1) @ logits.T - np.logaddexp(0, logits).sum(1)
    density = np.exp(given_z) * stats.norm.pdf(grid)
    exact = np.log(np.trapezoid(density, grid, axis=1))
    estimate = make_annealed(vae, config, betas=temperatures(100), chains=60, leapfrog=4)
    found = as_float64(estimate(variables, x, KEY, len(x)))
    assert found.std_error.max() < 0.3
    assert (np.abs(found.log_prob - exact) < 5 * found.std_error).all()
    error = np.sqrt((found.std_error**2).sum()) / len(x)
    assert abs((found.log_prob - exact).mean()) < 5 * error + (found.std_error**2).mean()


def test_a_split_in_batches_and_a_label_an_example():
    config = dataclasses.replace(CONFIG, classes=3)
    variables = model.make(config, apart=3.0)
    _, x, label = model.draw(config, variables, 2, 10, np.arange(10) % 3)
    estimate = make_annealed(model, config, betas=temperatures(60), chains=100, leapfrog=5)
    found = as_float64(estimate(variables, x, KEY, 4, {"label": label}))  # the last batch has 2
    assert found.log_prob.shape == (10,)
    exact = np.concatenate(
        [model.exact(config, variables, x[i : i + 1], label[i]) for i in range(10)]
    )
    assert (np.abs(found.log_prob - exact) < 5 * found.std_error + 0.05).all()
    # Every batch has chains of its own: the same example gets other noise.
    same = jnp.broadcast_to(x[:1], x.shape)
    again = estimate(variables, same, KEY, 4, {"label": np.full(10, label[0])})
    assert len(np.unique(np.round(again.log_prob, 5))) == 10


def test_a_path_that_runs_away_is_refused():
    """Steps no chain survives: all are refused, and what is left is the mean over the prior."""
    found = compiled(3, 2000, leapfrog=3, step_size=1e30)(X, KEY)
    assert np.isfinite(found.log_prob).all()
    assert float(found.acceptance.max()) == 0
    assert (np.asarray(found.log_prob) < EXACT + 3).all()


def test_memory_does_not_grow_with_the_temperatures():
    def bytes_of(count):
        lowered = compiled(count, 64).lower(X, KEY)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    rows = 64 * len(X)
    grown = (bytes_of(4000) - bytes_of(400)) / 3600
    assert grown < 4 * rows  # not even one float32 a chain is kept


def test_what_does_not_fit_is_a_sentence():
    lacking = types.SimpleNamespace(__name__="genjax.families.some", prior=None)
    with pytest.raises(ValueError, match=r"^some has no latents and likelihood, which annealed"):
        annealed_log_prob(lacking, CONFIG, VARIABLES, X, KEY, betas=temperatures(3))
    with pytest.raises(ValueError, match=r"^some has no latents"):
        make_annealed(lacking, CONFIG, betas=temperatures(3))
    down, still = temperatures(3)[::-1], np.array([0.0, 0.5, 0.5, 1.0])
    for betas in (np.array([0.0, 0.5]), down, still):
        with pytest.raises(ValueError, match="betas must rise from 0 to 1"):
            annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=betas)
        with pytest.raises(ValueError, match="betas must rise from 0 to 1"):
            reverse_annealed_log_prob(model, CONFIG, VARIABLES, X, Z, KEY, betas=betas)
    with pytest.raises(ValueError, match="leapfrog must be above 0"):
        annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=temperatures(3), leapfrog=0)
    with pytest.raises(ValueError, match=r"acceptance must be in \[0, 1\)"):
        annealed_log_prob(model, CONFIG, VARIABLES, X, KEY, betas=temperatures(3), acceptance=1.0)
