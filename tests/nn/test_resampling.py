"""Resampling, alone and with a convolution, against plain forms, to the last bit on integers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.resampling import (
    average_pool,
    blur_pool,
    conv_downsample,
    upsample_conv,
    upsample_linear,
    upsample_nearest,
)

NHWC = ("NHWC", "HWIO", "NHWC")
SHAPES = [(2, 4, 6, 3), (1, 5, 4, 2), (2, 3, 7, 1), (1, 1, 1, 2), (1, 2, 1, 2)]


def whole(*shape):
    """Integers: sums of them, also with weights of 1/16, are exact in float32."""
    rng = np.random.default_rng(sum(shape))
    return jnp.asarray(rng.integers(-9, 9, shape), jnp.float32)


def conv(x, kernel, padding="SAME"):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=NHWC)


def nearest(x):
    return jnp.kron(x, jnp.ones((1, 2, 2, 1)))


def depthwise(x, taps, **options):
    channels = x.shape[-1]
    kernel = jnp.broadcast_to(
        np.outer(taps, taps)[:, :, None, None].astype(np.float32), (3, 3, 1, channels)
    )
    options |= {"dimension_numbers": NHWC, "feature_group_count": channels}
    return jax.lax.conv_general_dilated(x, kernel, **options)


def linear(x):
    options = {"window_strides": (1, 1), "padding": [(2, 1)] * 2, "lhs_dilation": (2, 2)}
    return depthwise(x, [0.5, 1, 0.5], **options)


def pooled(x):
    return nn.avg_pool(x, (2, 2), (2, 2), padding="SAME", count_include_pad=False)


def blurred(x):
    odd = [(1, side % 2) for side in x.shape[1:3]]
    return depthwise(x, [0.25, 0.5, 0.25], window_strides=(2, 2), padding=odd)


def reflected(x):
    odd = [(1, side % 2) for side in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *odd, (0, 0)), mode="reflect")
    return depthwise(x, [0.25, 0.5, 0.25], window_strides=(2, 2), padding="VALID")


def blur_reflect(x):
    return blur_pool(x, "reflect")


PAIRS = [
    (upsample_nearest, nearest),
    (upsample_linear, linear),
    (average_pool, pooled),
    (blur_pool, blurred),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("found", "want"), PAIRS, ids=lambda f: f.__name__)
def test_maps_and_gradients_equal_the_plain_form(found, want, shape):
    x = whole(*shape)
    y, pull = jax.vjp(want, x)
    ours, ours_pull = jax.vjp(found, x)
    np.testing.assert_array_equal(ours, y)
    ct = whole(*y.shape)
    np.testing.assert_array_equal(ours_pull(ct)[0], pull(ct)[0])
    assert found(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 4, 2), (2, 3, 7, 1), (1, 2, 2, 2)])
def test_reflected_blur_equals_the_plain_form(shape):
    test_maps_and_gradients_equal_the_plain_form(blur_reflect, reflected, shape)


def test_reflected_blur_needs_two_pixels():
    with pytest.raises(ValueError, match="the maps have 1x4"):
        blur_reflect(jnp.ones((1, 1, 4, 1)))


def test_blurring_a_constant_keeps_it_where_the_edge_is_reflected():
    x = jnp.full((1, 6, 5, 1), 8.0)
    np.testing.assert_array_equal(blur_reflect(x), 8)
    np.testing.assert_array_equal(blur_pool(x)[0, :, :, 0], [[4.5, 6, 4.5], [6, 8, 6], [6, 8, 6]])


@pytest.mark.parametrize("layer", [upsample_nearest, upsample_linear, average_pool, blur_pool])
def test_rejects_one_image_without_a_batch_axis(layer):
    with pytest.raises(ValueError, match=r"maps must be \[B, H, W, C\]"):
        layer(jnp.ones((4, 4, 3)))


FUSED = [
    (upsample_conv, lambda x, k: conv(nearest(x), k)),
    (conv_downsample, lambda x, k: pooled(conv(x, k))),
]


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 2, 2, 1), (1, 5, 3, 2)])
@pytest.mark.parametrize(("found", "want"), FUSED, ids=["up", "down"])
def test_a_fused_convolution_has_the_plain_ones_values_and_derivatives(found, want, shape):
    """Value, gradients by maps and kernel, and those of the squared gradient by the maps."""
    x, kernel = whole(*shape), whole(3, 3, shape[-1], 4)

    def everything(layer):
        def run(x, kernel, ct):
            y, pull = jax.vjp(layer, x, kernel)
            ct = ct[:, : y.shape[1], : y.shape[2]]

            def penalty(ct, kernel):
                return (jax.vjp(layer, x, kernel)[1](ct)[0] ** 2).sum() / 2

            return y, pull(ct), jax.grad(penalty, (0, 1))(ct, kernel)

        return jax.jit(run)(x, kernel, 4 * whole(shape[0], 2 * shape[1], 2 * shape[2], 4))

    jax.tree.map(np.testing.assert_array_equal, everything(found), everything(want))


@pytest.mark.parametrize("layer", [upsample_conv, conv_downsample])
def test_a_fused_convolution_multiplies_4_of_9_taps_on_a_cpu(layer):
    x, kernel = whole(1, 16, 16, 8), whole(3, 3, 8, 8)
    pixels = 4 * 256 if layer is upsample_conv else 256
    costs = jax.jit(layer).lower(x, kernel).compile().cost_analysis()
    plain = 2 * pixels * 9 * 8 * 8  # and zeros of the padding
    assert 0.35 * plain < costs["flops"] < 0.55 * plain


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("size", [(7, 5), (8, 5), (8, 6)])
def test_maps_are_cropped_before_the_convolution(size, side):
    x, kernel = whole(2, 4, 3, 2), whole(side, side, 2, 3)
    want = conv(nearest(x)[:, : size[0], : size[1]], kernel)
    np.testing.assert_array_equal(upsample_conv(x, kernel, size=size), want)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (1, 1)},
        {"kernel_size": (5, 5)},
        {"kernel_size": (3, 3), "padding": "VALID"},
        {"kernel_size": (3, 3), "kernel_dilation": 2},
        {"kernel_size": (3, 3), "feature_group_count": 2},
        {"kernel_size": (3, 3), "strides": 2},
        {"kernel_size": (3, 3), "padding": 1},
    ],
    ids=str,
)
def test_layers_of_flax_with_any_options(options):
    """Their bias is added once; only a padded 3x3 kernel with stride 1 is fused."""
    x = whole(2, 8, 6, 4)
    plain = nn.Conv(6, bias_init=nn.initializers.normal(1.0), **options)
    variables = plain.init(jax.random.key(0), x)
    up = plain.clone(conv_general_dilated=upsample_conv).apply(variables, x)
    down = plain.clone(conv_general_dilated=conv_downsample).apply(variables, x)
    np.testing.assert_allclose(up, plain.apply(variables, nearest(x)), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(down, pooled(plain.apply(variables, x)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("found", "want"), FUSED, ids=["up", "down"])
def test_half_precision_rounds_the_sums_of_taps_once(found, want):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1, 8, 8, 16)), jnp.bfloat16)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 16, 4)), jnp.bfloat16)
    y = found(x, kernel)
    assert y.dtype == jnp.bfloat16
    exact = want(x.astype(jnp.float32), kernel.astype(jnp.float32))
    error = jnp.abs(y.astype(jnp.float32) - exact).max() / jnp.abs(exact).max()
    assert float(error) < 0.01


def test_several_networks_at_once():
    x, kernels = whole(2, 1, 4, 4, 3), whole(2, 3, 3, 3, 2)
    for layer, plain in FUSED:
        found = jax.vmap(layer)(x, kernels)
        np.testing.assert_array_equal(found, jnp.stack(list(map(plain, x, kernels))))
