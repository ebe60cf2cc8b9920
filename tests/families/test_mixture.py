"""EM against float64 NumPy, its monotonicity, and the mixture's exact conditionals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from support.helpers import (
    all_images,
    causality_violations,
    make_state,
    random_variables,
    total_probability,
)

from genjax.core import init_state, log_conditionals, make_step
from genjax.families import mixture


def random_images(n=40, dims=12, seed=0, kinds=3):
    """Returns noisy copies of a few patterns."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((kinds, dims)) < 0.5
    return (patterns[rng.integers(0, kinds, n)] ^ (rng.random((n, dims)) < 0.15)).astype(np.float32)


def joint64(weights, means, x):
    """Returns log w_k + log p(x | k) in float64, `[B, K]`; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(x[:, None] > 0.5, np.log(means)[None], np.log1p(-means)[None])
        return terms.sum(axis=2) + np.log(weights)[None]


def open_params(params):
    logits = np.asarray(params["logits"], np.float64)
    weights = np.exp(np.asarray(params["weights"], np.float64))
    return weights / weights.sum(), 1 / (1 + np.exp(-np.clip(logits, -700, 700)))


def fitted(config, x, steps, seed=0, batch=None):
    """Returns the states of full-batch EM, including the initial one."""
    make = jax.jit(lambda key: init_state(mixture, config, None, key, batch=batch))
    state, step = make(jax.random.key(seed)), jax.jit(make_step(mixture, config))
    states, metrics = [state], []
    for _ in range(steps):
        state, found = step(state, {"x": jnp.asarray(x)})
        states.append(state)
        metrics.append({k: float(v) for k, v in found.items()})
    return states, metrics


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.5, 0.2), (1e-2, 1e-2)])
def test_five_iterations_equal_numpy(a, b):
    x = random_images()
    config = mixture.Config(shape=(12,), components=5, mean_prior=a, weight_prior=b)
    states, metrics = fitted(config, x, 5)
    weights, means = open_params(states[0].variables["params"])
    for i in range(5):
        joint = joint64(weights, means, x)
        nats = -logsumexp(joint, axis=1)
        assert metrics[i]["loss"] == pytest.approx(nats.mean(), rel=1e-5)
        share = np.exp(joint + nats[:, None])
        counts = share.sum(axis=0)
        means = (share.T @ x + a) / (counts + 2 * a)[:, None]
        weights = (counts + b) / (len(x) + 5 * b)
    got_weights, got_means = open_params(states[5].variables["params"])
    np.testing.assert_allclose(got_weights, weights, atol=1e-5)
    np.testing.assert_allclose(got_means, means, atol=1e-5)


def objective(config, params, x):
    """Returns the log-likelihood of `x` times the priors, per example, in float64."""
    weights, means = open_params(params)
    total = logsumexp(joint64(weights, means, x), axis=1).sum()
    if config.mean_prior:
        total += config.mean_prior * (np.log(means) + np.log1p(-means)).sum()
    if config.weight_prior:
        total += config.weight_prior * np.log(weights).sum()
    return total / len(x)


@pytest.mark.parametrize("components", range(1, 9))
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.3, 0.5)])
def test_no_iteration_lowers_the_likelihood(components, a, b):
    for seed in range(4):
        # Eight components for two patterns: some become empty.
        x = random_images(seed=seed, kinds=2)
        config = mixture.Config(shape=(12,), components=components, mean_prior=a, weight_prior=b)
        states, metrics = fitted(config, x, 50, seed)
        found = [objective(config, s.variables["params"], x) for s in states]
        assert np.diff(found).min() > -1e-6, (seed, np.diff(found).min())
        assert found[-1] - found[0] > 1
        reported = [m["loss"] + m["penalty"] for m in metrics]
        np.testing.assert_allclose(reported, -np.asarray(found[:-1]), rtol=2e-5, atol=1e-5)


def test_an_empty_component_stays_valid():
    config = mixture.Config(shape=(6,), components=3, mean_prior=0.0, weight_prior=0.0)
    x = np.asarray([[1, 1, 1, 0, 0, 0]] * 8 + [[0, 0, 0, 1, 1, 1]] * 4, np.float32)
    state = make_state(mixture, config)
    logits = jnp.asarray([[5, 5, 5, -5, -5, -5], [-5, -5, -5, 5, 5, 5], [-60] * 6], jnp.float32)
    state = state.replace(variables={"params": {"weights": jnp.zeros(3), "logits": logits}})
    step = jax.jit(make_step(mixture, config))
    for _ in range(50):
        state, metrics = step(state, {"x": jnp.asarray(x)})
    weights, means = open_params(state.variables["params"])
    np.testing.assert_allclose(weights, [2 / 3, 1 / 3, 0], atol=1e-3)
    np.testing.assert_array_equal(state.variables["params"]["logits"][2], logits[2])
    np.testing.assert_allclose(means[:2], x[[0, 8]], atol=1e-3)
    assert np.isfinite(metrics["loss"])
    # With a prior its mean returns to 1/2.
    config = mixture.Config(shape=(6,), components=3, mean_prior=1e-2, weight_prior=1e-2)
    state, _ = jax.jit(make_step(mixture, config))(state, {"x": jnp.asarray(x)})
    weights, means = open_params(state.variables["params"])
    assert weights[2] == pytest.approx(0.01 / 12.03, rel=1e-4)
    np.testing.assert_allclose(means[2], 0.5, atol=1e-4)


def test_one_component_is_the_means_of_the_pixels():
    x = random_images(64)
    x[:, 0], x[:, 1] = 0, 1  # constant pixels
    config = mixture.Config(shape=(12,), components=1, mean_prior=0.0, weight_prior=0.0)
    states, _ = fitted(config, x, 1)
    variables = states[1].variables
    means = jax.nn.sigmoid(variables["params"]["logits"])[0]
    np.testing.assert_allclose(means, x.mean(axis=0), rtol=1e-6)
    assert (float(means[0]), float(means[1])) == (0, 1)
    p = x[:, 2:].mean(axis=0, dtype=np.float64)
    expected = np.where(x[:, 2:], np.log(p), np.log1p(-p)).sum(axis=1)
    np.testing.assert_allclose(mixture.log_prob(config, variables, x), expected, rtol=1e-5)


@pytest.mark.parametrize("components", [1, 2, 7])
@pytest.mark.parametrize("shape", [(3, 3, 1), (7,), (1,)])
def test_every_size_is_normalised_and_causal(components, shape):
    config = mixture.Config(shape=shape, components=components)
    variables = random_variables(mixture, config)
    assert total_probability(mixture, config, variables) == pytest.approx(1, abs=1e-5)
    assert causality_violations(mixture, config, variables) == []


def test_conditionals_are_ratios_of_sums_over_images():
    config = mixture.Config(shape=(6,), components=3)
    variables = random_variables(mixture, config)
    x = np.asarray(all_images((6,)))
    p = np.exp(np.asarray(mixture.log_prob(config, variables, x), np.float64))
    terms = np.asarray(log_conditionals(mixture, config, variables, x))
    for d in range(6):
        before = np.asarray([p[(x[:, :d] == row[:d]).all(axis=1)].sum() for row in x])
        with_it = np.asarray([p[(x[:, : d + 1] == row[: d + 1]).all(axis=1)].sum() for row in x])
        np.testing.assert_allclose(np.exp(terms[:, d]), with_it / before, rtol=1e-4)


def test_conditionals_multiply_to_the_density_after_training():
    x = random_images(200)
    x[:, 0], x[:, 1] = 0, 1
    for prior in (0.0, 1e-2):
        config = mixture.Config(shape=(12,), components=6, mean_prior=prior, weight_prior=prior)
        variables = fitted(config, x, 20)[0][-1].variables
        terms = log_conditionals(mixture, config, variables, jnp.asarray(x))
        whole = mixture.log_prob(config, variables, jnp.asarray(x))
        np.testing.assert_allclose(terms.sum(axis=1), whole, rtol=1e-5)


def test_features_are_the_posterior():
    config = mixture.Config(shape=(12,), components=5)
    variables = random_variables(mixture, config)
    x = random_images()
    joint = joint64(*open_params(variables["params"]), x)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(mixture.encode(config, variables, x), expected, atol=1e-5)


def test_chunks_equal_the_whole_batch(monkeypatch):
    config = mixture.Config(shape=(12,), components=5)
    x = random_images(50)
    whole, metrics = fitted(config, x, 3)
    monkeypatch.setattr(mixture, "CHUNK", 7 * (5 + 24))  # 7 images per chunk; the last overlaps
    parts, metrics_of_parts = fitted(config, x, 3)
    for name in ("weights", "logits"):
        np.testing.assert_allclose(
            whole[3].variables["params"][name], parts[3].variables["params"][name], atol=1e-4
        )
    assert metrics_of_parts[2]["loss"] == pytest.approx(metrics[2]["loss"], rel=1e-5)


def test_mnist_is_one_batch_in_bounded_memory():
    config = mixture.Config()
    state = jax.eval_shape(lambda: make_state(mixture, config))
    step = jax.jit(make_step(mixture, config), donate_argnums=0)
    memory = step.lower(state, mixture.batch_spec(config, 50_000)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 200e6  # the batch has 157 MB


def test_initialisation_is_near_the_data_if_given():
    config = mixture.Config(shape=(12,), components=3, noise=0.2)
    plain = open_params(mixture.init(config, jax.random.key(0))["params"])
    assert (np.abs(plain[1] - 0.5) <= 0.2001).all()
    assert np.abs(plain[1][0] - plain[1][1]).max() > 0.1  # components differ initially
    x = random_images()
    x[:, 0] = 0
    near = open_params(mixture.init(config, jax.random.key(0), {"x": jnp.asarray(x)})["params"])
    assert (near[1][:, 0] < 0.05).all()
    assert (np.abs(near[1] - x.mean(axis=0)) < 0.25).all()
    np.testing.assert_allclose(near[0], 1 / 3, rtol=1e-6)


def test_values_other_than_0_and_1_have_nan_probability():
    config = mixture.tiny()
    variables = mixture.init(config, jax.random.key(0))
    x = jnp.zeros((2, *config.shape)).at[1, 0].set(0.5)
    log_p = jax.jit(mixture.log_prob, static_argnums=0)(config, variables, x)
    assert np.isnan(log_p).tolist() == [False, True]


def test_number_of_parameters_and_invalid_settings():
    assert mixture.traits(mixture.Config()).num_parameters == 500 * 784 + 499
    for settings, words in (
        (dict(components=0), "`components` must be a positive integer"),
        (dict(noise=0.5), r"`noise` must be a number in \(0, 0.5\)"),
        (dict(mean_prior=-1.0), "`mean_prior` must be a non-negative number"),
    ):
        with pytest.raises(ValueError, match=words):
            mixture.Config(**settings)
    with pytest.raises(ValueError, match="optimizer=None"):
        make_step(mixture, mixture.tiny(), object())
