"""Layers with an equalised learning rate, against their run-time scale computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.equalized import EqualizedConv, EqualizedDense
from genjax.nn.resampling import average_pool, upsample_nearest

GAIN = math.sqrt(2)
# Layers, inputs, and the scale of He et al. 2015: gain / sqrt(inputs of an output).
SCALES = [
    (EqualizedDense(5), (2, 8), GAIN / math.sqrt(8)),
    (EqualizedDense(5, gain=GAIN / 4), (2, 8), GAIN / 4 / math.sqrt(8)),
    (EqualizedDense(5, gain=1), (2, 3, 8), 1 / math.sqrt(8)),
    (EqualizedConv(5), (2, 4, 4, 3), GAIN / math.sqrt(27)),
    (EqualizedConv(5, resample="up"), (2, 4, 4, 3), GAIN / math.sqrt(27)),
    (EqualizedConv(5, resample="down"), (2, 4, 4, 3), GAIN / math.sqrt(27)),
    (EqualizedConv(5, kernel=1, gain=1), (2, 4, 4, 3), 1 / math.sqrt(3)),
    (EqualizedConv(5, kernel=1, resample="down", gain=1), (2, 4, 4, 3), 1 / math.sqrt(3)),
    (EqualizedConv(5, kernel=4), (2, 6, 6, 2), GAIN / math.sqrt(32)),
]


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("layer", "shape", "scale"), SCALES)
def test_weights_are_multiplied_by_the_gain_over_the_root_of_the_inputs(layer, shape, scale):
    """An unscaled layer with scaled weights gives the same outputs and gradients by its inputs."""
    x = normal(*shape)
    params = layer.init(jax.random.key(0), x)["params"]
    assert set(params) == {"kernel", "bias"}
    np.testing.assert_array_equal(params["bias"], np.zeros(5))
    params["bias"] = normal(5, seed=1)
    scaled = {"kernel": params["kernel"] * scale, "bias": params["bias"]}
    plain = layer.clone(equalized=False)
    y, pull = jax.vjp(lambda p: layer.apply({"params": p}, x), params)
    want, want_pull = jax.vjp(lambda p: plain.apply({"params": p}, x), scaled)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    gradient, want_gradient = pull(y)[0], want_pull(y)[0]
    np.testing.assert_allclose(gradient["bias"], want_gradient["bias"], rtol=1e-5)
    np.testing.assert_allclose(
        gradient["kernel"], scale * want_gradient["kernel"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(EqualizedDense(200, gain=3), (1, 50)), (EqualizedConv(50, gain=3), (1, 4, 4, 20))],
)
def test_initial_weights_have_unit_variance_or_the_variance_of_he(layer, shape):
    inputs = {2: 50, 4: 180}[len(shape)]
    x = jnp.ones(shape)
    kernel = layer.init(jax.random.key(0), x)["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx(1, rel=0.03)
    plain = layer.clone(equalized=False)
    he = plain.init(jax.random.key(0), x)["params"]["kernel"]
    np.testing.assert_allclose(he, kernel * 3 / math.sqrt(inputs), rtol=1e-6)


def test_a_dense_layer_by_hand():
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.array([10.0, 20.0])}
    y = EqualizedDense(2, gain=2).apply({"params": params}, jnp.array([[1.0, 1.0]]))
    np.testing.assert_allclose(y, [[10 + 4 * math.sqrt(2), 20 + 6 * math.sqrt(2)]], rtol=1e-6)


@pytest.mark.parametrize("equalized", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_fused_layers_equal_nearest_then_convolution_and_convolution_then_mean(kernel, equalized):
    x = normal(2, 6, 4, 8)
    layer = EqualizedConv(3, kernel, equalized=equalized)
    variables = layer.init(jax.random.key(1), x)
    variables["params"]["bias"] = normal(3)
    pairs = {
        "up": lambda x: layer.apply(variables, upsample_nearest(x)),
        "down": lambda x: average_pool(layer.apply(variables, x)),
    }
    for resample, plain in pairs.items():
        y, pull = jax.vjp(lambda x, r=resample: layer.clone(resample=r).apply(variables, x), x)
        want, want_pull = jax.vjp(plain, x)
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(pull(y)[0], want_pull(y)[0], rtol=1e-5, atol=1e-4)


def convolved(x, kernel, stride, pads, dilation):
    """Computes a convolution in NumPy: zeros between the pixels, padding, steps of the stride."""
    b, h, w, c = x.shape
    wide = np.zeros((b, (h - 1) * dilation + 1, (w - 1) * dilation + 1, c))
    wide[:, ::dilation, ::dilation] = x
    wide = np.pad(wide, ((0, 0), pads, pads, (0, 0)))
    side = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (1, 2))
    return np.einsum("bhwiyx,yxio->bhwo", windows[:, ::stride, ::stride], kernel)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_fused_layers_equal_one_kernel_of_4x4_summed_taps(resample):
    """A convolution of stride 2, or a transposed one, with the kernel of the authors' code."""
    x = normal(2, 4, 6, 3)
    layer = EqualizedConv(5, resample=resample)
    variables = layer.init(jax.random.key(2), x)
    kernel = np.asarray(variables["params"]["kernel"], np.float64) * GAIN / math.sqrt(27)
    at = [(1, 0), (0, 1)]
    summed = sum(np.pad(kernel, (rows, columns, (0, 0), (0, 0))) for rows in at for columns in at)
    if resample == "up":
        want = convolved(x, summed, 1, (2, 2), 2)
    else:
        want = convolved(x, summed / 4, 2, (1, 1), 1)
    np.testing.assert_allclose(layer.apply(variables, x), want, rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_float32_parameters():
    x = normal(2, 4, 4, 3)
    for layer in (
        EqualizedConv(4, dtype="bfloat16", resample="up"),
        EqualizedDense(4, dtype="bfloat16"),
    ):
        y, variables = layer.init_with_output(jax.random.key(0), x)
        assert y.dtype == jnp.bfloat16
        assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        exact = layer.clone(dtype="float32").apply(variables, x)
        assert float(jnp.abs(y - exact).max() / jnp.abs(exact).max()) < 0.02


def test_layers_without_biases():
    for layer in (EqualizedConv(4, use_bias=False), EqualizedDense(4, use_bias=False)):
        assert set(layer.init(jax.random.key(0), normal(1, 4, 4, 3))["params"]) == {"kernel"}
