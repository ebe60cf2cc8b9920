"""Bayes' rule over densities, and calibration."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import linear_gaussian
from support.helpers import all_images, random_arrays, random_variables

from genjax.core import log_weight
from genjax.evals import (
    classify,
    log_posterior,
    log_prior_of,
    make_class_likelihood,
    reliability,
)
from genjax.families import fvsbn, gan, pixelcnn, pixelcnn_pp, pixelrnn, vae


def test_posterior_is_bayes_rule():
    likelihood = np.array([[0.2, 0.1, 0.0], [0.01, 0.02, 0.03]])
    prior = np.array([0.5, 0.25, 0.25])
    with np.errstate(divide="ignore"):
        got = np.exp(log_posterior(np.log(likelihood), np.log(prior)))
    expected = likelihood * prior
    np.testing.assert_allclose(got, expected / expected.sum(1, keepdims=True), atol=1e-12)


def test_posterior_of_densities_that_underflow():
    got = np.exp(log_posterior(np.array([[-5000.0, -5001.0]])))
    np.testing.assert_allclose(got, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]], rtol=1e-9)


def test_rejects_examples_of_probability_0():
    with pytest.raises(ValueError, match="example 1 has probability 0 under all classes"):
        log_posterior(np.array([[0.0, -np.inf], [-np.inf, -np.inf]]))
    with pytest.raises(ValueError, match=r"log_prior must be \[2\]"):
        log_posterior(np.zeros((1, 2)), np.zeros(3))
    with pytest.raises(ValueError, match=r"must be \[N, C\]"):
        log_posterior(np.zeros(3))


def test_log_prior_is_the_frequency_of_labels():
    np.testing.assert_allclose(np.exp(log_prior_of(np.array([0, 2, 2, 2]), 4)), [0.25, 0, 0.75, 0])


def test_accuracy_confusion_and_nats():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    result = classify(np.log(p), np.array([0, 1, 1, 0]))
    assert result.accuracy == 0.75
    assert result.std_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert result.confusion.tolist() == [[2, 0], [1, 1]]  # rows are true classes
    assert result.nats == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    for wrong in (2, -1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            classify(np.log(p), np.array([0, 1, wrong, 0]))


def test_calibration_error_of_two_bins():
    # Confidence 0.9 or 1 three times, correct once; confidence 0.55 once, correct.
    p = np.array([[0.91, 0.09], [0.95, 0.05], [0.99, 0.01], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])
    bins = reliability(np.log(p), labels, bins=10)
    assert [b["accuracy"] for b in bins] == pytest.approx([1, 1 / 3])
    assert [b["confidence"] for b in bins] == pytest.approx([0.55, 0.95])
    assert [b["share"] for b in bins] == [0.25, 0.75]
    result = classify(np.log(p), labels, bins=10)
    assert result.calibration_error == pytest.approx(0.25 * 0.45 + 0.75 * (0.95 - 1 / 3))


def test_a_calibrated_posterior_has_a_small_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 40_000)
    labels = (p.cumsum(1) < rng.random((40_000, 1))).sum(1)
    assert classify(np.log(p), labels).calibration_error < 0.01
    sharp = log_posterior(5 * np.log(p))
    assert classify(sharp, labels).calibration_error > 0.15


def test_confidence_1_is_in_the_last_bin():
    result = classify(np.log(np.array([[1.0, 1e-300]])), np.array([0]))
    assert result.calibration_error == pytest.approx(0)


# Densities with a bound.

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def two_classes():
    """Two overlapping Gaussian classes, samples, and the posterior in closed form."""
    config = linear_gaussian.Config(classes=2)
    variables = linear_gaussian.make(config, apart=0.7)
    # q is wider than the posterior, so that importance weights have light tails.
    variables["params"]["log_std"] += 0.7
    label = (np.random.default_rng(4).random(600) < 0.3).astype(np.int32)
    _, x, label = linear_gaussian.draw(config, variables, 5, len(label), label)
    exact = [linear_gaussian.exact(config, variables, x, c) for c in range(2)]
    return config, variables, x, label, np.stack(exact, axis=1)


def test_a_bound_classifies_as_the_exact_posterior(two_classes):
    config, variables, x, label, exact = two_classes
    call = make_class_likelihood(linear_gaussian, config, num_samples=500)
    bound = call(variables, x, KEY, 128)
    assert bound.shape == (600, 2)
    assert bound.dtype == np.float64
    prior = log_prior_of(label, 2)
    by_bound, bayes = (classify(log_posterior(b, prior), label) for b in (bound, exact))
    assert 0.7 < bayes.accuracy < 0.97  # the classes overlap
    assert by_bound.accuracy == pytest.approx(bayes.accuracy, abs=0.01)
    assert by_bound.nats == pytest.approx(bayes.nats, abs=0.02)
    assert by_bound.calibration_error == pytest.approx(bayes.calibration_error, abs=0.02)
    np.testing.assert_allclose(bound, exact, atol=0.3)


def test_all_classes_use_the_same_noise(two_classes):
    """With one sample, equal classes have equal bounds."""
    config, variables, x, *_ = two_classes
    params = variables["params"]
    alike = {"params": {**params, "b": jnp.broadcast_to(params["b"][:1], params["b"].shape)}}
    bound = make_class_likelihood(linear_gaussian, config)(alike, x, KEY, 250)
    np.testing.assert_array_equal(bound[:, 0], bound[:, 1])


def test_bounds_of_one_model_per_class(two_classes):
    config, variables, x, _, exact = two_classes
    single = dataclasses.replace(config, classes=0)
    params = variables["params"]
    models = [{"params": {**params, "b": params["b"][c : c + 1]}} for c in range(2)]
    call = make_class_likelihood(linear_gaussian, single, num_samples=500)
    np.testing.assert_allclose(call(models, x, KEY, 200), exact, atol=0.3)
    with pytest.raises(ValueError, match="set classes, or pass a list"):
        call(models[0], x, KEY, 200)


def test_a_classifier_evaluates_all_classes_at_once(two_classes):
    config, variables, x, _, exact = two_classes
    prior = np.log([0.9, 0.1])

    def log_class_weights(config, variables, x, key):
        model = (linear_gaussian, config, variables, x, key)
        each = [log_weight(*model, label=jnp.full(len(x), c)) for c in range(2)]
        return jnp.stack(each, axis=1) + prior[None]

    joint = types.SimpleNamespace(
        **vars(linear_gaussian), log_class_weights=log_class_weights, classify=exact
    )
    result = make_class_likelihood(joint, config, num_samples=500)(variables, x[:50], KEY, 20)
    expected = log_posterior(exact[:50], prior)
    np.testing.assert_allclose(np.exp(log_posterior(result)), np.exp(expected), atol=0.05)


def test_exact_families_classify_by_their_density():
    config = fvsbn.tiny()
    models = [random_variables(fvsbn, config, seed) for seed in (1, 2, 3)]
    x = all_images(config.shape)[:70]
    result = make_class_likelihood(fvsbn, config)(models, x, KEY, 32)
    expected = np.stack([fvsbn.log_prob(config, v, x) for v in models], axis=1)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="has no density to evaluate"):
        make_class_likelihood(gan, gan.tiny())


@pytest.mark.parametrize("family", [pixelcnn, pixelcnn_pp, pixelrnn])
def test_a_conditional_density_classifies(family):
    """The accuracy, summed over all images, is that of Bayes' rule."""
    config = dataclasses.replace(family.tiny(), classes=3)
    variables = random_arrays(lambda key: family.init(config, key), scale=1.0)
    x = np.asarray(all_images(config.shape))
    call = make_class_likelihood(family, config)
    result = call(variables, x, jax.random.key(0), 512)
    assert result.shape == (512, 3)
    np.testing.assert_allclose(np.exp(result).sum(axis=0), 1, atol=1e-5)
    posterior = np.exp(log_posterior(result))
    # On samples of the model the accuracy is that of the optimal rule.
    joint = np.exp(result) / 3
    best = joint.max(axis=1).sum()
    assert (joint * (posterior == posterior.max(axis=1, keepdims=True))).sum() == pytest.approx(
        best
    )
    assert best > 1 / 3 + 0.03  # the label has an effect


def test_a_conditional_vae_classifies_by_its_bound():
    """Bounds and posterior agree with quadrature over the latent."""
    config = vae.Config(shape=(3, 3, 1), latent=1, hidden=(6,), classes=2)
    variables = random_arrays(lambda key: vae.init(config, key), scale=0.7, seed=3)
    x = jnp.asarray(np.asarray(all_images(config.shape))[::50])
    grid = np.linspace(-9, 9, 601)
    z = jnp.asarray(grid[:, None], jnp.float32)

    @jax.jit
    def given_z(one, label):
        every = jnp.broadcast_to(one[None], (601, 3, 3, 1))
        return vae.likelihood(config, variables, z, jnp.full(601, label)).log_prob(every)

    normal = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    exact = np.array(
        [
            [
                np.log(np.trapezoid(np.exp(np.asarray(given_z(one, c), np.float64)) * normal, grid))
                for c in range(2)
            ]
            for one in x
        ]
    )
    assert np.ptp(exact, axis=1).max() > 0.5  # the label has an effect
    bound = make_class_likelihood(vae, config, num_samples=4000)(variables, x, KEY, 6)
    np.testing.assert_allclose(bound, exact, atol=0.1)
    posterior = np.exp(log_posterior(bound))
    np.testing.assert_allclose(posterior, np.exp(log_posterior(exact)), atol=0.03)
