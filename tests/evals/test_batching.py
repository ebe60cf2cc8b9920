"""Batches: every row once and in order, one compiled program, one key per batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.evals import map_batches, map_split

KEY = jax.random.key(0)
X, LABEL = np.arange(14.0).reshape(7, 2), np.arange(7, dtype=np.int32)


def call(x, label, key):
    return {"sum": x.sum(1) + 100 * label, "noise": jax.random.normal(key, label.shape)}


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_every_row_is_evaluated_once_and_in_order(size):
    result = map_split(jax.jit(call), {"x": X, "label": LABEL}, KEY, size)
    np.testing.assert_array_equal(result["sum"], X.sum(1) + 100 * LABEL)
    assert isinstance(result["sum"], np.ndarray)


@pytest.mark.parametrize(("size", "rows"), [(50, 8), (7, 8), (3, 4), (1, 4)])
def test_batch_size_is_a_multiple_of_the_devices(size, rows):
    shapes = []

    def seen(x, label, key):
        shapes.append(x.shape[0])
        return call(x, label, key)

    result = map_split(seen, {"x": X, "label": LABEL}, KEY, size, multiple=4)
    np.testing.assert_array_equal(result["sum"], X.sum(1) + 100 * LABEL)
    assert set(shapes) == {rows}


def test_batches_have_one_shape_and_different_keys():
    shapes = []

    def seen(x, label, key):
        shapes.append(x.shape)  # once per trace
        return call(x, label, key)

    parts = list(map_batches(jax.jit(seen), {"x": X, "label": LABEL}, KEY, 3))
    assert [len(p["noise"]) for p in parts] == [3, 3, 1]
    assert shapes == [(3, 2)]
    assert len(np.unique(np.concatenate([p["noise"] for p in parts]))) == 7


def test_computes_one_batch_ahead():
    begun, received = [], []

    def slow(x, key):
        begun.append(len(received))
        return jnp.asarray(x)

    for part in map_batches(slow, {"x": X}, KEY, 1):
        received.append(part)
    assert begun == [0, 0, 1, 2, 3, 4, 5]


def test_rejects_arrays_of_different_or_zero_length():
    with pytest.raises(ValueError, match=r"one length of at least 1, got .*'x': 7, 'label': 6"):
        map_split(call, {"x": X, "label": LABEL[:6]}, KEY, 3)
    with pytest.raises(ValueError, match="one length of at least 1"):
        map_split(call, {"x": X[:0]}, KEY, 3)
    with pytest.raises(ValueError, match="`batch_size` must be positive"):
        map_split(call, {"x": X}, KEY, 0)
