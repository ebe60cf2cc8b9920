"""The logit-Laplace density: its integral, its value, and its stability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.losses import logit_laplace_nats, logit_laplace_nll, map_pixels, unmap_pixels


def nats(x, mean, log_scale, epsilon=0.1):
    return logit_laplace_nats(x, mean, log_scale=log_scale, epsilon=epsilon)


nats_of = jax.jit(nats, static_argnames="epsilon")


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -1.0), (1.3, -2.0), (-2.0, 0.3)])
def test_integrates_to_one(epsilon, mean, log_scale):
    # Over mapped pixels u in (0, 1), at midpoints of equal parts of logit u.
    edges = np.linspace(-20, 20, 40_001)
    u = 1 / (1 + np.exp(-(edges[1:] + edges[:-1]) / 2))
    width = 1 / (1 + np.exp(-edges[1:])) - 1 / (1 + np.exp(-edges[:-1]))
    inside = (u > 1e-4) & (u < 1 - 1e-4)  # float32 has no logit of pixels beyond
    x = jnp.asarray((u[inside] - epsilon) / (1 - 2 * epsilon), jnp.float32)
    full = jnp.ones_like(x)
    density = np.exp(-np.asarray(nats_of(x, mean * full, log_scale * full, epsilon=epsilon)))
    low, high = np.log(np.array([1e-4, 1 - 1e-4]) / np.array([1 - 1e-4, 1e-4]))
    law = scipy.stats.laplace(mean, np.exp(log_scale))
    beyond = law.cdf(low) + law.sf(high)
    np.testing.assert_allclose((density * width[inside]).sum() + beyond, 1.0, atol=2e-3)
    assert beyond < 0.02


def test_equals_the_laplace_density_of_the_logit():
    rng = np.random.default_rng(0)
    x, mean, log_scale = rng.uniform(size=(4, 5)), *rng.normal(size=(2, 4, 5))
    u = 0.8 * x + 0.1
    law = scipy.stats.laplace(mean, np.exp(log_scale))
    want = -law.logpdf(np.log(u / (1 - u))) + np.log(u * (1 - u))  # du = u (1 - u) d logit
    arrays = [jnp.asarray(a, jnp.float32) for a in (x, mean, log_scale)]
    np.testing.assert_allclose(nats_of(*arrays), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        logit_laplace_nll(*arrays[:2], log_scale=arrays[2]), want.sum(1), rtol=1e-4
    )


def test_black_and_white_pixels_have_finite_gradients():
    x = jnp.array([0.0, 1.0])
    gradient = jax.grad(lambda m: nats_of(x, m, jnp.zeros(2)).sum())(jnp.zeros(2))
    np.testing.assert_allclose(gradient, [1.0, -1.0])  # towards logit 0.1 and logit 0.9


def test_mapping_of_pixels_is_inverted():
    x = jnp.linspace(0, 1, 11)
    u = map_pixels(x)
    np.testing.assert_allclose([u.min(), u.max()], [0.1, 0.9], rtol=1e-6)
    np.testing.assert_allclose(unmap_pixels(u), x, atol=1e-6)
    assert unmap_pixels(jnp.array([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_rejects_other_shapes_and_epsilons():
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="must have the same shape"):
        logit_laplace_nll(x, x, log_scale=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"`epsilon` must be in \[0, 0.5\), got 0.5"):
        logit_laplace_nll(x, x, log_scale=x, epsilon=0.5)
    with pytest.raises(ValueError, match="leading batch axis"):
        logit_laplace_nll(jnp.zeros(()), jnp.zeros(()), log_scale=jnp.zeros(()))
