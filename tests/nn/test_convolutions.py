"""Networks that resize: sides, normalisation, interpolation, and initial residual blocks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families.dcgan.r3gan import Block, R3GanUp
from genjax.nn import UpStack
from genjax.nn.resampling import average_pool, blur_pool, upsample_linear, upsample_nearest
from genjax.nn.strided import apply_layer, join, normalize


class Spectral(nn.Module):
    """One layer whose weights are brought to a largest singular value of 1."""

    layer: str

    @nn.compact
    def __call__(self, x, train=False):
        made = nn.Dense(3) if self.layer == "dense" else nn.Conv(3, (2, 2))
        return apply_layer("spectral", made, x, train)


@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_spectral_normalisation_divides_by_the_largest_singular_value(layer):
    x = jax.random.normal(jax.random.key(0), (4, 5) if layer == "dense" else (4, 3, 3, 5))
    module = Spectral(layer)
    variables = jax.jit(module.init)(jax.random.key(1), x)

    @jax.jit
    def iterate(stats):
        whole = {"params": variables["params"], "batch_stats": stats}
        return module.apply(whole, x, True, mutable=["batch_stats"])[1]["batch_stats"]

    stats = variables["batch_stats"]
    for _ in range(60):
        stats = iterate(stats)
    kernel = np.asarray(jax.tree.leaves(variables["params"])[1], np.float64)
    largest = np.linalg.norm(kernel.reshape(-1, 3), 2)
    assert abs(largest - 1) > 0.05  # initially it is not 1
    found = module.apply({"params": variables["params"], "batch_stats": stats}, x)
    plain = nn.Dense(3) if layer == "dense" else nn.Conv(3, (2, 2))
    given = next(iter(variables["params"].values()))
    want = plain.apply({"params": {**given, "kernel": given["kernel"] / largest}}, x)
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)


def test_layer_normalisation_is_per_example():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return normalize("layer", x, True, jnp.float32)

    x = 5 + 3 * np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    y = np.asarray(Layer().apply(Layer().init(jax.random.key(0), x), x))
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1, rtol=1e-3)


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 2), (3, 3, 1)])
@pytest.mark.parametrize("module", [UpStack, R3GanUp])
def test_up_to_any_shape(shape, module):
    z = jax.ShapeDtypeStruct((2, 4), jnp.float32)
    x, _ = jax.eval_shape(module(shape, (4, 4)).init_with_output, jax.random.key(0), z)
    assert x.shape == (2, *shape)


def test_a_condition_is_appended_to_every_pixel():
    x, c = np.zeros((2, 3, 3, 4), np.float32), np.eye(2, dtype=np.float32)
    y = join(jnp.asarray(x), jnp.asarray(c))
    assert y.shape == (2, 3, 3, 6)
    np.testing.assert_array_equal(y[1, :, :, 4:], np.broadcast_to([0.0, 1.0], (3, 3, 2)))
    assert join(jnp.asarray(x), None).shape == x.shape


def test_halving_inverts_doubling():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    np.testing.assert_allclose(average_pool(upsample_nearest(x)), x, rtol=1e-6)
    np.testing.assert_allclose(average_pool(x)[:, 1], (x[:, 2, ::2] + x[:, 2, 1::2]) / 2, rtol=1e-6)


def test_interpolation_is_linear_in_both_directions():
    """A ramp stays a ramp away from the edge, a constant a constant; channels do not mix."""
    ramp = np.arange(8, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 8, 1), np.float32)
    x = jnp.asarray(np.concatenate([ramp, np.full_like(ramp, 7)], axis=-1))
    up, down = upsample_linear(x), blur_pool(x)
    assert (up.shape, down.shape) == ((1, 16, 16, 2), (1, 4, 4, 2))
    np.testing.assert_allclose(
        up[0, 2:, 2:, 0], (np.arange(2, 16) / 2 - 0.5)[:, None] + 0 * up[0, 2:, 2:, 0]
    )
    np.testing.assert_allclose(
        down[0, 1:, 1:, 0], np.arange(2, 8, 2)[:, None] + 0 * down[0, 1:, 1:, 0]
    )
    np.testing.assert_allclose(up[0, 2:, 2:, 1], 7)
    np.testing.assert_allclose(down[0, 1:, 1:, 1], 7)
    assert blur_pool(x[:, :7, :7]).shape == (1, 4, 4, 2)


def test_an_initial_block_is_the_identity_and_keeps_the_scale_of_its_layers():
    x = jax.random.normal(jax.random.key(0), (8, 6, 6, 32))
    block = Block(group=16, blocks=1)

    @jax.jit
    def initial(x):
        variables = block.init(jax.random.key(1), x)
        return variables, *block.apply(variables, x, capture_intermediates=True)

    variables, y, inside = initial(x)
    np.testing.assert_array_equal(y, x)
    kernels = [variables["params"][f"Conv_{i}"]["kernel"] for i in range(3)]
    assert [k.shape for k in kernels] == [(1, 1, 32, 64), (3, 3, 16, 64), (1, 1, 64, 32)]
    for i in range(2):  # He's gain undoes the LeakyReLU: variance about 2 / (1 + 0.2^2)
        hidden = inside["intermediates"][f"Conv_{i}"]["__call__"][0]
        assert float(hidden.var()) == pytest.approx(2 / 1.04, rel=0.25)
