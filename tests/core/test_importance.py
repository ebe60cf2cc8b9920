"""The running logsumexp of importance weights against the logsumexp of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from genjax.core import log_mean_weight, resample_noise
from genjax.core.importance import ROWS

KEY = jax.random.key(0)


def weights(key, shape):
    return 30 * jax.random.normal(key, shape)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (ROWS + 1,)])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_equals_the_log_of_the_mean(shape, n):
    key = jax.random.key(1)
    found = log_mean_weight(lambda k: weights(k, shape), key, n, jnp.zeros(shape))
    all_at_once = np.stack([weights(k, shape) for k in jax.random.split(key, n)])
    want = logsumexp(all_at_once.astype(np.float64), axis=0) - np.log(n)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [2, ROWS + 1])
def test_small_weights_add_up(size):
    """Naive accumulation in float32 is 1.6 nats too low after 20,000 draws of -7000."""
    x = jnp.full(size, -7000.0)
    run = jax.jit(lambda key: log_mean_weight(lambda k: x, key, 20_000, x))
    np.testing.assert_allclose(run(jax.random.key(0)), -7000, atol=2e-3)


def test_gradient_equals_that_of_all_weights():
    x, key = jnp.array([3.0, -90.0]), jax.random.key(1)

    def each(x, k):
        return x * (1 + 0.3 * jax.random.normal(k, (2,)))

    running = jax.grad(lambda x: log_mean_weight(lambda k: each(x, k), key, 60, x).sum())
    keys = jax.random.split(key, 60)
    whole = jax.grad(lambda x: jax.nn.logsumexp(jax.vmap(lambda k: each(x, k))(keys), 0).sum())
    np.testing.assert_allclose(running(x), whole(x), rtol=1e-5)


def test_weights_of_minus_and_plus_infinity():
    log_w = jnp.array([-jnp.inf, jnp.inf, 0.0])
    found = log_mean_weight(lambda k: log_w, jax.random.key(0), 7, jnp.zeros(3))
    np.testing.assert_allclose(found, log_w, atol=1e-6)
    assert log_mean_weight(lambda k: jnp.zeros(0), KEY, 3, jnp.zeros(0)).shape == (0,)


def test_memory_is_constant_in_the_number_of_samples():
    def lowered(n):
        draw = lambda k: weights(k, (4,))  # noqa: E731
        whole = jax.jit(lambda key: log_mean_weight(draw, key, n, jnp.zeros(4)))
        return whole.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    # Keys take 8 bytes per sample.
    assert lowered(100_000) - lowered(1000) < 99_000 * 8 * 3


def test_noise_is_that_of_the_resampled_weights():
    """All weight is on one sample per example; entries have zero to two further axes."""
    best = np.array([2, 0])
    log_weights = jnp.full((3, 2), -1e4).at[best, jnp.arange(2)].set(0.0)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(3, 2, *more)) for more in ((), (4,), (2, 2))]
    for found, every in zip(resample_noise(KEY, log_weights, noise, 5), noise, strict=True):
        want = every[best, np.arange(2)]
        np.testing.assert_allclose(found, np.broadcast_to(want, (5, *want.shape)), rtol=1e-6)


def test_resampling_is_independent_of_noise_drawn_with_its_key():
    which = jnp.broadcast_to(jnp.arange(2.0)[:, None], (2, 2000))
    chosen = resample_noise(KEY, jnp.zeros((2, 2000)), which, 1)[0]
    for drawn in (jax.random.normal(KEY, (2000,)), jax.random.uniform(KEY, (2000,)) - 0.5):
        assert abs(float((chosen == (drawn > 0)).mean()) - 0.5) < 0.06  # 5 standard errors


def test_rejects_an_invalid_number_of_samples():
    with pytest.raises(ValueError, match="`num_samples` must be an integer"):
        log_mean_weight(lambda k: weights(k, (1,)), KEY, 2.0, jnp.zeros(1))
    with pytest.raises(ValueError, match="`num_samples` must be positive"):
        log_mean_weight(lambda k: weights(k, (1,)), jax.random.key(0), 0, jnp.zeros(1))
