"""Losses of pairs against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import losses


def drawn(size=5):
    rng = np.random.default_rng(0)
    same = np.zeros((size, size), bool)
    same[1, 3] = same[3, 1] = True
    return rng.normal(size=(size, size)), same


def others(same, i):
    return [j for j in range(len(same)) if j != i and not same[i, j]]


def test_structured_is_the_mean_hinge_of_wrong_pairs_in_both_directions():
    scores, same = drawn()
    expected = [
        np.mean([max(0, 0.7 + scores[i, j] - scores[i, i]) for j in others(same, i)])
        + np.mean([max(0, 0.7 + scores[j, i] - scores[i, i]) for j in others(same, i)])
        for i in range(5)
    ]
    got = losses.structured_matching(jnp.asarray(scores), jnp.asarray(same), margin=0.7)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_contrastive_is_the_cross_entropy_of_right_pairs_in_both_directions():
    scores, same = drawn()
    expected = [
        0.5 * np.log(np.exp(scores[i, [i, *others(same, i)]]).sum())
        + 0.5 * np.log(np.exp(scores[[i, *others(same, i)], i]).sum())
        - scores[i, i]
        for i in range(5)
    ]
    got = losses.contrastive_matching(jnp.asarray(scores), jnp.asarray(same))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.structured_matching, losses.contrastive_matching])
def test_equal_pairs_are_no_wrong_ones(loss):
    scores, same = drawn()
    gradient = jax.grad(lambda s: loss(s, jnp.asarray(same)).sum())(jnp.asarray(scores))
    assert np.all(np.asarray(gradient)[same] == 0)
    assert np.all(np.isfinite(gradient))
    alone = loss(jnp.asarray(scores), jnp.ones((5, 5), bool))  # no wrong pair at all
    np.testing.assert_array_equal(alone, 0)


@pytest.mark.parametrize("loss", [losses.structured_matching, losses.contrastive_matching])
def test_rejects_tables_that_are_not_square(loss):
    with pytest.raises(ValueError, match=r"scores must be \[B, B\], got float32\[2, 3\]"):
        loss(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="must have the same shape"):
        loss(jnp.zeros((2, 2)), jnp.zeros((3, 3), bool))


def test_rejects_a_margin_of_zero():
    with pytest.raises(ValueError, match="`margin` must be positive"):
        losses.structured_matching(jnp.zeros((2, 2)), margin=0.0)
