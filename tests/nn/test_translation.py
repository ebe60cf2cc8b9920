"""Networks that translate images: sizes, padding, receptive fields, and colour independence."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.nn.translation import PatchDiscriminator, PixelDiscriminator, ResnetGenerator, up


def parameters(module, side=256, channels=3):
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("module", "channels", "count"),
    [
        (ResnetGenerator(3), 3, 11_378_179),
        (ResnetGenerator(3, blocks=6), 3, 7_837_699),
        (ResnetGenerator(3, blocks=6, upsampling="resize"), 3, 7_837_699),
        (PatchDiscriminator(), 3, 2_764_737),
        (PatchDiscriminator(norm="batch"), 6, 2_768_705),  # of pix2pix
        (PixelDiscriminator(), 3, 8_705),
    ],
)
def test_parameter_counts(module, channels, count):
    assert parameters(module, channels=channels) == count


@pytest.mark.parametrize(
    "module",
    [
        ResnetGenerator(3, 16, 1),
        ResnetGenerator(3, 16, 1, upsampling="resize"),
        PatchDiscriminator(16, norm="batch"),
        PixelDiscriminator(64, norm="batch"),
    ],
    ids=["transposed", "resize", "patch", "pixel"],
)
def test_initial_values(module):
    """Each kernel is of N(0, 0.02), scales are of N(1, 0.02), biases are 0."""
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        where = jax.tree_util.keystr(path)
        if where.endswith("['bias']"):
            assert not leaf.any(), where
        elif leaf.size > 100:
            mean, error = where.endswith("['scale']"), 5 * 0.02 / leaf.size**0.5
            np.testing.assert_allclose(leaf.mean(), mean, atol=error, err_msg=where)
            np.testing.assert_allclose(leaf.std(), 0.02, atol=error, err_msg=where)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_pixel_discriminator_is_the_plain_network(norm):
    """1x1 convolutions: the second is normalised, and has no bias before batch normalisation."""
    module = PixelDiscriminator(2, norm)
    x = np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 2)).astype(np.float32)
    variables = random_arrays(lambda key: {"params": module.init(key, x)["params"]})
    apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    found = jax.jit(apply)(variables, x)[0]
    p = jax.tree.map(np.asarray, variables["params"])

    def conv(x, name):
        return x @ p[name]["kernel"][0, 0] + p[name].get("bias", 0)

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    y, axes = conv(leaky(conv(x, "Conv_0")), "Conv_1"), (1, 2) if norm == "instance" else (0, 1, 2)
    y = (y - y.mean(axes, keepdims=True)) / np.sqrt(y.var(axes, keepdims=True) + 1e-5)
    if norm == "batch":
        y = y * p["BatchNorm_0"]["scale"] + p["BatchNorm_0"]["bias"]
    np.testing.assert_allclose(found, conv(leaky(y), "Conv_2")[..., 0], rtol=1e-3, atol=1e-5)
    assert {name for name in p if "bias" in p[name]} == (
        {"Conv_0", "Conv_1", "Conv_2"} if norm == "instance" else {"Conv_0", "BatchNorm_0"}
    )


def gradient_box(module, x, at):
    """Returns rows and columns of the input that the output at a position depends on."""
    params = random_arrays(lambda key: module.init(key, x))
    grad = jax.jit(jax.grad(lambda x: module.apply(params, x)[(0, *at)].sum()))(x)
    rows, columns = np.nonzero(np.abs(np.asarray(grad)[0]).sum(-1))
    return (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)


@pytest.mark.parametrize(
    ("layers", "field", "side", "logits"), [(2, 34, 80, 18), (3, 70, 112, 12), (1, 16, 33, 14)]
)
def test_patches_have_the_documented_receptive_field(layers, field, side, logits, monkeypatch):
    # Without normalisation, whose statistics depend on every pixel.
    monkeypatch.setattr("genjax.nn.translation.normalize", lambda norm, x, train, dtype: x)
    module, x = PatchDiscriminator(2, layers), jnp.ones((1, side, side, 1))
    shape = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x)[0]).shape
    assert shape == (1, logits, logits)
    middle = logits // 2
    rows, columns = gradient_box(module, x, (middle, middle))
    assert rows[1] - rows[0] == columns[1] - columns[0] == field


def test_pixels_are_discriminated_alone(monkeypatch):
    monkeypatch.setattr("genjax.nn.translation.normalize", lambda norm, x, train, dtype: x)
    pixel = gradient_box(PixelDiscriminator(2), jnp.ones((1, 9, 9, 1)), (4, 7))
    assert pixel == ((4, 5), (7, 8))


def test_upsampling_doubles_the_sides():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 4)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 4, 2)), jnp.float32)
    # Padding 1 and output padding 1: input pixel i meets outputs 2 i - 1 to 2 i + 1.
    full = np.zeros((2, 7, 11, 2), np.float32)
    for i in range(3):
        for j in range(5):
            for a in range(3):
                for b in range(3):
                    # Flax's kernel is that of the convolution of the dilated maps, so reversed.
                    full[:, 2 * i + a, 2 * j + b] += np.asarray(x[:, i, j] @ kernel[2 - a, 2 - b])

    class Up(nn.Module):
        upsampling: str

        @nn.compact
        def __call__(self, x):
            return up(2, self.upsampling, x, jnp.float32)

    variables = {"params": {"ConvTranspose_0": {"kernel": kernel, "bias": jnp.zeros(2)}}}
    got = Up("transposed").apply(variables, x)
    np.testing.assert_allclose(got, full[:, 1:, 1:], atol=1e-5)
    variables = {"params": {"Conv_0": {"kernel": kernel, "bias": jnp.zeros(2)}}}
    resized = Up("resize").apply(variables, x)
    repeated = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
    dimensions = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(
        repeated, kernel, (1, 1), "SAME", dimension_numbers=dimensions
    )
    np.testing.assert_allclose(resized, expected, atol=1e-4)


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_a_generator_keeps_every_size_that_divides(upsampling):
    module = ResnetGenerator(2, width=2, blocks=1, upsampling=upsampling)
    params = random_arrays(lambda key: module.init(key, jnp.zeros((1, 8, 8, 2))))
    run = jax.jit(module.apply)
    for height, width in ((8, 8), (12, 20)):
        x = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (2, height, width, 2)), jnp.float32)
        y = run(params, x)
        assert y.shape == x.shape
        assert float(jnp.abs(y).max()) <= 1
        # Nothing depends on the other images of a batch.
        np.testing.assert_allclose(run(params, x.at[1].set(0))[0], y[0], atol=1e-5)


def test_bfloat16_networks_have_float32_outputs():
    x = jnp.zeros((1, 16, 16, 1))
    for module in (
        ResnetGenerator(1, 2, 1, dtype=jnp.bfloat16),
        PatchDiscriminator(2, 2, dtype=jnp.bfloat16),
        PatchDiscriminator(2, 2, "batch", dtype=jnp.bfloat16),
        PixelDiscriminator(2, dtype=jnp.bfloat16),
    ):
        out = jax.eval_shape(lambda m=module: m.init_with_output(jax.random.key(0), x)[0])
        assert out.dtype == jnp.float32
