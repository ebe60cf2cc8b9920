"""Residual networks of WGAN-GP and R3GAN against plain versions of them, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import random_arrays

from genjax.families import dcgan
from genjax.families.dcgan.r3gan import BLOCKS, GAIN, R3GanDown, R3GanUp
from genjax.families.dcgan.residual import ResidualDown, ResidualUp

OURS = np.random.default_rng(0)


def conv(x, p):
    """Same padding, stride 1."""
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    return np.asarray(y) + np.asarray(p.get("bias", 0))


def twice(x):
    return np.kron(x, np.ones((1, 2, 2, 1), np.float32))


def half(x):
    n, h, w, c = x.shape
    return np.asarray(x).reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def relu(x):
    return np.maximum(x, 0)


def test_up_is_wgan_gps_generator():
    """x + conv(relu(norm(conv(up(relu(norm(x))))))), and a 1x1 convolution on the way round."""
    module, z = ResidualUp((8, 8, 2), (5, 4)), OURS.normal(size=(3, 6)).astype(np.float32)
    variables = random_arrays(lambda key: module.init(key, jnp.zeros((1, 6))), scale=0.5)
    p, stats = variables["params"], variables["batch_stats"]
    stats = jax.tree.map(lambda s: jnp.abs(s) + 0.5, stats)

    def active(x, i):
        norm, seen = p[f"BatchNorm_{i}"], stats[f"BatchNorm_{i}"]
        x = (np.asarray(x) - np.asarray(seen["mean"])) / np.sqrt(np.asarray(seen["var"]) + 1e-5)
        return relu(x * np.asarray(norm["scale"]) + np.asarray(norm["bias"]))

    dense = jax.tree.map(np.asarray, p["Dense_0"])
    x = (z @ dense["kernel"] + dense["bias"]).reshape(3, 2, 2, 5)
    for i in range(2):
        y = conv(twice(active(x, 2 * i)), p[f"Conv_{3 * i}"])
        y = conv(active(y, 2 * i + 1), p[f"Conv_{3 * i + 1}"])
        x = conv(twice(x), p[f"Conv_{3 * i + 2}"]) + y
    want = conv(active(x, 4), p["Conv_6"])
    found = module.apply({"params": p, "batch_stats": stats}, z)
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=1e-4)


def test_down_is_wgan_gps_critic():
    """All blocks but the last two halve; the first has no ReLU before it, and halves first."""
    module, x = ResidualDown((3, 4, 4, 4)), OURS.normal(size=(2, 8, 8, 2)).astype(np.float32)
    p = random_arrays(lambda key: module.init(key, jnp.zeros((1, 8, 8, 2))), scale=0.5)["params"]
    maps = []
    y = half(conv(relu(conv(x, p["Conv_0"])), p["Conv_1"]))
    maps.append(conv(half(x), p["Conv_2"]) + y)
    y = half(conv(relu(conv(relu(maps[0]), p["Conv_3"])), p["Conv_4"]))
    maps.append(half(conv(maps[0], p["Conv_5"])) + y)
    for i in (6, 8):
        maps.append(maps[-1] + conv(relu(conv(relu(maps[-1]), p[f"Conv_{i}"])), p[f"Conv_{i + 1}"]))
    assert len(p) == 10
    found = module.apply({"params": p}, x)
    assert [m.shape[1] for m in found] == [4, 2, 2, 2]
    for got, want in zip(found, maps, strict=True):
        np.testing.assert_allclose(got, relu(want), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("norm", "pool"), [("none", "mean"), ("layer", "mean"), ("spectral", "sum")]
)
def test_the_last_map_is_averaged_or_summed_with_spectral_normalisation(norm, pool):
    config = dcgan.Config(
        shape=(8, 8, 1),
        latent=4,
        network="residual",
        generator_widths=(4,),
        discriminator_widths=(3, 4, 4),
        discriminator_norm=norm,
    )
    variables = random_arrays(lambda key: dcgan.init(config, key), scale=0.5)
    own = {c: variables[c]["discriminator"] for c in variables if "discriminator" in variables[c]}
    x = jnp.asarray(OURS.normal(size=(3, 8, 8, 1)), jnp.float32)
    logits, maps = dcgan.Discriminator(config).apply(own, x)
    kernel, bias = (np.asarray(own["params"]["Dense_0"][name]) for name in ("kernel", "bias"))
    if norm == "spectral":  # of one column, the largest singular value is its length
        kernel = kernel / np.linalg.norm(kernel)
    pooled = getattr(np.asarray(maps[-1]), pool)(axis=(1, 2))
    want = pooled @ kernel[:, 0] + bias
    np.testing.assert_allclose(logits, want, rtol=1e-4)


def shapes(config):
    return jax.eval_shape(lambda key: dcgan.init(config, key), jax.random.key(0))["params"]


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_sngans_networks_have_their_size():
    """Table 4 of Miyato et al. 2018: 128 -> 4x4x256 and three blocks; four blocks of 128."""
    from experiments.sngan_cifar10 import SCORE

    p = shapes(SCORE.model)
    norms = 7 * 2 * 256
    block = 9 * 256 * 256 + (9 * 256 * 256 + 256) + (256 * 256 + 256)
    dense, last = 129 * 16 * 256, 9 * 256 * 3 + 3
    assert count(p["generator"]) == dense + 3 * block + norms + last
    same = 2 * (9 * 128 * 128 + 128)
    first = (9 * 3 * 128 + 128) + (9 * 128 * 128 + 128) + (3 * 128 + 128)
    assert count(p["discriminator"]) == first + 3 * same + (128 * 128 + 128) + 129


def test_r3gans_networks_have_their_size():
    """Four stages of two blocks at 4, 8, 16 and 32, 768 channels, 3x3 convolutions in groups."""
    from experiments.r3gan_cifar10 import RECIPES

    p = shapes(RECIPES["paper"].model)
    assert p["generator"]["NormlessUp_0"]["basis"].shape == (4, 4, 768)
    block = (768 * 1536 + 1536) + (9 * 16 * 1536 + 1536) + 1536 * 768
    assert count(p["generator"]) == 16 * 768 + 74 * 768 + 8 * block + 768 * 3
    embedding, head = 10 * 768, 768
    assert count(p["discriminator"]) == 3 * 768 + 8 * block + 16 * 768 + embedding + head


@pytest.mark.parametrize("module", [R3GanUp((16, 16, 1), (16, 16, 8)), R3GanDown((8, 16, 16))])
def test_r3gan_initial_weights_decrease_with_the_number_of_blocks(module):
    x = jnp.zeros((1, 4) if isinstance(module, R3GanUp) else (1, 16, 16, 1))
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    blocks = [p for name, p in params.items() if name.startswith("Block")]
    assert len(blocks) == 3 * BLOCKS
    gain = GAIN * (3 * BLOCKS) ** (-1 / 4)
    for i in range(2):
        whole = [
            k * np.sqrt(np.prod(k.shape[:3])) for k in (b[f"Conv_{i}"]["kernel"] for b in blocks)
        ]
        assert np.concatenate([k.ravel() for k in whole]).std() == pytest.approx(gain, rel=0.05)
    assert not any(np.any(b["Conv_2"]["kernel"]) for b in blocks)


def test_r3gan_maps_halve_after_each_stage_but_the_last():
    module, x = R3GanDown((8, 8, 8)), jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    *maps, out = jax.eval_shape(module.init_with_output, jax.random.key(0), x)[0]
    assert [m.shape for m in maps] == [(2, 16, 16, 8), (2, 8, 8, 8), (2, 4, 4, 8)]
    assert out.shape == (2, 8)
    assert dcgan.generator_widths(dcgan.Config(network="r3gan", discriminator_norm="none")) == (
        1024,
        1024,
        512,
        256,
        128,
    )
