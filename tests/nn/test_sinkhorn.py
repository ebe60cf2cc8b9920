"""Sinkhorn's iterations against POT, and their limits."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from genjax.nn.sinkhorn import log_sinkhorn

with warnings.catch_warnings():  # of docstrings, where the package was not compiled by pip
    warnings.filterwarnings("ignore", ".*invalid escape sequence")
    import ot

SCORES = 3 * np.random.default_rng(0).normal(size=(4, 5, 5)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=1)
def probabilities(scores, iterations):
    return jnp.exp(log_sinkhorn(scores, iterations))


def test_rows_and_columns_sum_to_one():
    p = np.asarray(probabilities(SCORES, 200))
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(p.sum(-2), 1.0, rtol=1e-4)


def test_rows_sum_to_one_after_any_number_of_iterations():
    for iterations in (0, 1, 3):
        p = np.asarray(probabilities(SCORES, iterations))
        np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
        assert np.abs(p.sum(-2) - 1).max() > 1e-2
    np.testing.assert_allclose(probabilities(SCORES, 0), jax.nn.softmax(SCORES), rtol=1e-5)


def test_the_limit_is_the_optimal_transport_of_pot():
    p = np.asarray(probabilities(SCORES, 500))
    uniform = np.full(5, 1 / 5)
    for found, scores in zip(p, SCORES.astype(np.float64), strict=True):
        plan = ot.sinkhorn(uniform, uniform, -scores, reg=1.0, numItermax=10_000, stopThr=1e-12)
        np.testing.assert_allclose(found, 5 * plan, rtol=1e-4, atol=1e-7)


def test_a_low_temperature_gives_the_best_assignment():
    for found, scores in zip(probabilities(SCORES / 0.01, 2000), SCORES, strict=True):
        best = np.zeros((5, 5))
        best[linear_sum_assignment(-scores)] = 1
        np.testing.assert_allclose(found, best, atol=0.01)
    # Rows alone would choose one position twice.
    assert any(len(set(scores.argmax(-1))) < 5 for scores in SCORES)


def test_constants_of_rows_and_columns_do_not_matter():
    shifted = SCORES + np.arange(5, dtype=np.float32)[None, None] * 4 - np.arange(5)[None, :, None]
    want = probabilities(SCORES, 300)
    np.testing.assert_allclose(probabilities(shifted, 300), want, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_gradient_is_finite_at_large_scores(scale):
    def loss(scores):
        return log_sinkhorn(scores, 20)[..., 0, 0].sum()

    grad = np.asarray(jax.jit(jax.grad(loss))(scale * SCORES))
    assert np.isfinite(grad).all()
    assert np.abs(grad).max() > 0.1
