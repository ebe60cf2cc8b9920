"""Weights of the VAE's KL: beta, warm-up and free bits; and active units."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.small_vae import BASE, X, config_of, variables_of

from genjax import core, evals
from genjax.core import State, make_step
from genjax.core.protocols import LayerMeans
from genjax.families import vae


def test_beta_and_warmup_weight_the_kl():
    config = config_of(beta=3.0, kl_warmup=4)
    v = variables_of(config)
    loss = jax.jit(lambda v: vae.loss(config, v, {"x": X}, jax.random.key(0)))
    for done, weight in ((0, 0.0), (1, 0.75), (4, 3.0), (9, 3.0)):
        v = {**v, "buffers": {"steps": jnp.asarray(done, jnp.int32)}}
        nats, aux = loss(v)
        np.testing.assert_allclose(nats, aux["reconstruction"] + weight * aux["kl"], rtol=1e-5)
        assert int(aux["updates"]["buffers"]["steps"]) == done + 1
    # The ELBO is not weighted.
    plain = core.elbo(vae, BASE, {"params": v["params"]}, X, jax.random.key(0))
    np.testing.assert_allclose(core.elbo(vae, config, v, X, jax.random.key(0)), plain, rtol=1e-6)
    np.testing.assert_allclose(aux["kl"], core.kl_units(vae, config, v, X).sum(1), rtol=1e-5)


def test_warmup_steps_are_counted_in_the_state():
    config = config_of(kl_warmup=5)
    optimizer = optax.sgd(1e-3)
    v = variables_of(config)
    state = State(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        variables=v,
        opt_state=optimizer.init(v["params"]),
    )
    step = jax.jit(make_step(vae, config, optimizer))
    weights = []
    for _ in range(7):
        state, metrics = step(state, {"x": X})
        weights.append(float(metrics["kl_weight"]))
    np.testing.assert_allclose(weights, [0, 0.2, 0.4, 0.6, 0.8, 1, 1], rtol=1e-6)
    assert int(state.variables["buffers"]["steps"]) == 7


def test_free_bits_remove_the_gradient_of_the_kl():
    """With all latents below the limit, the gradient is that of the reconstruction."""
    key = jax.random.key(0)

    def grads(config):
        def total(p):
            result = vae.loss(config, {"params": p}, {"x": X}, key)
            return result[0].mean(), result

        return jax.jit(jax.grad(total, has_aux=True))(variables_of(config)["params"])

    free, (nats, aux) = grads(config_of(free_bits=50.0))
    none, _ = grads(config_of(beta=0.0))
    np.testing.assert_allclose(nats, aux["reconstruction"] + 2 * 50.0, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(free), jax.tree.leaves(none), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # Per latent: with a limit between the two means, one is penalised and the other is not.
    each = core.kl_units(vae, BASE, variables_of(BASE), X).mean(0)
    between = float(each.mean())
    _, (nats, aux) = grads(config_of(free_bits=between))
    penalty = nats - aux["reconstruction"]
    assert float(penalty.mean()) == pytest.approx(between + float(each.max()), rel=1e-4)


@pytest.mark.parametrize("posterior", ["diagonal", "iaf"])
def test_active_units_use_the_mean_of_q(posterior):
    """Of an iaf posterior, an average of samples, which differs from the flow of the mean."""
    config = vae.Config(shape=(3, 3, 1), latent=2, hidden=(8,), posterior=posterior)
    v, n = variables_of(config), 4000
    q = vae.posterior(config, v, X)
    if posterior == "iaf":
        (got,) = jax.jit(q.layer_means)(jax.random.key(1))
    else:
        assert not isinstance(q, LayerMeans)
        got = q.mean()
    draw = jax.jit(jax.vmap(lambda key: q.sample(key)))
    z = np.asarray(draw(jax.random.split(jax.random.key(2), n)), np.float64)
    error = z.std(0) * np.sqrt(1 / n + (1 / 100 if posterior == "iaf" else 0))
    np.testing.assert_array_less(np.abs(got - z.mean(0)), 5 * error + 1e-3)
    distance = np.abs(vae.encode(config, v, X) - z.mean(0)) / (z.std(0) / np.sqrt(n) + 1e-3)
    assert (distance.max() > 8) == (posterior == "iaf")


def test_latents_independent_of_x_are_not_active_under_a_flow():
    """Averages of samples vary, but equally for every x, since the noise is shared."""
    config = vae.Config(shape=(3, 3, 1), latent=2, hidden=(8,), posterior="iaf")
    v = jax.tree.map(jnp.zeros_like, vae.init(config, jax.random.key(0)))
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (300, 3, 3, 1)), jnp.float32)
    result = evals.active_units(vae, config, v, x, jax.random.key(1), batch_size=64)
    assert result.counts == (0,)
    assert result.variance[0].max() < 1e-6


@pytest.mark.parametrize("settings", [{"posterior": "iaf"}, {"prior": "vamp"}], ids=str)
def test_free_bits_of_a_kl_without_units(settings):
    """All latents are one group; below the limit its cost is the limit, without gradient."""
    key, v = jax.random.key(0), variables_of(config_of(**settings))

    def result(config):
        def total(p):
            nats, aux = vae.loss(config, {"params": p}, {"x": X}, key)
            return nats.mean(), (nats, aux)

        return jax.jit(jax.grad(total, has_aux=True))(v["params"])

    free, (nats, aux) = result(config_of(free_bits=90.0, **settings))
    none, _ = result(config_of(beta=0.0, **settings))
    np.testing.assert_allclose(nats, aux["reconstruction"] + 90, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(free), jax.tree.leaves(none), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    low_limit, (nats, aux) = result(config_of(free_bits=1e-6, **settings))
    plain_gradient, (plain, _) = result(config_of(**settings))
    if float(aux["kl"].mean()) > 1e-6:
        np.testing.assert_allclose(nats.mean(), plain.mean(), rtol=1e-5)
        for a, b in zip(jax.tree.leaves(low_limit), jax.tree.leaves(plain_gradient), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"beta": 3.0}, {"beta": 3.0, "kl_warmup": 4}], ids=str)
def test_score_estimator_weights_the_kl(settings):
    """Its value is that of the sampled objective, with the same samples and weight."""
    done = jnp.int32(1)
    weight = 3.0 * (0.25 if "kl_warmup" in settings else 1.0)
    values = {}
    for objective in ("score", "sampled"):
        config = config_of(objective=objective, **settings)
        v = variables_of(config)
        v = {**v, "buffers": {"steps": done}} if "kl_warmup" in settings else v
        values[objective], aux = vae.loss(config, v, {"x": X}, jax.random.key(3))
        np.testing.assert_allclose(
            values[objective], aux["reconstruction"] + weight * aux["kl"], rtol=1e-5
        )
    np.testing.assert_allclose(values["score"], values["sampled"], rtol=1e-5)
