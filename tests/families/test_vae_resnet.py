"""Residual networks: sizes, shortcuts, and dependence on every pixel."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from support.helpers import random_arrays

from genjax.families.vae.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def convolve(params, x, stride=1):
    """3x3 cross-correlation of one image `[H, W, C]` with a border of zeros, in float64."""
    kernel, bias = (np.asarray(params[k], np.float64) for k in ("kernel", "bias"))
    out = [
        sum(
            signal.correlate(np.pad(x[..., i], 1), kernel[:, :, i, o], "valid")
            for i in range(x.shape[-1])
        )
        for o in range(kernel.shape[-1])
    ]
    return np.stack(out, axis=-1)[::stride, ::stride] + bias


@pytest.mark.parametrize("halve", [False, True])
def test_block_is_two_convolutions_with_a_shortcut(halve):
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 3))
    block = ResidualBlock(3, halve=halve)
    variables = random_arrays(block.init, jnp.zeros((1, 5, 4, 3)))
    p = variables["params"]
    stride = 2 if halve else 1
    h = convolve(p["conv_1"], elu(convolve(p["conv_0"], elu(x[0]), stride)))
    short = x[0]
    if halve:
        kernel, bias = (np.asarray(p["shortcut"][k], np.float64) for k in ("kernel", "bias"))
        short = x[0, ::2, ::2] @ kernel[0, 0] + bias
    else:
        assert "shortcut" not in p  # an identity
    got = block.apply(variables, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got[0], short + h, rtol=1e-4, atol=1e-4)


def test_growing_block_repeats_pixels_and_crops():
    block = ResidualBlock(2, size=(5, 6))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 2)), jnp.float32)
    zeros = jax.tree.map(jnp.zeros_like, random_arrays(block.init, x))  # the shortcut only
    want = np.repeat(np.repeat(np.asarray(x), 2, 1), 2, 2)[:, :5, :6]
    np.testing.assert_array_equal(block.apply(zeros, x), want)


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 2), (3, 3, 1)])
def test_encoder_and_decoder_of_any_size(shape):
    """The encoder rounds halves up, so the decoder crops."""
    encoder = ResNetEncoder((3, 4, 5), 1, (6,), 7)
    decoder = ResNetDecoder(shape[:2], (3, 4, 5), 1, (6,), 2 * shape[2])

    def both(key, x):
        variables = encoder.init(key, x)
        z = encoder.apply(variables, x)
        return variables, z, decoder.apply(decoder.init(key, z), z)

    variables, z, out = jax.eval_shape(both, jax.random.key(0), jnp.zeros((2, *shape)))
    assert (z.shape, z.dtype) == ((2, 7), jnp.float32)
    assert (out.shape, out.dtype) == ((2, *shape[:2], 2 * shape[2]), jnp.float32)
    sides = [math.ceil(math.ceil(s / 2) / 2) for s in shape[:2]]
    kernel = variables["params"]["dense"]["hidden_0"]["kernel"]
    assert kernel.shape == (sides[0] * sides[1] * 5, 6)


def test_encoder_and_decoder_depend_on_every_pixel():
    shape = (7, 5, 1)
    encoder = ResNetEncoder((3, 4), 1, (6,), 7)
    decoder = ResNetDecoder(shape[:2], (3, 4), 1, (6,), 1)
    x = jnp.eye(36)[:, :35].reshape(36, *shape)  # one pixel each, and zeros
    first = random_arrays(encoder.init, x)
    outputs = np.asarray(jax.jit(encoder.apply)(first, x))
    assert (np.abs(outputs[:35] - outputs[35:]).max(axis=1) > 1e-4).all()
    z = jnp.array([[0.0] * 7, [1.0] * 7])
    second = random_arrays(decoder.init, z)
    made = np.asarray(jax.jit(decoder.apply)(second, z))
    assert (np.abs(made[0] - made[1]) > 1e-4).all()


def test_the_condition_joins_the_dense_layers():
    x, labels = jnp.ones((2, 4, 4, 1)), jnp.eye(2)
    encoder = ResNetEncoder((3,), 1, (6,), 2)
    variables = random_arrays(encoder.init, x, labels)
    one, other = jax.jit(encoder.apply)(variables, x, labels)
    assert float(jnp.abs(one - other).max()) > 1e-2


def test_bfloat16_is_for_the_hidden_layers_only():
    decoder = ResNetDecoder((4, 4), (3, 4), 1, (6,), 1, jnp.bfloat16)
    variables = random_arrays(decoder.init, jnp.ones((2, 3)))
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    out, state = decoder.apply(
        variables,
        jnp.ones((2, 3)),
        capture_intermediates=lambda module, _: isinstance(module, nn.Conv),
    )
    inner = state["intermediates"]
    assert out.dtype == jnp.float32
    assert inner["last"]["__call__"][0].dtype == jnp.float32
    assert inner["level_0_0"]["conv_0"]["__call__"][0].dtype == jnp.bfloat16
