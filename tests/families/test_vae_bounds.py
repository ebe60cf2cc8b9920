"""The VAE's bounds and gradients on a linear Gaussian model, whose log p(x) has a closed form.

z ~ N(0, I), x = W^T z + b + noise; a linear encoder. The parameters of the networks are set
accordingly.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax import core
from genjax.families import vae
from genjax.families.vae import densities, objectives
from genjax.families.vae.objectives import Model

D, Z, ROWS = 3, 2, 250
CONFIG = vae.Config(shape=(D,), latent=Z, hidden=(), likelihood="gaussian")
FULL = dataclasses.replace(CONFIG, posterior="full")
RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(Z, D)), RNG.normal(size=D)
NOISE = 0.7  # standard deviation of x given z
X = np.array([0.4, -1.1, 0.8])


def raw_scale(std):
    """Returns the decoder's output for a standard deviation, the inverse of its softplus bound."""
    low = CONFIG.min_log_scale
    return low + np.log(np.expm1(np.log(std) - low))


def exact_posterior():
    """Returns A and S of q(z | x) = N(A (x - b), S)."""
    covariance = np.linalg.inv(np.eye(Z) + W @ W.T / NOISE**2)
    return covariance @ W / NOISE**2, covariance


def variables(config, shrink=1.0):
    """Parameters with the exact posterior's mean, and its covariance or `shrink` its deviations."""
    gain, covariance = exact_posterior()
    factor = np.linalg.cholesky(covariance)
    std = np.diag(factor) if config.posterior == "full" else shrink * np.sqrt(np.diag(covariance))
    below = factor[np.tril_indices(Z, -1)] if config.posterior == "full" else []
    bias = np.concatenate([-gain @ B, 2 * np.log(std), below])
    kernel = np.zeros((D, bias.size))
    kernel[:, :Z] = gain.T
    decoder = np.concatenate([W, np.zeros((Z, D))], axis=1)
    scales = np.full(D, raw_scale(NOISE))
    params = {
        "encoder": {"MLP_0": {"out": {"kernel": kernel, "bias": bias}}},
        "decoder": {"MLP_0": {"out": {"kernel": decoder, "bias": np.concatenate([B, scales])}}},
    }
    shapes = jax.eval_shape(lambda key: vae.init(config, key), jax.random.key(0))["params"]
    return {"params": jax.tree.map(lambda s, p: jnp.asarray(p, s.dtype), shapes, params)}


def log_evidence():
    return scipy.stats.multivariate_normal(B, W.T @ W + NOISE**2 * np.eye(D)).logpdf(X)


def exact_elbo(shrink):
    """log p(x) - KL(q || p(z | x)), both Gaussian with the same mean."""
    _, covariance = exact_posterior()
    q = shrink**2 * np.diag(np.diag(covariance))
    inside = np.trace(np.linalg.solve(covariance, q)) - Z
    kl = 0.5 * (inside + np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(q)[1])
    return log_evidence() - kl


ROWS_OF_X = jnp.asarray(np.tile(X, (ROWS, 1)), jnp.float32)


def bound(config, v, samples, repeats=40):
    """Mean and error of the bound of `samples` samples, from `repeats` times `ROWS` draws."""
    if samples == "elbo":
        one = lambda key: core.elbo(vae, config, v, ROWS_OF_X, key)  # noqa: E731
    else:
        one = lambda key: core.log_prob_bound(vae, config, v, ROWS_OF_X, key, samples)  # noqa: E731
    draws = jax.jit(lambda keys: jax.lax.map(one, keys))(
        jax.random.split(jax.random.key(1), repeats)
    )
    draws = np.asarray(draws, np.float64).ravel()
    return draws.mean(), draws.std() / np.sqrt(draws.size)


def test_bounds_rise_with_the_samples_and_stay_below_the_evidence():
    """ELBO < IWAE_5 < IWAE_50 < log p, each by more than 5 errors; one sample is the ELBO."""
    v = variables(CONFIG, shrink=0.5)
    want = exact_elbo(0.5)
    results = [bound(CONFIG, v, k) for k in ("elbo", 1, 5, 50)]
    for mean, error in results[:2]:
        assert abs(mean - want) < 5 * error
    rising = [*results[1:], (log_evidence(), 0.0)]
    for (low, e), (high, f) in itertools.pairwise(rising):
        assert high - low > 5 * np.hypot(e, f)


@pytest.mark.parametrize("samples", ["elbo", 1, 12])
def test_with_the_exact_posterior_every_weight_is_the_evidence(samples):
    """log p(x, z) - log q(z | x) is log p(x) for every z, for any number of samples."""
    v = variables(FULL)
    draw = jax.jit(lambda key: core.log_weight(vae, FULL, v, ROWS_OF_X, key))
    np.testing.assert_allclose(draw(jax.random.key(2)), log_evidence(), rtol=1e-4)
    if samples != "elbo":
        mean, error = bound(FULL, v, samples, repeats=1)
        assert mean == pytest.approx(log_evidence(), rel=1e-4)
        assert error < 1e-4
        return
    mean, error = bound(FULL, v, samples)
    assert abs(mean - log_evidence()) < 5 * error


@pytest.mark.parametrize(
    ("objective", "samples"), [("elbo", 2), ("sampled", 2), ("score", 2), ("iwae", 5), ("dreg", 5)]
)
def test_losses_have_the_value_of_their_bound(objective, samples):
    v = variables(CONFIG, shrink=0.5)
    config = dataclasses.replace(CONFIG, objective=objective, latent_samples=samples)
    one = lambda key: vae.loss(config, v, {"x": ROWS_OF_X}, key)[0]  # noqa: E731
    draws = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 40))
    draws = -np.asarray(draws, np.float64).ravel()
    mean, error = draws.mean(), draws.std() / np.sqrt(draws.size)
    if objective in ("iwae", "dreg"):
        want, e = bound(CONFIG, v, samples)
        assert abs(mean - want) < 5 * np.hypot(error, e)
        assert mean - exact_elbo(0.5) > 5 * error
    else:
        assert abs(mean - exact_elbo(0.5)) < 5 * error


def gradients(config, v, count=3000, rows=2):
    """Gradients `[count, parameters]` of encoder and decoder; all configs use the same noise."""
    x = {"x": ROWS_OF_X[:rows]}

    def one(params, key):
        return vae.loss(config, {**v, "params": params}, x, key)[0].mean()

    keys = jax.random.split(jax.random.key(4), count)
    results = jax.jit(jax.vmap(jax.grad(one), (None, 0)))(v["params"], keys)
    flat = lambda tree: np.concatenate(  # noqa: E731
        [np.asarray(a, np.float64).reshape(count, -1) for a in jax.tree.leaves(tree)], axis=1
    )
    return flat(results["encoder"]), flat(results["decoder"])


def same_mean(a, b):
    """Whether two paired estimates have the same mean."""
    difference = a - b
    return (
        np.abs(difference.mean(0)) <= 5 * difference.std(0) / np.sqrt(len(difference)) + 1e-5
    ).all()


@pytest.mark.parametrize("case", ["narrow", "wide", "full_vamp"])
def test_dreg_has_the_mean_gradient_of_iwae_and_less_variance(case):
    config, v = CONFIG, variables(CONFIG, shrink=1.2 if case == "wide" else 0.5)
    if case == "full_vamp":  # the gradient of the prior reaches the encoder
        config = dataclasses.replace(FULL, prior="vamp", pseudo_inputs=3)
        v = variables(FULL)
        v["params"]["encoder"]["MLP_0"]["out"]["bias"] += 0.3
        inputs = jnp.asarray(RNG.normal(size=(3, D)), jnp.float32)
        v = {"params": {**v["params"], "prior": {"pseudo_inputs": inputs}}}
    plain = gradients(dataclasses.replace(config, objective="iwae", latent_samples=10), v)
    double = gradients(dataclasses.replace(config, objective="dreg", latent_samples=10), v)
    np.testing.assert_allclose(double[1], plain[1], rtol=1e-2, atol=1e-3)  # the decoder's
    assert same_mean(double[0], plain[0])
    error = plain[0].std(0) / np.sqrt(len(plain[0]))
    if case != "wide":  # not all gradients are 0
        assert (np.abs(plain[0].mean(0)) > 10 * error).any()
    else:  # very uneven weights
        assert double[0].var(0).sum() < 0.5 * plain[0].var(0).sum()


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_resampled_gradients_have_the_mean_of_iwae(count, objective):
    """Of encoder and decoder, with the same noise; the variance is larger for fewer samples."""
    v = variables(CONFIG, shrink=0.5)
    v["params"]["encoder"]["MLP_0"]["out"]["bias"] += 0.3
    iwae = dataclasses.replace(CONFIG, objective="iwae", latent_samples=10)
    few = dataclasses.replace(iwae, objective=objective, gradient_samples=count)
    x, key = {"x": ROWS_OF_X}, jax.random.key(5)
    got, aux = jax.jit(lambda key: vae.loss(few, v, x, key))(key)
    want, all_aux = jax.jit(lambda key: vae.loss(iwae, v, x, key))(key)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), aux, all_aux)
    plain, drawn = gradients(iwae, v), gradients(few, v)
    for one, other in zip(plain, drawn, strict=True):
        assert same_mean(other, one)
        error = one.std(0) / np.sqrt(len(one))
        assert (np.abs(one.mean(0)) > 10 * error).any()  # not all gradients are 0
    assert drawn[1].var(0).sum() > plain[1].var(0).sum()
    if objective == "dreg":
        by_iwae = gradients(dataclasses.replace(few, objective="iwae"), v)
        np.testing.assert_allclose(drawn[1], by_iwae[1], rtol=1e-2, atol=1e-3)  # the decoder's
        assert not np.allclose(drawn[0], by_iwae[0], rtol=1e-2, atol=1e-3)


def test_resampled_dreg_trains_a_vamp_prior():
    config = dataclasses.replace(FULL, prior="vamp", pseudo_inputs=3)
    v = variables(FULL)
    v["params"]["encoder"]["MLP_0"]["out"]["bias"] += 0.3
    inputs = jnp.asarray(RNG.normal(size=(3, D)), jnp.float32)
    v = {"params": {**v["params"], "prior": {"pseudo_inputs": inputs}}}
    every = dataclasses.replace(config, objective="dreg", latent_samples=10)
    plain, drawn = gradients(every, v), gradients(dataclasses.replace(every, gradient_samples=3), v)
    for one, other in zip(plain, drawn, strict=True):
        assert same_mean(other, one)


def test_score_function_has_the_mean_gradient_of_the_elbo_and_more_variance():
    v = variables(CONFIG, shrink=0.5)
    v["params"]["encoder"]["MLP_0"]["out"]["bias"] += 0.3
    plain = gradients(dataclasses.replace(CONFIG, objective="elbo"), v)
    score = gradients(dataclasses.replace(CONFIG, objective="score"), v)
    assert same_mean(score[0], plain[0])
    assert same_mean(score[1], plain[1])
    assert score[0].var(0).sum() > 5 * plain[0].var(0).sum()


def test_score_gradient_of_the_encoder_is_the_bound_times_the_score():
    v, x = variables(CONFIG, shrink=0.5)["params"], ROWS_OF_X[:3]
    noise = jax.random.normal(jax.random.key(5), (2, 3, Z))
    prior = densities.prior(CONFIG, v)
    fixed = densities.posterior(CONFIG, v, x, None).transform(noise)  # [2, 3, Z]

    def value(encoder):
        params = {**v, "encoder": encoder}
        q = densities.posterior(CONFIG, params, x, None)
        return objectives._score(Model(CONFIG, params, x, None, q, prior), noise, 1.0)[0].sum()

    def score(encoder):
        q = densities.posterior(CONFIG, {**v, "encoder": encoder}, x, None)
        return -jnp.mean(bounds * q.log_prob(fixed), axis=0).sum()

    model = Model(CONFIG, v, x, None, densities.posterior(CONFIG, v, x, None), prior)
    terms = model.sampled_terms(noise)
    bounds = terms.log_weights  # [2, 3]
    found, want = jax.jit(jax.grad(value))(v["encoder"]), jax.jit(jax.grad(score))(v["encoder"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, want)
    # The logged terms are means over the samples.
    logged = terms.means()
    np.testing.assert_allclose(logged["kl"] + logged["reconstruction"], -bounds.mean(0), rtol=1e-5)
    np.testing.assert_allclose(logged["reconstruction"], -terms.log_likelihood.mean(0), rtol=1e-5)
