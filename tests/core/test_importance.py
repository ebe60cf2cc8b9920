"""The running logsumexp of importance weights against all of them at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from genjax.core import log_mean_weight
from genjax.core.importance import ROWS


def weights(key, shape):
    return 30 * jax.random.normal(key, shape)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (ROWS + 1,)])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_it_is_the_log_of_the_mean(shape, n):
    key = jax.random.key(1)
    found = log_mean_weight(lambda k: weights(k, shape), key, n, jnp.zeros(shape))
    all_at_once = np.stack([weights(k, shape) for k in jax.random.split(key, n)])
    want = logsumexp(all_at_once.astype(np.float64), axis=0) - np.log(n)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_memory_does_not_grow():
    def lowered(n):
        draw = lambda k: weights(k, (4,))  # noqa: E731
        whole = jax.jit(lambda key: log_mean_weight(draw, key, n, jnp.zeros(4)))
        return whole.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    # What grows are the keys, 8 bytes a sample.
    assert lowered(100_000) - lowered(1000) < 99_000 * 8 * 3


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="num_samples must be above 0"):
        log_mean_weight(lambda k: weights(k, (1,)), jax.random.key(0), 0, jnp.zeros(1))
