"""Linear probes on informative and uninformative features; choice of the strength; PCA."""

import numpy as np
import pytest

from genjax.evals import linear_probe, linear_svm, pca


def make(seed, n, signal=3.0):
    """Returns two classes that differ in one of five features; scales differ, one is constant."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 5)) * [1, 100, 0.01, 5, 0] + 7
    x[:, 2] += 0.01 * signal * y
    return x, y


def test_probe_is_invariant_to_the_scale_of_features():
    probe = linear_probe(make(0, 400), make(1, 300), make(2, 2000))
    assert probe.accuracy > 0.9  # the optimum is P(z < 1.5) = 0.933
    assert probe.std_error < 0.01
    none = linear_probe(make(0, 400, 0), make(1, 300, 0), make(2, 2000, 0))
    assert abs(none.accuracy - 0.5) < 0.06


@pytest.mark.parametrize("fit", [linear_probe, linear_svm])
def test_strength_is_chosen_on_validation_not_on_test(fit):
    rng = np.random.default_rng(3)
    train, valid = ((rng.normal(size=(n, 60)), np.arange(n) % 2) for n in (40, 2000))
    for x, y in (train, valid):
        x[:, 0] += 2.0 * y
    test = valid[0], 1 - valid[1]  # prefers the strength that is worst on validation
    strengths = (1e-5, 1e-3, 1e-2, 100.0)
    alone = {c: fit(train, valid, valid, strengths=(c,)).accuracy for c in strengths}
    assert len(set(alone.values())) == 4
    found = fit(train, valid, test, strengths=strengths)
    assert found.validation == alone
    assert found.strength == max(alone, key=alone.get)
    assert found.accuracy == pytest.approx(1 - max(alone.values()))


def test_pca_is_fitted_on_train_only():
    rng = np.random.default_rng(0)
    train, other = rng.normal(size=(200, 3, 4)) * 5, rng.normal(size=(50, 3, 4)) + 100
    a, b = pca(train, [other], 4)
    assert a.shape == (200, 4)
    assert b.shape == (50, 4)
    np.testing.assert_allclose(a.mean(0), 0, atol=1e-6)
    flat = train.reshape(200, -1)
    _, _, axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    want = (other.reshape(50, -1) - flat.mean(0)) @ axes[:4].T
    np.testing.assert_allclose(np.abs(b), np.abs(want), rtol=1e-6)


def test_linear_svm_on_features_of_one_common_scale():
    """Features keep their relative scale: the informative one has the largest."""
    parts = []
    for seed, n in ((0, 400), (1, 300), (2, 2000)):
        x, y = make(seed, n)
        parts.append((x * [1, 0.01, 100, 0.2, 1], y))
    svm = linear_svm(*parts, strengths=(1e-7, 1e-2))
    assert svm.accuracy > 0.9
    # Four classes in the corners of a square, one-vs-rest.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    x = np.array([[0, 0], [4, 0], [0, 4], [4, 4]])[y] + rng.normal(size=(600, 2)) * 0.5
    four = [(x[a:b], y[a:b]) for a, b in ((0, 200), (200, 400), (400, 600))]
    assert linear_svm(*four).accuracy > 0.95
