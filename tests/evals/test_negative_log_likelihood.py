"""The evaluation loop with small test families, against densities computed directly."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Traits
from genjax.evals import make_nll, mean_and_error, nll

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
VARIABLES = {"params": {"mean": jnp.array([0.5, -1.0, 2.0])}}
KEY = jax.random.key(0)


def direct(x, config=1.0):
    """-log of a normal density with mean `VARIABLES` and this scale, `[N]`, in float64."""
    z = (np.float64(x) - np.array([0.5, -1.0, 2.0])) / config
    return (0.5 * z**2 + math.log(config) + 0.5 * math.log(2 * math.pi)).sum(-1)


def family(density, **functions):
    traits = Traits(data="real", density=density)
    return types.SimpleNamespace(
        **{"__name__": "fake", "traits": lambda config: traits, **functions}
    )


def exact(shapes=None):
    """An exact family that records the shapes it is traced with."""

    def log_prob(config, variables, x):
        if shapes is not None:
            shapes.append(x.shape)
        z = (x - variables["params"]["mean"][None]) / config
        return -(0.5 * z**2 + jnp.log(config) + 0.5 * math.log(2 * math.pi)).sum(-1)

    return family("exact", log_prob=log_prob)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 7, 8, 500])
def test_exact_nll_for_any_batch_size(batch_size):
    # Of 7 examples, so that most batch sizes leave a partial batch or exceed the data.
    result = nll(exact(), 2.0, VARIABLES, X, KEY, batch_size=batch_size)
    assert isinstance(result, np.ndarray)
    assert result.shape == (7,)
    np.testing.assert_allclose(result, direct(X, 2.0), rtol=1e-6)


def test_one_program_for_all_batches():
    shapes = []
    evaluate = make_nll(exact(shapes), 1.0)
    evaluate(VARIABLES, X, KEY, 3)
    evaluate(VARIABLES, X[:5], KEY, 3)
    # Partial batches of 1 and 2 are padded to 3 instead of compiled again.
    assert shapes == [(3, 3)]


def test_reports_progress():
    calls = []
    evaluate = make_nll(exact(), 1.0)
    evaluate(VARIABLES, X, KEY, 3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 7), (6, 7), (7, 7)]


def test_variables_are_arguments_and_not_constants():
    evaluate = make_nll(exact(), 1.0)
    first = evaluate(VARIABLES, X, KEY, 4)
    moved = jax.tree.map(lambda p: p + 1, VARIABLES)
    np.testing.assert_allclose(evaluate(moved, X, KEY, 4), direct(X - 1), rtol=1e-5)
    np.testing.assert_array_equal(evaluate(VARIABLES, X, KEY, 4), first)


def test_examples_are_independent():
    whole = nll(exact(), 1.0, VARIABLES, X, KEY, batch_size=4)
    turned = nll(exact(), 1.0, VARIABLES, X[::-1], KEY, batch_size=4)
    np.testing.assert_array_equal(turned, whole[::-1])


@pytest.mark.parametrize("batch_size", [3, 7])
def test_each_example_is_evaluated_under_its_own_condition(batch_size):
    def log_prob(config, variables, x, label):
        return -nll_given(x, label)

    def nll_given(x, label):
        return x.sum(-1) + 100.0 * label

    label = np.arange(7, dtype=np.int32)
    conditional = family("exact", log_prob=log_prob)
    result = nll(
        conditional, 1.0, VARIABLES, X, KEY, batch_size=batch_size, condition={"label": label}
    )
    np.testing.assert_allclose(result, X.sum(-1) + 100.0 * label, rtol=1e-5)


# Bounds.


def bound():
    """A bound with slack |noise| for the ELBO, and 50 + |noise| / 1000 for an importance weight."""

    def noise(x, key):
        return jnp.abs(jax.random.normal(key, x.shape[:1]))

    def elbo(config, variables, x, key):
        return exact().log_prob(config, variables, x) - noise(x, key)

    def log_weight(config, variables, x, key):
        return exact().log_prob(config, variables, x) - noise(x, key) / 1000 - 50

    return family("bound", elbo=elbo, log_weight=log_weight)


def test_one_sample_is_the_negative_elbo():
    result = nll(bound(), 1.0, VARIABLES, X, KEY, batch_size=3)
    slack = result - direct(X)
    # Above -log p.
    assert np.all(slack > 0)
    assert np.all(slack < 6)
    # Noise differs between examples; batches that share a key would repeat it.
    assert len(np.unique(np.round(slack, 4))) == 7


def test_more_samples_use_the_importance_weighted_bound():
    result = nll(bound(), 1.0, VARIABLES, X, KEY, batch_size=3, num_samples=50)
    np.testing.assert_allclose(result - direct(X), 50, atol=0.01)


def test_noise_is_a_function_of_the_key():
    def evaluate(key):
        return nll(bound(), 1.0, VARIABLES, X, key, batch_size=3)

    np.testing.assert_array_equal(evaluate(KEY), evaluate(jax.random.key(0)))
    assert np.all(evaluate(KEY) != evaluate(jax.random.key(1)))


def test_exact_families_ignore_the_number_of_samples():
    # Without elbo and log_weight.
    result = nll(exact(), 1.0, VARIABLES, X, KEY, num_samples=10)
    np.testing.assert_allclose(result, direct(X), rtol=1e-6)


# Other reported quantities.


def classifier():
    """A family that reports a function of x and a label in another unit."""

    def report(config, variables, batch):
        return batch["x"].sum(-1) + 1000 * batch["label"]

    log_prob = exact().log_prob
    traits = Traits(data="real", density="exact", unit="points")
    return family("exact", log_prob=log_prob, report=report, traits=lambda config: traits)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 500])
def test_reported_quantity_may_need_a_label(batch_size):
    label = np.arange(7, dtype=np.int32)
    evaluate = make_nll(classifier(), 1.0, reported=True)
    result = evaluate(VARIABLES, X, KEY, batch_size, {"label": label})
    # Each example with its own label, also in a partial batch.
    np.testing.assert_allclose(result, X.sum(-1) + 1000 * label, rtol=1e-5)
    # The density is the default.
    nats = make_nll(classifier(), 1.0)(VARIABLES, X, KEY, batch_size)
    np.testing.assert_allclose(nats, direct(X), rtol=1e-5)


def test_unit_is_nats_by_default():
    assert exact().traits(1.0).unit == "nats"
    assert classifier().traits(1.0).unit == "points"


def test_rejects_families_without_density():
    with pytest.raises(ValueError, match=r"^fake has no density to evaluate"):
        make_nll(family("none"), 1.0)


# Mean and error.


def test_mean_and_error_golden_values():
    # Values 1, 2, 3, 6: mean 3, sample variance 14/3, of the mean 14/12.
    mean, error = mean_and_error(np.array([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3.0
    assert error == pytest.approx(math.sqrt(14 / 12))


def test_mean_and_error_are_summed_in_float64():
    # In float32 the mean has three correct digits, and the error is 0 or NaN.
    nats = np.tile(np.float32([1e6, 1e6 + 1]), 50_000)
    mean, error = mean_and_error(nats)
    assert mean == pytest.approx(1e6 + 0.5, abs=1e-6)
    assert error == pytest.approx(0.5 / math.sqrt(1e5), rel=1e-4)


def test_one_example_has_a_mean_without_error():
    mean, error = mean_and_error(np.array([2.5]))
    assert mean == 2.5
    assert math.isnan(error)


def test_infinite_values_are_kept():
    assert mean_and_error(np.array([1.0, np.inf]))[0] == np.inf
