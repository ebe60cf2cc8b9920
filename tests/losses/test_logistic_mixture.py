"""Mixtures of discretised logistics against float64 numpy, and sums over all levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from genjax.losses import logistic_mixture_nats, moved_means

K = 3


def nats_of(x, logits, means, log_scales, coefficients, **options):
    given = dict(logits=logits, means=means, log_scales=log_scales, coefficients=coefficients)
    return logistic_mixture_nats(x, **given, **options)


def parts(seed, *lead, channels=3, spread=1.0):
    rng = np.random.default_rng(seed)
    pairs = channels * (channels - 1) // 2
    return (
        rng.normal(size=(*lead, K)),
        spread * rng.normal(size=(*lead, channels, K)),
        rng.normal(size=(*lead, channels, K)) - 2,
        np.tanh(rng.normal(size=(*lead, pairs, K))),
    )


def as_float32(arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def by_hand(x, logits, means, log_scales, coefficients, levels):
    """Computes log p(x_0, x_1, x_2) of one pixel in float64: PixelCNN++, equations 1 to 3."""
    unit = 2 * x / (levels - 1) - 1
    r, g = unit[:2]
    alpha, beta, gamma = coefficients
    moved = [means[0], means[1] + alpha * r, means[2] + beta * r + gamma * g]
    total = 0.0
    for k in range(K):
        p = np.exp(log_softmax(logits)[k])
        for c in range(3):
            s, half = np.exp(log_scales[c, k]), 1 / (levels - 1)
            above = 1.0 if x[c] == levels - 1 else expit((unit[c] + half - moved[c][k]) / s)
            below = 0.0 if x[c] == 0 else expit((unit[c] - half - moved[c][k]) / s)
            p *= above - below
        total += p
    return np.log(total)


@pytest.mark.parametrize("levels", [4, 256])
def test_equals_the_papers_equations(levels):
    rng = np.random.default_rng(0)
    x = rng.integers(0, levels, (40, 3)).astype(np.float64)
    x[0], x[1] = 0, levels - 1  # edges
    given = list(parts(1, 40, spread=0.3))
    given[2] = np.maximum(given[2], -3)  # wide enough for a difference of sigmoids in float64
    want = [by_hand(x[i], *(a[i] for a in given), levels) for i in range(40)]
    nats = nats_of(jnp.asarray(x, jnp.float32), *as_float32(given), levels=levels)
    assert nats.shape == (40, 3)
    np.testing.assert_allclose(-nats.sum(axis=1), want, rtol=1e-4)


def test_each_channel_sums_to_one_over_256_levels_given_those_before():
    given = as_float32(parts(2, 1))
    for before in ([], [0.0], [255.0, 17.0]):
        c = len(before)
        x = np.zeros((256, 3))
        x[:, :c], x[:, c] = before, np.arange(256)
        many = [jnp.broadcast_to(a, (256, *a.shape[1:])) for a in given]
        nats = nats_of(jnp.asarray(x, jnp.float32), *many)
        assert np.exp(-np.asarray(nats[:, c], np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_channels_share_the_component():
    """With two distant components the first channel determines the second."""
    logits = jnp.zeros((1, 2))
    means = jnp.array([[[-0.5, 0.5], [-0.5, 0.5]]])
    scales, none = jnp.full((1, 2, 2), -6.0), jnp.zeros((1, 1, 2))
    x = jnp.array([[64.0, 64.0]])
    nats = np.asarray(nats_of(x, logits, means, scales, none))[0]
    assert nats[0] - nats[1] == pytest.approx(np.log(2), abs=1e-3)


def test_means_of_one_channel_are_not_shifted():
    means = jnp.arange(6.0).reshape(2, 1, 3)
    np.testing.assert_array_equal(moved_means(means, jnp.zeros((2, 0, 3)), jnp.ones((2, 1))), means)


def test_far_tails_are_finite_with_a_gradient():
    x = jnp.array([[0.0, 128.0, 255.0]])
    logits, _, _, coefficients = as_float32(parts(3, 1))
    means, scales = jnp.full((1, 3, K), 1e4), jnp.full((1, 3, K), -7.0)

    def total(means):
        return nats_of(x, logits, means, scales, coefficients).sum()

    value, gradient = jax.value_and_grad(total)(means)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (gradient[:, :2] != 0).any()


def test_rejects_other_shapes():
    good = as_float32(parts(4, 5))
    with pytest.raises(ValueError, match=r"coefficients must be \[5, 3, 3\]"):
        nats_of(jnp.zeros((5, 3)), *good[:3], good[3][:, :2])
    with pytest.raises(ValueError, match=r"means must be \[5, 2, 3\]"):
        nats_of(jnp.zeros((5, 2)), *good)
