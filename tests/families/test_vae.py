"""The VAE's bounds against quadrature over its one-dimensional latent."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from support.helpers import all_images, random_variables

from genjax import core
from genjax.families import vae

CONFIG = vae.tiny()


@pytest.fixture(scope="module")
def variables():
    return random_variables(vae, CONFIG)


@pytest.fixture(scope="module")
def exact(variables):
    """log p(x) of all 512 images by the trapezoidal rule over z, which converges exponentially."""
    z = np.linspace(-12, 12, 4801)
    logits = np.asarray(
        vae.likelihood(CONFIG, variables, jnp.asarray(z[:, None], jnp.float32)).logits
    )
    logits = logits.reshape(len(z), -1).astype(np.float64)
    x = np.asarray(all_images(CONFIG.shape)).reshape(512, -1)
    log_px = x @ logits.T - np.logaddexp(0, logits).sum(1)
    log_pz = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    return np.log(integrate.trapezoid(np.exp(log_px + log_pz), z, axis=1))


def test_quadrature_is_normalised(exact):
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-5)


def test_elbo_is_below_log_likelihood(variables, exact):
    x = all_images(CONFIG.shape)
    draw = jax.jit(jax.vmap(lambda k: core.elbo(vae, CONFIG, variables, x, k)))
    draws = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)), np.float64)
    mean, error = draws.mean(0), draws.std(0) / np.sqrt(len(draws))
    assert (mean < exact + 5 * error).all()
    # Not tight: with these weights the posterior is far from Gaussian.
    assert (exact - mean).mean() > 0.1


def test_elbo_has_the_expectation_of_its_definition(variables):
    """E_q[log p(x|z)] - KL by quadrature over q, in float64, for a few images."""
    x = all_images(CONFIG.shape)[:: 512 // 8]
    q = vae.posterior(CONFIG, variables, x)
    mean, log_std = (np.asarray(a, np.float64)[:, 0] for a in (q.loc, q.log_std))
    expected = []
    for i, (m, s) in enumerate(zip(mean, np.exp(log_std), strict=True)):
        z = np.linspace(m - 10 * s, m + 10 * s, 4001)
        logits = np.asarray(
            vae.likelihood(CONFIG, variables, jnp.asarray(z[:, None], jnp.float32)).logits
        )
        logits = logits.reshape(len(z), -1).astype(np.float64)
        log_px = logits @ np.asarray(x[i]).reshape(-1) - np.logaddexp(0, logits).sum(1)
        q = np.exp(-0.5 * ((z - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        kl = 0.5 * (m**2 + s**2 - 1) - np.log(s)
        expected.append(integrate.trapezoid(q * log_px, z) - kl)
    draw = jax.jit(jax.vmap(lambda k: core.elbo(vae, CONFIG, variables, x, k)))
    draws = np.asarray(draw(jax.random.split(jax.random.key(1), 20_000)), np.float64)
    error = draws.std(0) / np.sqrt(len(draws))
    np.testing.assert_array_less(np.abs(draws.mean(0) - expected), 5 * error + 1e-4)


def test_importance_weighted_bound_rises_to_the_log_likelihood(variables, exact):
    x = all_images(CONFIG.shape)

    def bound(samples, repeats):
        many = jax.jit(
            jax.vmap(lambda k: core.log_prob_bound(vae, CONFIG, variables, x, k, samples))
        )
        return np.asarray(many(jax.random.split(jax.random.key(2), repeats)), np.float64).mean()

    few, more, most = bound(1, 400), bound(10, 100), bound(3000, 2)
    assert few < more < most < exact.mean() + 0.02
    assert most == pytest.approx(exact.mean(), abs=0.1)


def test_bfloat16_changes_the_hidden_layers_only():
    config = vae.Config(shape=(9,), latent=2, hidden=(16,), dtype="bfloat16")
    variables = vae.init(config, jax.random.key(0))
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    nats, _ = vae.loss(config, variables, {"x": jnp.ones((3, 9))}, jax.random.key(1))
    assert nats.dtype == jnp.float32
    batch, key = {"x": jnp.ones((3, 9))}, jax.random.key(1)
    of = lambda c: jax.jit(lambda v: vae.loss(c, v, batch, key)).lower(variables).as_text()  # noqa: E731
    assert "xbf16>" in of(config)
    assert "xbf16>" not in of(dataclasses.replace(config, dtype="float32"))
