"""Instance and pixel normalisation against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from genjax.nn.norms import InstanceNorm, instance_norm, pixel_norm

OURS = np.random.default_rng(0)


def by_definition(x, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon)


@pytest.mark.parametrize("shape", [(3, 8, 8, 4), (1, 5, 3, 2), (2, 1, 7, 1)])
def test_instance_norm_is_its_definition(shape):
    x = OURS.normal(2, 3, shape).astype(np.float32)
    want = by_definition(x)
    np.testing.assert_allclose(instance_norm(x), want, atol=3e-6)
    scale, bias = OURS.normal(size=(2, shape[-1])).astype(np.float32)
    np.testing.assert_allclose(instance_norm(x, scale, bias), want * scale + bias, atol=6e-6)


def test_epsilon_is_added_to_the_variance():
    x = OURS.normal(0, 3e-3, (1, 8, 8, 1)).astype(np.float32)  # variance about 1e-5
    np.testing.assert_allclose(instance_norm(x), by_definition(x), atol=1e-6)
    np.testing.assert_allclose(instance_norm(x, epsilon=1e-3), by_definition(x, 1e-3), atol=1e-6)
    np.testing.assert_array_equal(instance_norm(jnp.full((1, 4, 4, 1), 7.0)), 0)


def test_a_large_mean_keeps_its_variance():
    """E[x^2] - E[x]^2 in float32 would be off by about 1 here."""
    x = (1000 + OURS.normal(size=(2, 16, 16, 3))).astype(np.float32)
    np.testing.assert_allclose(instance_norm(x), by_definition(x), atol=2e-3)


@pytest.mark.parametrize("norm", [instance_norm, pixel_norm])
def test_half_precision_has_statistics_in_float32(norm):
    x = jnp.asarray(8 + OURS.normal(size=(2, 32, 32, 16)), jnp.bfloat16)
    y = norm(x)
    assert y.dtype == jnp.bfloat16
    want = norm(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), want, rtol=2**-8, atol=1e-6)  # one rounding


def test_the_module_has_parameters_only_if_affine():
    x = OURS.normal(size=(2, 4, 4, 3)).astype(np.float32)
    assert InstanceNorm().init(jax.random.key(0), x) == {}
    np.testing.assert_array_equal(InstanceNorm().apply({}, x), instance_norm(x))
    affine = InstanceNorm(affine=True)
    variables = affine.init(jax.random.key(0), x)
    np.testing.assert_array_equal(affine.apply(variables, x), instance_norm(x))
    params = {"scale": jnp.array([1.0, 2, 3]), "bias": jnp.array([0.0, 5, 9])}
    want = np.asarray(instance_norm(x)) * np.asarray(params["scale"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(affine.apply({"params": params}, x), want, rtol=1e-6, atol=1e-6)


def test_instance_norm_rejects_what_it_would_make_zero():
    with pytest.raises(ValueError, match="1x1 maps is 0"):
        instance_norm(jnp.ones((2, 1, 1, 8)))
    with pytest.raises(ValueError, match=r"maps must be \[B, H, W, C\]"):
        instance_norm(jnp.ones((4, 4, 8)))


@pytest.mark.parametrize("shape", [(2, 3, 3, 5), (4, 6)])
def test_pixel_norm_is_its_definition(shape):
    x = OURS.normal(1, 2, shape).astype(np.float32)
    want = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(pixel_norm(x), want, rtol=1e-6)
    np.testing.assert_array_equal(pixel_norm(jnp.zeros(shape)), 0)
    want = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 0.5)
    np.testing.assert_allclose(pixel_norm(x, epsilon=0.5), want, rtol=1e-6)


@pytest.mark.parametrize("norm", [instance_norm, pixel_norm])
def test_first_and_second_derivatives_are_finite_differences(norm):
    x = jnp.asarray(OURS.normal(size=(2, 3, 2, 3)), jnp.float32)
    weights = jnp.asarray(OURS.normal(size=x.shape), jnp.float32)
    total = jax.jit(lambda x: jnp.sum(weights * norm(x)))
    check_grads(total, (x,), order=2, atol=2e-2, rtol=2e-2, eps=1e-2)
    assert jnp.isfinite(jax.grad(total)(jnp.zeros_like(x))).all()
