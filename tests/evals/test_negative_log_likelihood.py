"""The evaluation loop against densities computed directly, with families made for the purpose."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Traits
from genjax.evals import make_nll, mean_and_error, nll, unit

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
    """An exact family; notes the shape it is traced with."""

    def log_prob(config, variables, x):
        if shapes is not None:
            shapes.append(x.shape)
        z = (x - variables["params"]["mean"][None]) / config
        return -(0.5 * z**2 + jnp.log(config) + 0.5 * math.log(2 * math.pi)).sum(-1)

    return family("exact", log_prob=log_prob)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 7, 8, 500])
def test_exact_nll_whatever_the_batch_size(batch_size):
    # 7 examples: every one of these but 1 and 7 ends on a ragged batch, or is larger than all.
    # A batch that is dropped, doubled or padded into the result changes length or values.
    found = nll(exact(), 2.0, VARIABLES, X, KEY, batch_size=batch_size)
    assert isinstance(found, np.ndarray)
    assert found.shape == (7,)
    np.testing.assert_allclose(found, direct(X, 2.0), rtol=1e-6)


def test_one_program_for_all_batches():
    shapes = []
    evaluate = make_nll(exact(shapes), 1.0)
    evaluate(VARIABLES, X, KEY, 3)
    evaluate(VARIABLES, X[:5], KEY, 3)
    # The ragged batches, of 1 and of 2, are filled up to 3 instead of compiled anew.
    assert shapes == [(3, 3)]


def test_it_tells_how_many_examples_are_done():
    heard = []
    evaluate = make_nll(exact(), 1.0)
    evaluate(VARIABLES, X, KEY, 3, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(3, 7), (6, 7), (7, 7)]


def test_variables_are_arguments_and_not_constants():
    evaluate = make_nll(exact(), 1.0)
    first = evaluate(VARIABLES, X, KEY, 4)
    moved = jax.tree.map(lambda p: p + 1, VARIABLES)
    np.testing.assert_allclose(evaluate(moved, X, KEY, 4), direct(X - 1), rtol=1e-5)
    np.testing.assert_array_equal(evaluate(VARIABLES, X, KEY, 4), first)


def test_an_example_does_not_depend_on_the_others_beside_it():
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
    found = nll(
        conditional, 1.0, VARIABLES, X, KEY, batch_size=batch_size, condition={"label": label}
    )
    np.testing.assert_allclose(found, X.sum(-1) + 100.0 * label, rtol=1e-5)


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
    found = nll(bound(), 1.0, VARIABLES, X, KEY, batch_size=3)
    slack = found - direct(X)
    # Above -log p, never below: a bound with the wrong sign fails here.
    assert np.all(slack > 0)
    assert np.all(slack < 6)
    # Every example has noise of its own; batches that share a key would repeat every three.
    assert len(np.unique(np.round(slack, 4))) == 7


def test_more_samples_are_the_other_bound():
    found = nll(bound(), 1.0, VARIABLES, X, KEY, batch_size=3, num_samples=50)
    np.testing.assert_allclose(found - direct(X), 50, atol=0.01)


def test_noise_is_a_function_of_the_key():
    def evaluate(key):
        return nll(bound(), 1.0, VARIABLES, X, key, batch_size=3)

    np.testing.assert_array_equal(evaluate(KEY), evaluate(jax.random.key(0)))
    assert np.all(evaluate(KEY) != evaluate(jax.random.key(1)))


def test_exact_families_have_no_use_for_samples():
    # Without elbo and log_weight.
    found = nll(exact(), 1.0, VARIABLES, X, KEY, num_samples=10)
    np.testing.assert_allclose(found, direct(X), rtol=1e-6)


# Figures of another kind.


def classifier():
    """A family whose figure is made of x and a label, in a unit of its own."""

    def report(config, variables, batch):
        return batch["x"].sum(-1) + 1000 * batch["label"]

    log_prob = exact().log_prob
    traits = Traits(data="real", density="exact", unit="points")
    return family("exact", log_prob=log_prob, report=report, traits=lambda config: traits)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 500])
def test_a_figure_may_need_more_than_x(batch_size):
    label = np.arange(7, dtype=np.int32)
    figure = make_nll(classifier(), 1.0, reported=True)
    found = figure(VARIABLES, X, KEY, batch_size, {"label": label})
    # Each example with its own label, on the ragged last batch too.
    np.testing.assert_allclose(found, X.sum(-1) + 1000 * label, rtol=1e-5)
    # Asked for the density, it is that.
    nats = make_nll(classifier(), 1.0)(VARIABLES, X, KEY, batch_size)
    np.testing.assert_allclose(nats, direct(X), rtol=1e-5)


def test_the_unit_is_nats_unless_a_family_says_another():
    assert unit(exact(), 1.0) == "nats"
    assert unit(classifier(), 1.0) == "points"


def test_a_family_without_density_is_refused():
    with pytest.raises(ValueError, match=r"^fake has no density to evaluate"):
        make_nll(family("none"), 1.0)


# Mean and error.


def test_mean_and_error_by_hand():
    # Values 1, 2, 3, 6: mean 3, sample variance 14/3, of the mean 14/12.
    mean, error = mean_and_error(np.array([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3.0
    assert error == pytest.approx(math.sqrt(14 / 12))


def test_mean_and_error_are_summed_in_float64():
    # In float32 the mean of these is off in the fourth digit, and the error is 0 or worse.
    nats = np.tile(np.float32([1e6, 1e6 + 1]), 50_000)
    mean, error = mean_and_error(nats)
    assert mean == pytest.approx(1e6 + 0.5, abs=1e-6)
    assert error == pytest.approx(0.5 / math.sqrt(1e5), rel=1e-4)


def test_one_example_has_a_mean_and_no_error():
    mean, error = mean_and_error(np.array([2.5]))
    assert mean == 2.5
    assert math.isnan(error)


def test_an_infinite_example_is_not_hidden():
    assert mean_and_error(np.array([1.0, np.inf]))[0] == np.inf
