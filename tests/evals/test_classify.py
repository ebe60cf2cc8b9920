"""Bayes' rule over densities, and how far to trust it."""

import numpy as np
import pytest

from genjax.evals import classified, log_posterior, log_prior_of, reliability


def test_posterior_is_bayes_rule():
    likelihood = np.array([[0.2, 0.1, 0.0], [0.01, 0.02, 0.03]])
    prior = np.array([0.5, 0.25, 0.25])
    with np.errstate(divide="ignore"):
        got = np.exp(log_posterior(np.log(likelihood), np.log(prior)))
    want = likelihood * prior
    np.testing.assert_allclose(got, want / want.sum(1, keepdims=True), atol=1e-12)


def test_posterior_of_densities_no_float_holds():
    # Densities of images are far below the smallest double.
    got = np.exp(log_posterior(np.array([[-5000.0, -5001.0]])))
    np.testing.assert_allclose(got, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]], rtol=1e-9)


def test_no_class_at_all_is_said():
    with pytest.raises(ValueError, match="no class gives example 1 a probability"):
        log_posterior(np.array([[0.0, -np.inf], [-np.inf, -np.inf]]))
    with pytest.raises(ValueError, match=r"log_prior must be \[2\]"):
        log_posterior(np.zeros((1, 2)), np.zeros(3))
    with pytest.raises(ValueError, match=r"must be \[N, C\]"):
        log_posterior(np.zeros(3))


def test_prior_is_the_share():
    np.testing.assert_allclose(np.exp(log_prior_of(np.array([0, 2, 2, 2]), 4)), [0.25, 0, 0.75, 0])


def test_accuracy_confusion_and_nats():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    found = classified(np.log(p), np.array([0, 1, 1, 0]))
    assert found.accuracy == 0.75
    assert found.std_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert found.confusion.tolist() == [[2, 0], [1, 1]]  # the true class is the row
    assert found.nats == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    with pytest.raises(ValueError, match="from 0 to 1"):
        classified(np.log(p), np.array([0, 1, 2, 0]))


def test_calibration_by_hand():
    # Two bins in use: 0.95 twice and right once, 0.55 twice and right twice.
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    labels = np.array([0, 1, 0, 0])
    bins = reliability(np.log(p), labels, bins=10)
    assert [b["accuracy"] for b in bins] == [1.0, 0.5]
    assert [b["confidence"] for b in bins] == pytest.approx([0.55, 0.95])
    found = classified(np.log(p), labels, bins=10)
    assert found.calibration_error == pytest.approx(0.5 * 0.45 + 0.5 * 0.45)


def test_a_calibrated_posterior_has_almost_no_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 40_000)
    labels = (p.cumsum(1) < rng.random((40_000, 1))).sum(1)
    assert classified(np.log(p), labels).calibration_error < 0.01
    sharp = log_posterior(5 * np.log(p))
    assert classified(sharp, labels).calibration_error > 0.15


def test_certainty_has_a_bin():
    found = classified(np.log(np.array([[1.0, 1e-300]])), np.array([0]))
    assert found.calibration_error == pytest.approx(0)
