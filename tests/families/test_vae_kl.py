"""What weighs the VAE's KL: beta, warm-up and free bits; and which latents it leaves active."""

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


def test_the_terms_of_the_loss_are_weighed_by_beta_and_warm_up():
    config = config_of(beta=3.0, kl_warmup=4)
    v = variables_of(config)
    loss = jax.jit(lambda v: vae.loss(config, v, {"x": X}, jax.random.key(0)))
    for done, weight in ((0, 0.0), (1, 0.75), (4, 3.0), (9, 3.0)):
        v = {**v, "buffers": {"steps": jnp.asarray(done, jnp.int32)}}
        nats, aux = loss(v)
        np.testing.assert_allclose(nats, aux["reconstruction"] + weight * aux["kl"], rtol=1e-5)
        assert int(aux["updates"]["buffers"]["steps"]) == done + 1
    # What is reported is the bound itself.
    plain = core.elbo(vae, BASE, {"params": v["params"]}, X, jax.random.key(0))
    np.testing.assert_allclose(core.elbo(vae, config, v, X, jax.random.key(0)), plain, rtol=1e-6)
    np.testing.assert_allclose(aux["kl"], core.kl_units(vae, config, v, X).sum(1), rtol=1e-5)


def test_steps_are_counted_in_the_state():
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


def test_free_bits_keep_the_kl_from_pulling():
    """Where every latent is below, the encoder hears of the reconstruction alone."""
    key = jax.random.key(0)

    def grads(config):
        def total(p):
            found = vae.loss(config, {"params": p}, {"x": X}, key)
            return found[0].mean(), found

        return jax.jit(jax.grad(total, has_aux=True))(variables_of(config)["params"])

    free, (nats, aux) = grads(config_of(free_bits=50.0))
    none, _ = grads(config_of(beta=0.0))
    np.testing.assert_allclose(nats, aux["reconstruction"] + 2 * 50.0, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(free), jax.tree.leaves(none), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # Latent by latent: between the two means, one is charged and the other is free.
    each = core.kl_units(vae, BASE, variables_of(BASE), X).mean(0)
    between = float(each.mean())
    _, (nats, aux) = grads(config_of(free_bits=between))
    charged = nats - aux["reconstruction"]
    assert float(charged.mean()) == pytest.approx(between + float(each.max()), rel=1e-4)


@pytest.mark.parametrize("posterior", ["diagonal", "iaf"])
def test_active_units_go_by_the_mean_of_q(posterior):
    """Of an iaf posterior that is no image of the Gaussian's mean: an average of samples."""
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
    apart = np.abs(vae.encode(config, v, X) - z.mean(0)) / (z.std(0) / np.sqrt(n) + 1e-3)
    assert (apart.max() > 8) == (posterior == "iaf")


def test_a_latent_that_x_says_nothing_of_is_not_active_under_a_flow_either():
    """Its samples vary, and their average: with the same noise for every x alike."""
    config = vae.Config(shape=(3, 3, 1), latent=2, hidden=(8,), posterior="iaf")
    v = jax.tree.map(jnp.zeros_like, vae.init(config, jax.random.key(0)))
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (300, 3, 3, 1)), jnp.float32)
    found = evals.active_units(vae, config, v, x, jax.random.key(1), batch_size=64)
    assert found.counts == (0,)
    assert found.variance[0].max() < 1e-6


@pytest.mark.parametrize("settings", [{"posterior": "iaf"}, {"prior": "vamp"}], ids=str)
def test_free_bits_of_a_kl_that_does_not_split(settings):
    """All latents are one group: below the limit it costs the limit, and pulls nowhere."""
    key, v = jax.random.key(0), variables_of(config_of(**settings))

    def found(config):
        def total(p):
            nats, aux = vae.loss(config, {"params": p}, {"x": X}, key)
            return nats.mean(), (nats, aux)

        return jax.jit(jax.grad(total, has_aux=True))(v["params"])

    free, (nats, aux) = found(config_of(free_bits=90.0, **settings))
    none, _ = found(config_of(beta=0.0, **settings))
    np.testing.assert_allclose(nats, aux["reconstruction"] + 90, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(free), jax.tree.leaves(none), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    little, (nats, aux) = found(config_of(free_bits=1e-6, **settings))
    whole, (plain, _) = found(config_of(**settings))
    if float(aux["kl"].mean()) > 1e-6:
        np.testing.assert_allclose(nats.mean(), plain.mean(), rtol=1e-5)
        for a, b in zip(jax.tree.leaves(little), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"beta": 3.0}, {"beta": 3.0, "kl_warmup": 4}], ids=str)
def test_the_score_estimator_weighs_the_kl_too(settings):
    """Its value is that of the sampled objective: the same samples, the same weight."""
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
