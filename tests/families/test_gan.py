"""GAN: the authors' network and the beginning of its weights, noise, dropout, marginals."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from support.helpers import critic_batch, make_batch

from genjax.families import gan

CONFIG = gan.Config()


@pytest.fixture(scope="module")
def variables():
    return jax.jit(lambda key: gan.init(CONFIG, key))(jax.random.key(0))


def leaves(network):
    """Returns a network's kernels and biases."""
    found = {"kernel": [], "bias": []}
    for path, leaf in jax.tree_util.tree_flatten_with_path(network)[0]:
        found[path[-1].key].append(np.asarray(leaf))
    return found


def test_the_default_is_the_authors_network(variables):
    generator, discriminator = (
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"][name]))
        for name in ("generator", "discriminator")
    )
    assert generator == 100 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    maxout = 5 * (784 * 240 + 240) + 5 * (240 * 240 + 240)
    assert discriminator == maxout + 240 + 1


def test_initial_weights_are_uniform(variables):
    ranges = {"generator": 0.05, "discriminator": 0.005}
    for name, most in ranges.items():
        found = leaves(variables["params"][name])
        for kernel in found["kernel"]:
            far = scipy.stats.kstest(kernel.ravel()[:5000] / most, "uniform", args=(-1, 2))
            assert far.pvalue > 1e-6
        assert all((bias == 0).all() for bias in found["bias"])


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_noise_has_unit_variance(kind):
    z = np.asarray(gan.noise(dataclasses.replace(CONFIG, noise=kind), jax.random.key(0), 500))
    assert z.shape == (500, 100)
    law = ("uniform", (-math.sqrt(3), 2 * math.sqrt(3))) if kind == "uniform" else ("norm", ())
    assert scipy.stats.kstest(z.ravel(), law[0], args=law[1]).pvalue > 1e-6


def test_initial_outputs_are_the_marginals_of_the_data():
    config = dataclasses.replace(gan.tiny(), generator_range=1e-6)
    x = np.random.default_rng(0).uniform(size=(50, 3, 3, 1)).astype(np.float32)
    x[:, 0, 0] = 0  # never on
    begun = gan.init(config, jax.random.key(0), {"x": jnp.asarray(x)})
    made = gan.generate(config, begun, jnp.zeros((1, config.latent)))
    np.testing.assert_allclose(made[0], x.mean(0), atol=1e-5)
    assert gan.traits(config).init_examples == 10_000
    for other in ({"marginals": False}, {"output": "linear"}):
        plain = dataclasses.replace(config, **other)
        assert gan.traits(plain).init_examples == 0
        begun = gan.init(plain, jax.random.key(0), {"x": jnp.asarray(x)})
        assert not np.asarray(begun["params"]["generator"]["mlp"]["out"]["bias"]).any()


@pytest.fixture(scope="module")
def counting_discriminator():
    """A discriminator of one wide layer whose output counts the inputs that are not dropped."""
    config = gan.Config(
        shape=(400,),
        output="linear",
        generator_hidden=(4,),
        discriminator_hidden=(500,),
        activation="relu",
        input_dropout=0.2,
        hidden_dropout=0.5,
    )
    variables = gan.init(config, jax.random.key(0))
    fill = lambda x: jnp.ones_like(x) if x.ndim > 1 else jnp.zeros_like(x)  # noqa: E731
    filled = jax.tree.map(fill, variables["params"]["discriminator"])
    return config, {**variables, "params": {**variables["params"], "discriminator": filled}}


def test_dropout_has_its_rates_and_keeps_the_mean(counting_discriminator):
    config, variables = counting_discriminator
    x = jnp.ones((300, 400))
    network, own = gan.Discriminator(config), {"params": variables["params"]["discriminator"]}
    program = jax.jit(lambda key: network.apply(own, x, train=True, rngs={"dropout": key})[0])
    logits = np.asarray(program(jax.random.key(0)), np.float64)
    # 400 inputs, each 1 / 0.8 or 0, and 500 units, each twice the sum or 0.
    assert abs(logits.mean() / (400 * 500) - 1) < 0.01
    spread = (0.2 / 0.8) / 400 + (0.5 / 0.5) / 500  # of the two means, squared
    assert 0.8 < logits.var() / (400 * 500) ** 2 / spread < 1.25
    assert (np.asarray(program(jax.random.key(1))) != logits).any()


def test_no_dropout_outside_of_training(counting_discriminator):
    config, variables = counting_discriminator
    x = jnp.ones((3, 400))
    np.testing.assert_array_equal(gan.discriminate(config, variables, x), 400.0 * 500)
    np.testing.assert_array_equal(gan.encode(config, variables, x), np.full((3, 500), 400.0))


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_both_losses_use_dropout(network):
    """With samples that are all alike, the loss depends on its key only through dropout."""
    small = {"latent": 1, "generator_hidden": (1,), "generator_range": 1e-9}
    dropping = dataclasses.replace(gan.tiny(), **small)
    whole = dataclasses.replace(dropping, input_dropout=0.0, hidden_dropout=0.0)
    variables = gan.init(dropping, jax.random.key(0))
    batch = critic_batch(make_batch(gan, dropping), dropping)

    def losses(config):
        found = jax.jit(lambda key: gan.LOSSES[network](config, variables, batch, key)[0])
        return np.asarray(found(jax.random.key(1))), np.asarray(found(jax.random.key(2)))

    a, b = losses(whole)
    np.testing.assert_allclose(a, b, atol=1e-5)
    a, b = losses(dropping)
    assert np.abs(a - b).max() > 1e-3


def test_rejects_settings_without_effect():
    with pytest.raises(ValueError, match="pieces needs maxout units"):
        gan.Config(activation="relu", pieces=3)
    with pytest.raises(
        ValueError, match=r"`objective` must be GanObjective\(\.\.\.\), got 'hinge'"
    ):
        gan.Config(objective="hinge")
    chex.assert_equal(gan.Config(activation="relu").pieces, 5)
