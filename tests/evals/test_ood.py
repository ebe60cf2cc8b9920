"""AUROC, likelihood ratios, and the failure of the density alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.evals import auroc, likelihood_ratio, mutate


def test_auroc_is_the_probability_of_a_higher_score():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 30), rng.integers(-2, 5, 40)  # with ties
    pairs = [float(x > y) + 0.5 * float(x == y) for x, y in itertools.product(a, b)]
    assert auroc(a, b) == pytest.approx(np.mean(pairs))
    assert auroc(b, a) == pytest.approx(1 - np.mean(pairs))


def test_auroc_accepts_minus_infinity_and_rejects_nan():
    assert auroc(np.array([-3.0, -2.0]), np.array([-np.inf, -np.inf])) == 1
    with pytest.raises(ValueError, match="NaN"):
        auroc(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="both sides"):
        auroc(np.array([]), np.array([1.0]))


def test_mutate_flips_pixels_at_its_rate():
    x = jnp.concatenate([jnp.zeros((500, 20)), jnp.ones((500, 20))])
    y = mutate(x, jax.random.key(0), 0.2)
    changed = np.asarray(y != x)
    assert changed.mean() == pytest.approx(0.2, abs=0.01)
    assert changed[:500].mean() == pytest.approx(changed[500:].mean(), abs=0.02)
    np.testing.assert_array_equal(mutate(x, jax.random.key(0), 0.0), x)
    np.testing.assert_array_equal(mutate(x, jax.random.key(0), 1.0), 1 - x)
    with pytest.raises(ValueError, match="rate must be from 0 to 1"):
        mutate(x, jax.random.key(0), 1.5)


def test_the_density_prefers_simple_images_and_the_ratio_does_not():
    """In-distribution images have two equal halves of density 0.2, others are nearly empty."""
    rng = np.random.default_rng(1)
    half = (rng.random((400, 30)) < 0.2).astype(float)
    inside = np.concatenate([half, half], 1)
    outside = (rng.random((400, 60)) < 0.01).astype(float)

    def independent(x, p=0.2):
        return (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)

    def model(x):  # the second half repeats the first with 10 % noise
        agree = (x[:, :30] == x[:, 30:]).astype(float)
        return independent(x[:, :30]) + (agree * np.log(0.9) + (1 - agree) * np.log(0.1)).sum(1)

    alone = auroc(model(inside), model(outside))
    against = auroc(
        likelihood_ratio(model(inside), independent(inside)),
        likelihood_ratio(model(outside), independent(outside)),
    )
    assert alone < 0.2
    assert against > 0.9
