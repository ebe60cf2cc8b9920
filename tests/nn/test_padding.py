"""Padding against `numpy.pad`, with gradients, odd sizes and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.padding import pad

SIZES = [1, 2, 0, ((0, 2), (1, 0)), ((2, 1), (0, 3))]


def whole(*shape):
    """Integers: sums of them are exact in float32."""
    return np.random.default_rng(len(shape)).integers(-9, 9, shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
@pytest.mark.parametrize("size", SIZES)
def test_equals_numpy_and_so_does_its_transpose(size, mode):
    x = whole(2, 3, 5, 2)
    sides = ((size, size), (size, size)) if isinstance(size, int) else size
    kind = {"zero": "constant"}.get(mode, mode)
    want = np.pad(x, ((0, 0), *sides, (0, 0)), mode=kind)
    y, pull = jax.vjp(lambda x: pad(x, size, mode), jnp.asarray(x))
    np.testing.assert_array_equal(y, want)
    # Every output is one input or 0: the gradient sums the outputs of an input.
    places = np.pad(np.arange(1, 16).reshape(3, 5), sides, mode=kind)
    ct = whole(*want.shape)
    grad = np.stack([ct[:, places == i].sum(1) for i in range(1, 16)], 1)
    np.testing.assert_array_equal(pull(jnp.asarray(ct))[0], grad.reshape(x.shape))


def test_reflection_needs_more_pixels_than_it_adds():
    with pytest.raises(ValueError, match="more than 3 pixels per side, the maps have 4x3"):
        pad(jnp.ones((1, 4, 3, 1)), 3, "reflect")
    with pytest.raises(ValueError, match="the maps have 1x8"):
        pad(jnp.ones((1, 1, 8, 1)), 1, "reflect")
    assert pad(jnp.ones((1, 4, 4, 1)), 3, "reflect").shape == (1, 10, 10, 1)


@pytest.mark.parametrize(
    ("shape", "size", "mode", "words"),
    [
        ((4, 4, 3), 1, "zero", r"maps must be \[B, H, W, C\]"),
        ((1, 0, 4, 3), 1, "reflect", "H and W above 0"),
        ((1, 4, 4, 3), ((-1, 0), (0, 0)), "zero", "is negative; crop"),
        ((1, 4, 4, 3), 1, "edge", "must be zero or reflect, got 'edge'"),
    ],
)
def test_rejects(shape, size, mode, words):
    with pytest.raises(ValueError, match=words):
        pad(jnp.ones(shape), size, mode)
