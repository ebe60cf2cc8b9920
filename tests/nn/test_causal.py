"""1x1 convolutions by image: values and gradients of a convolution, and no convolution on CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.causal import NHWC, PIXELS, valid_conv


def conv(x, kernel):
    exact = jax.lax.Precision.HIGHEST
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=NHWC, precision=exact
    )


@pytest.mark.parametrize(("height", "width"), [(8, 9), (2, 3)])  # many pixels, and few
def test_a_convolution_of_single_pixels(height, width):
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
    assert ("stablehlo.convolution" in lowered) == (height * width < PIXELS)
    for platform in ("cuda", "tpu"):
        other = jax.jit(valid_conv).trace(x, kernel).lower(lowering_platforms=(platform,))
        assert "stablehlo.convolution" in other.as_text()
