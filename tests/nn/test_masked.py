"""Masked dense layers, and the degrees that define their masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.autoregressive import draw_order
from genjax.nn import MaskedDense, draw_degrees


@pytest.mark.parametrize("strict", [True, False])
def test_the_layer_equals_a_product_with_a_masked_matrix(strict):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    inputs, outputs = np.array([2, 1, 4, 3]), np.array([1, 3, 2, 4, 2, 0])
    layer = MaskedDense(6, strict=strict)
    variables = layer.init(jax.random.key(0), x, inputs, outputs)
    variables = jax.tree.map(lambda p: p + 0.5, variables)
    kernel, bias = (np.asarray(variables["params"][k], np.float64) for k in ("kernel", "bias"))
    for i in range(4):
        for o in range(6):
            seen = outputs[o] > inputs[i] if strict else outputs[o] >= inputs[i]
            kernel[i, o] *= seen
    got = jax.jit(layer.apply)(variables, x, inputs, outputs)
    np.testing.assert_allclose(got, x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_parameters_are_float32_and_the_product_is_bfloat16():
    x = jnp.ones((2, 64))
    degrees = np.arange(64)
    layer = MaskedDense(64, dtype=jnp.bfloat16, use_bias=False)
    variables = layer.init(jax.random.key(0), x, degrees, degrees)
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x, degrees, degrees).dtype == jnp.bfloat16


def test_range_of_degrees():
    first, second = draw_degrees(9, (4000, 4000), seed=3)
    # Uniform on 1 .. 8, both ends included.
    np.testing.assert_array_equal(np.unique(first), np.arange(1, 9))
    assert np.bincount(first)[1:].min() > 400
    np.testing.assert_array_equal(np.unique(second), np.arange(1, 9))
    low = draw_degrees(100, (3, 500), seed=0)
    assert low[0].min() > 1  # three units of 99 degrees
    assert low[1].min() == low[0].min()
    assert low[1].max() == 99


@pytest.mark.parametrize("dims", [1, 2])
def test_degrees_of_the_smallest_events(dims):
    for layer in draw_degrees(dims, (5, 3), seed=0):
        np.testing.assert_array_equal(layer, 1)


def test_masks_are_equal_on_every_machine():
    """Golden values: ranks and remainders of Philox's raw stream, which NumPy keeps stable."""
    assert draw_order(8, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert draw_order(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert [d.tolist() for d in draw_degrees(8, (6, 4), 0)] == [[2, 4, 6, 4, 7, 1], [6, 3, 6, 5]]
    assert [d.tolist() for d in draw_degrees(8, (6, 4), 0, 1)] == [[3, 2, 6, 6, 7, 1], [5, 2, 4, 3]]
    # A wider layer does not change the others.
    assert draw_degrees(8, (6, 4), 0)[0].tolist() == draw_degrees(8, (6, 9), 0)[0].tolist()
