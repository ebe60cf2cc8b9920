"""The progressive GAN's skip generator and residual discriminator, which do not grow."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from genjax.core import GanObjective, init_state, make_step, with_alpha
from genjax.families import progressive
from genjax.families.progressive.skip_residual import (
    ResidualBlock,
    ResidualDiscriminator,
    SkipGenerator,
)
from genjax.nn.equalized import EqualizedConv
from genjax.nn.resampling import average_pool

# Channels of sides 4, 8, 16 and 32: 16, 16, 8 and 4.
CONFIG = progressive.Config(
    shape=(32, 32, 3), architecture="skip_residual", latent=8, base=64, max_width=16, group=2
)
SMALL = dataclasses.replace(CONFIG, shape=(8, 8, 3), base=16, max_width=6)
NON_SATURATING = GanObjective(loss="non_saturating", r1=10.0)


def count(variables):
    return sum(a.size for a in jax.tree.leaves(variables["params"]))


def random_biases(variables):
    """Replaces the biases, all 0 initially, by random numbers."""
    keys = iter(jax.random.split(jax.random.key(9), 99))
    draw = lambda path, a: jax.random.normal(next(keys), a.shape) if "bias" in str(path) else a  # noqa: E731
    return jax.tree_util.tree_map_with_path(draw, variables)


def test_number_of_parameters_at_32_pixels_by_hand():
    variables = jax.eval_shape(lambda key: progressive.init(CONFIG, key), jax.random.key(0))
    conv = lambda i, o: 9 * i * o + o  # noqa: E731
    rgb = sum(3 * width + 3 for width in (16, 16, 8, 4))
    generator = (
        *(8 * 16 * 16 + 16, conv(16, 16)),  # 4x4: a dense layer to 16 pixels, a convolution
        *(conv(16, 16), conv(16, 16), conv(16, 8), conv(8, 8), conv(8, 4), conv(4, 4)),
    )
    discriminator = (
        3 * 4 + 4,
        *(conv(4, 4), conv(4, 8), 4 * 8),  # a block: two convolutions and the skip without biases
        *(conv(8, 8), conv(8, 16), 8 * 16),
        *(conv(16, 16), conv(16, 16), 16 * 16),
        *(conv(16 + 1, 16), 4 * 4 * 16 * 16 + 16, 16 + 1),  # with the standard deviation
    )
    params = variables["params"]
    assert count({"params": params["generator"]}) == sum(generator) + rgb
    assert count({"params": params["discriminator"]}) == sum(discriminator)


@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_the_image_is_the_sum_of_the_upsampled_rgb_layers(output):
    """With the RGB layers of all other sides at 0, each one gives its summand."""
    config = dataclasses.replace(CONFIG, output=output, shape=(16, 16, 3), base=16, max_width=4)
    generator = SkipGenerator(config, 16)
    z = jax.random.normal(jax.random.key(1), (2, 8))
    params = random_biases(generator.init(jax.random.key(0), z))["params"]
    assert set(params) == {f"{rgb}{s}x{s}" for s in (4, 8, 16) for rgb in ("", "rgb_")}
    blocks = {name: layers for name, layers in params.items() if not name.startswith("rgb")}
    heads = {name: layers for name, layers in params.items() if name.startswith("rgb")}
    silent = jax.tree.map(jnp.zeros_like, heads)
    parts = []
    run = jax.jit(SkipGenerator(dataclasses.replace(config, output="linear"), 16).apply)
    for side in (4, 8, 16):
        name = f"rgb_{side}x{side}"
        part = np.asarray(run({"params": {**blocks, **silent, name: heads[name]}}, z))
        pixels = part[:, :: 16 // side, :: 16 // side]
        square = np.ones((1, 16 // side, 16 // side, 1), np.float32)
        np.testing.assert_array_equal(part, np.kron(pixels, square))
        assert np.ptp(pixels, axis=(1, 2)).min() > 0.01
        parts.append(part)
    want = np.sum(parts, axis=0)
    image = jax.jit(generator.apply)({"params": params}, z)
    np.testing.assert_allclose(image, np.tanh(want) if output == "tanh" else want, atol=1e-5)


def test_a_smaller_generator_is_the_sum_without_the_last_rgb_layer():
    z = jax.random.normal(jax.random.key(1), (2, 8))
    variables = SkipGenerator(SMALL, 8).init(jax.random.key(0), z)
    variables["params"]["rgb_8x8"] = jax.tree.map(jnp.zeros_like, variables["params"]["rgb_8x8"])
    small = SkipGenerator(SMALL, 4).apply(variables, z)
    image = SkipGenerator(SMALL, 8).apply(variables, z)
    np.testing.assert_allclose(image, np.kron(small, np.ones((1, 2, 2, 1))), rtol=1e-6)


def test_a_block_is_the_sum_of_its_layers_and_the_skip_by_root_2():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    block = ResidualBlock(SMALL, 8)
    params = random_biases(block.init(jax.random.key(1), x, True))["params"]
    conv, down, skip = params["layers"]["conv"], params["layers"]["down"], params["skip"]
    assert set(skip) == {"kernel"}
    h = nn.leaky_relu(EqualizedConv(4).apply({"params": conv}, x), 0.2)
    h = nn.leaky_relu(average_pool(EqualizedConv(6).apply({"params": down}, h)), 0.2)
    straight = average_pool(x) @ skip["kernel"][0, 0] / math.sqrt(3)
    y = block.apply({"params": params}, x, True)
    np.testing.assert_allclose(y, (h + straight) / math.sqrt(2), rtol=1e-4, atol=1e-5)
    params["layers"] = jax.tree.map(jnp.zeros_like, params["layers"])
    y = block.apply({"params": params}, x, True)
    np.testing.assert_allclose(y, straight / math.sqrt(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_checkpointed_gradients_are_those_without(network):
    config = dataclasses.replace(SMALL, classes=2)
    condition = jax.nn.one_hot(jnp.array([0, 1]), 2)
    if network == "generator":
        module, inputs = SkipGenerator, (jax.random.normal(jax.random.key(0), (2, 8)), condition)
    else:
        module, inputs = (
            ResidualDiscriminator,
            (jnp.ones((2, 8, 8, 3)) * jnp.array([1, 2])[:, None, None, None],),
        )
    found = []
    for remat in (False, True):
        layers = module(dataclasses.replace(config, remat=remat), 8)
        variables = layers.init(jax.random.key(1), *inputs)

        def loss(variables, layers=layers):
            outputs = layers.apply(variables, *inputs)
            return sum((a**2).sum() for a in jax.tree.leaves(outputs)) / 2

        text = str(jax.make_jaxpr(jax.grad(loss))(variables))
        assert ("remat" in text or "checkpoint" in text) == remat
        found.append(flatten_dict(jax.jit(jax.grad(loss))(variables)))
    for path, gradient in found[0].items():
        np.testing.assert_allclose(found[1][path], gradient, rtol=1e-4, atol=1e-4)


def test_a_run_has_one_stage_at_the_full_side():
    assert [len(progressive.stages(CONFIG, 4, steps)) for steps in (1, 10**6)] == [1, 1]
    (stage,) = progressive.stages(CONFIG, 4, 100)
    assert (stage.first, stage.steps, stage.fade, stage.batch_size) == (0, 100, 0, 4)
    assert stage.alpha(0) == stage.alpha(99) == 1
    variables = progressive.init(SMALL, jax.random.key(0))
    assert progressive.side(variables) == 8
    with pytest.raises(ValueError, match="the networks have their full side, 8x8"):
        progressive.grow(SMALL, variables, jax.random.key(1))


@pytest.mark.parametrize("objective", [progressive.Config().objective, NON_SATURATING])
def test_a_step_changes_every_parameter_and_stays_finite(objective):
    config = dataclasses.replace(SMALL, objective=objective, classes=2)
    optimizer = {name: optax.adam(1e-3) for name in ("discriminator", "generator")}
    state = init_state(progressive, config, optimizer, jax.random.key(0), ema=True)
    x = jax.random.uniform(jax.random.key(1), (4, 8, 8, 3), minval=-1.0)
    batch = {"x": x, "label": jnp.array([0, 1, 1, 0])}
    new, metrics = jax.jit(make_step(progressive, config, optimizer))(state, batch)
    for name, value in metrics.items():
        assert np.isfinite(value), name
    before, after = (flatten_dict(s.variables["params"]) for s in (state, new))
    for path, a in before.items():
        assert np.isfinite(after[path]).all(), path
        assert np.any(after[path] != a), path


def test_samples_have_the_full_side_and_alpha_has_no_effect():
    variables = progressive.init(SMALL, jax.random.key(0))
    z = progressive.noise(SMALL, jax.random.key(1), 2)
    image = progressive.generate(SMALL, variables, z)
    assert image.shape == (2, 8, 8, 3)
    half = with_alpha(variables, 0.5)
    np.testing.assert_array_equal(progressive.generate(SMALL, half, z), image)
    logits = progressive.discriminate(SMALL, variables, image)
    np.testing.assert_array_equal(progressive.discriminate(SMALL, half, image), logits)
    growing = dataclasses.replace(SMALL, architecture="growing")
    assert set(progressive.init(growing, jax.random.key(0))["params"]["generator"]) == {
        "4x4",
        "rgb_4x4",
    }
