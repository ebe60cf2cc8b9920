"""Sums over rows in chunks: every row once, for any chunk size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import chunked_sum


@pytest.mark.parametrize("rows", [1, 3, 4, 6, 11, 12, 13, 100])
def test_every_row_counts_once(rows):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 100, (12, 2)))
    sizes = []

    def add(total, part, fresh):
        sizes.append(part.shape[0])
        return total + jnp.sum(jnp.where(fresh[:, None], part, 0), axis=0)

    got = jax.jit(lambda x: chunked_sum(add, jnp.zeros(2, x.dtype), x, rows))(x)
    np.testing.assert_array_equal(got, x.sum(axis=0))
    assert max(sizes) == min(rows, 12)
