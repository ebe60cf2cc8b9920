"""Statistics of a batch, against NumPy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import run_program

from genjax.nn.minibatch import MinibatchDiscrimination, minibatch_stddev


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stddev_by_hand(x, group):
    """Computes the channel of the standard deviation with one loop per group."""
    size = min(group, len(x))
    groups = len(x) // size
    out = np.zeros((*x.shape[:3], 1))
    for m in range(groups):
        members = [m + i * groups for i in range(size)]
        part = x[members].astype(np.float64)
        deviation = np.sqrt(((part - part.mean(0)) ** 2).mean(0) + 1e-8)
        out[members] = deviation.mean()
    return np.concatenate([x, out], -1)


@pytest.mark.parametrize(
    ("batch", "group"), [(8, 4), (6, 3), (12, 4), (3, 4), (4, 16), (1, 4), (4, 1)]
)
def test_standard_deviation_by_hand(batch, group):
    x = normal(batch, 3, 2, 5)
    y = minibatch_stddev(jnp.asarray(x), group)
    np.testing.assert_allclose(y, stddev_by_hand(x, group), rtol=1e-5)


def test_standard_deviation_of_two_numbers():
    """The groups are examples 0 and 2, and 1 and 3."""
    x = jnp.array([0.0, 10.0, 2.0, 18.0])[:, None, None, None]
    y = minibatch_stddev(x, 2)
    np.testing.assert_allclose(y[:, 0, 0, 1], [1, 4, 1, 4], rtol=1e-6)


def test_equal_examples_have_a_deviation_of_1e_4_and_finite_gradients():
    x = jnp.ones((4, 2, 2, 3))
    np.testing.assert_allclose(minibatch_stddev(x, 4)[..., 3], 1e-4, rtol=1e-6)
    penalty = jax.grad(lambda x: (jax.grad(lambda x: minibatch_stddev(x).sum())(x) ** 2).sum())
    assert np.isfinite(penalty(x)).all()


def test_gradient_of_the_standard_deviation_by_differences():
    x, weights, step = normal(6, 2, 2, 3).astype(np.float64), normal(6, 2, 2, 4, seed=1), 1e-5
    gradient = jax.grad(lambda x: (minibatch_stddev(x, 3) * weights).sum())(jnp.float32(x))
    rng = np.random.default_rng(2)
    for _ in range(5):
        direction = rng.normal(size=x.shape)
        ends = [(stddev_by_hand(x + s * step * direction, 3) * weights).sum() for s in (1, -1)]
        want = (ends[0] - ends[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(want, rel=1e-4, abs=1e-4)


def test_half_precision_computes_the_standard_deviation_in_float32():
    """The variance, about 90,000, is infinite in float16."""
    x = jnp.asarray(300 * normal(4, 2, 2, 8), jnp.float16)
    y = minibatch_stddev(x, 4)
    assert y.dtype == jnp.float16
    want = stddev_by_hand(np.asarray(x, np.float32), 4)
    np.testing.assert_allclose(np.asarray(y, np.float32), want, rtol=1e-3)


@pytest.mark.parametrize(("batch", "group"), [(6, 4), (10, 4), (4, 0)])
def test_rejects_a_batch_that_is_not_divisible_by_the_group(batch, group):
    message = rf"the batch of {batch} cannot be divided into groups of {group}.*use a multiple"
    with pytest.raises(ValueError, match=message):
        minibatch_stddev(jnp.ones((batch, 2, 2, 1)), group)


def test_rejects_flattened_maps():
    with pytest.raises(ValueError, match=r"maps must be \[B, H, W, C\]"):
        minibatch_stddev(jnp.ones((4, 8)), 4)


def test_a_batch_sharded_over_8_devices_gives_the_same_statistics():
    """Groups have members on all devices: examples 0, 4, 8 and 12 of 16."""
    found = json.loads(run_program("sharded_minibatch.py", devices=8).stdout.splitlines()[-1])
    x = normal(16, 2, 2, 3)
    want = stddev_by_hand(x, 4)
    np.testing.assert_allclose(found["value"], want, rtol=1e-5)
    alone = jax.grad(lambda x: (minibatch_stddev(x, 4) ** 2).sum())(jnp.asarray(x))
    np.testing.assert_allclose(found["gradient"], alone, rtol=1e-5)
    layer = MinibatchDiscrimination(7, 2)
    y = layer.init_with_output(jax.random.key(0), jnp.asarray(x))[0]
    np.testing.assert_allclose(found["discrimination"], y, rtol=1e-5)


@pytest.mark.parametrize("equalized", [True, False])
@pytest.mark.parametrize("shape", [(5, 12), (5, 2, 2, 3)])
def test_discrimination_by_hand(shape, equalized):
    x = normal(*shape) / 4
    layer = MinibatchDiscrimination(7, 2, equalized=equalized)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.asarray(x))
    tensor = np.asarray(variables["params"]["tensor"]["kernel"])
    assert tensor.shape == (12, 14)
    rows = (x.reshape(5, 12) @ tensor).reshape(5, 7, 2) / (12**0.5 if equalized else 1)
    want = np.zeros((5, 7))
    for i in range(5):
        for k in range(7):
            want[i, k] = sum(np.exp(-np.abs(rows[i, k] - rows[j, k]).sum()) for j in range(5))
    np.testing.assert_array_equal(y[..., : shape[-1]], x)
    features = y[..., shape[-1] :].reshape(5, -1, 7)
    for i in range(features.shape[1]):  # pixels
        np.testing.assert_allclose(features[:, i], want, rtol=1e-5)
    assert np.ptp(want) > 0.5


def test_discrimination_counts_equal_examples():
    x = jnp.asarray(np.repeat(1000 * normal(2, 4), [1, 3], axis=0))
    y = MinibatchDiscrimination(3).init_with_output(jax.random.key(0), x)[0]
    np.testing.assert_allclose(y[:, 4:], [[1] * 3] + [[3] * 3] * 3, rtol=1e-6)
