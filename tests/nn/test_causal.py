"""VALID convolutions with CPU gradients as matrix products: values, gradients, programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nn.test_transposed import check

from genjax.nn.causal import (
    MIN_PIXELS,
    MIN_TAP_INPUTS,
    MIN_TAP_PIXELS,
    NHWC,
    CausalConv,
    valid_conv,
)


def conv(x, kernel):
    exact = jax.lax.Precision.HIGHEST
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=NHWC, precision=exact
    )


@pytest.mark.parametrize(("height", "width"), [(8, 9), (2, 3)])  # many and few pixels
def test_1x1_convolution_has_the_values_and_gradients_of_a_convolution(height, width):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, height, width, 4)).astype(np.float32)
    kernel = rng.normal(size=(1, 1, 4, 5)).astype(np.float32)
    weight = rng.normal(size=(3, height, width, 5)).astype(np.float32)

    def gradients(f):
        return jax.jit(jax.grad(lambda x, k: jnp.sum(f(x, k) * weight), (0, 1)))(x, kernel)

    np.testing.assert_allclose(jax.jit(valid_conv)(x, kernel), conv(x, kernel), atol=1e-5)
    for found, want in zip(gradients(valid_conv), gradients(conv), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-4)
    lowered = jax.jit(valid_conv).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert ("stablehlo.convolution" in lowered) == (height * width < MIN_PIXELS)
    for platform in ("cuda", "tpu"):
        other = jax.jit(valid_conv).trace(x, kernel).lower(lowering_platforms=(platform,))
        assert "stablehlo.convolution" in other.as_text()


@pytest.mark.parametrize("kernel", [(2, 3), (3, 1), (1, 2)])
@pytest.mark.parametrize("twice", [False, True])
def test_a_kernel_of_several_taps_has_the_gradients_of_a_convolution(kernel, twice):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 20, 21, MIN_TAP_INPUTS)).astype(np.float32)
    k = rng.normal(size=(*kernel, MIN_TAP_INPUTS, 3)).astype(np.float32)
    check(valid_conv, conv, x, k, twice)


@pytest.mark.parametrize(
    ("side", "inputs"), [(20, MIN_TAP_INPUTS), (20, MIN_TAP_INPUTS - 1), (19, MIN_TAP_INPUTS)]
)
def test_cpu_kernel_gradients_are_matrix_products(side, inputs):
    """One product per kernel position; few input channels and small maps use a convolution."""
    x, k = jnp.zeros((2, side, side, inputs)), jnp.zeros((2, 3, inputs, 4))
    step = jax.jit(jax.value_and_grad(lambda k: jnp.sum(valid_conv(x, k) ** 2)))
    counts = {}
    for platform in ("cpu", "cuda", "tpu"):
        text = step.trace(k).lower(lowering_platforms=(platform,)).as_text()
        names = ("stablehlo.convolution", "stablehlo.dot_general")
        counts[platform] = tuple(text.count(name) for name in names)
    many = inputs >= MIN_TAP_INPUTS and side**2 >= MIN_TAP_PIXELS
    assert counts == {"cpu": (1, 6) if many else (2, 0), "cuda": (2, 0), "tpu": (2, 0)}


def test_scale_multiplies_the_initial_weights():
    whole, small = (
        CausalConv((0,) * 4, (0,) * 6, scale=scale).init(jax.random.key(0), jnp.zeros((1, 2, 2, 4)))
        for scale in (1.0, 0.25)
    )
    kernels = [v["params"]["kernel"] for v in (small, whole)]
    np.testing.assert_allclose(kernels[0], kernels[1] / 2, rtol=1e-6)
