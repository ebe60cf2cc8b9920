"""Box-filtered images against Pillow, and blends at and between the ends of a fade."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.nn.image_pyramid import blend, box_downsample, lerp

SIDES = [64, 32, 16, 8, 4]


@pytest.fixture(scope="module")
def images():
    """Integers from 0 to 255, `[2, 3, 64, 64, 3]`: two leading axes."""
    return np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), np.uint8)


def by_pillow(images, side, mode, filtered):
    """Filters channel by channel."""
    factor = images.shape[-2] // side
    planes = np.moveaxis(images, -1, -3).reshape(-1, *images.shape[-3:-1])
    found = [
        Image.fromarray(plane.astype(np.float32) if mode == "F" else plane) for plane in planes
    ]
    if filtered == "reduce":
        found = [plane.reduce(factor) for plane in found]
    else:
        found = [plane.resize((side, side), Image.Resampling.BOX) for plane in found]
    lead = images.shape[:-3]
    return np.moveaxis(np.stack(found).reshape(*lead, images.shape[-1], side, side), -3, -1)


@pytest.mark.parametrize("filtered", ["reduce", "resize"])
@pytest.mark.parametrize("side", SIDES)
def test_every_level_equals_pillows_box_filter(images, side, filtered):
    found = box_downsample(jnp.asarray(images), side)
    assert found.dtype == jnp.float32
    want = by_pillow(images, side, "F", filtered)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-5)
    rounded = by_pillow(images, side, "L", filtered)
    assert rounded.dtype == np.uint8
    roundings = 1 if filtered == "reduce" else 2  # `resize` rounds after each direction
    np.testing.assert_allclose(found, rounded, rtol=0, atol=roundings / 2 + 1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_real_images_equal_pillows_box_filter(images, side):
    real = (images / 127.5 - 1).astype(np.float32)
    found = box_downsample(jnp.asarray(real), side)
    np.testing.assert_allclose(found, by_pillow(real, side, "F", "reduce"), rtol=1e-6, atol=1e-6)


def test_levels_nest_to_the_bit_and_means_of_integers_are_exact(images):
    found = box_downsample(jnp.asarray(images), 4)
    np.testing.assert_array_equal(box_downsample(box_downsample(jnp.asarray(images), 16), 4), found)
    means = images.astype(np.float64).reshape(2, 3, 4, 16, 4, 16, 3).mean((3, 5))
    np.testing.assert_array_equal(np.asarray(found, np.float64), means)
    np.testing.assert_array_equal(box_downsample(jnp.asarray(images), 64), images)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((2, 12, 12, 1), 4), ((8, 4, 1), 4), ((2, 8, 8), 4), ((4, 4, 1), 8), ((4, 4, 1), 0)],
)
def test_rejects_sides_that_no_box_filter_reaches(shape, side):
    with pytest.raises(ValueError, match=rf"with H = {side} times a power of two, got"):
        box_downsample(jnp.ones(shape), side)


def test_blend_is_exact_at_both_ends_and_linear_between(images):
    x = jnp.asarray(images / 127.5 - 1, jnp.float32)
    low = np.kron(box_downsample(x, 32), np.ones((2, 2, 1), np.float32))
    run = jax.jit(chex.assert_max_traces(blend, n=1))  # alpha is an input
    np.testing.assert_array_equal(run(x, jnp.float32(1)), x)
    np.testing.assert_array_equal(run(x, jnp.float32(0)), low)
    np.testing.assert_allclose(run(x, jnp.float32(0.25)), 0.75 * low + 0.25 * x, atol=1e-6)


def test_blend_keeps_the_box_means(images):
    x = jnp.asarray(images, jnp.float32)
    found = box_downsample(blend(x, 0.3), 32)
    np.testing.assert_allclose(found, box_downsample(x, 32), rtol=1e-5)


def test_an_end_of_weight_0_has_no_gradient():
    start, end = jnp.full((3,), 2.0), jnp.full((3,), 5.0, jnp.bfloat16)
    for weight, expected in ((0.0, (1, 0)), (1.0, (0, 1))):
        grads = jax.grad(lambda a, b, w=weight: lerp(a, b, w).sum(), (0, 1))(start, end)
        for found, want in zip(grads, expected, strict=True):
            np.testing.assert_array_equal(found, want)
    assert lerp(start, end, 0.5).dtype == jnp.bfloat16


def test_rejects_blends_of_an_odd_side():
    with pytest.raises(ValueError, match="with H = 2 times a power of two"):
        blend(jnp.ones((1, 5, 5, 1)), 0.5)
