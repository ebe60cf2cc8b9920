"""Operation counts equal counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.flops import count, exact, work
from genjax.families import dcgan, nade


def test_counts_products_in_full_float32():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))

    def both(a, b):
        full = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return jax.lax.scan(lambda c, _: (c + full + a @ b, None), full, None, length=2)[0]

    assert count(both, a, b) == 120 + 2 * 120
    assert count(both, a, b, only=exact) == 120
    assert count(lambda a, b: a @ b, a, b, only=exact) == 0
    assert work(both, a, b)[:2] == (3 * 120, 120)


def test_counts_products_convolutions_and_loops():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    assert count(jnp.dot, a, b) == 2 * 3 * 4 * 5
    assert count(jax.jit(lambda a, b: jnp.tanh(a @ b) + 1), a, b) == 120
    batched = jnp.zeros((7, 3, 4)), jnp.zeros((7, 4, 5))
    assert count(jnp.matmul, *batched) == 7 * 120

    def loop(a, b):
        return jax.lax.scan(lambda c, _: (c @ b[:, :4], None), a, None, length=6)[0]

    assert count(loop, a, b) == 6 * 2 * 3 * 4 * 4

    def choose(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a @ b + a @ b)

    assert count(choose, a, b) == 2 * 120

    def convolve(x, k, **settings):
        return jax.lax.conv_general_dilated(
            x, k, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings
        )

    x, k = jnp.zeros((2, 8, 8, 3)), jnp.zeros((5, 5, 3, 6))
    assert count(lambda x, k: convolve(x, k, window_strides=(1, 1)), x, k) == 2 * 128 * 75 * 6
    assert count(lambda x, k: convolve(x, k, window_strides=(2, 2)), x, k) == 2 * 32 * 75 * 6
    grouped = jnp.zeros((5, 5, 1, 6))
    depthwise = lambda x, k: convolve(x, k, window_strides=(1, 1), feature_group_count=3)  # noqa: E731
    assert count(depthwise, x, grouped) == 2 * 128 * 25 * 6


def test_platform_dependent_code_counts_the_platforms_branch():
    a = jnp.zeros((3, 3))

    def choose(a):
        return jax.lax.platform_dependent(a, cpu=lambda a: a @ a, default=lambda a: a @ a @ a @ a)

    def slope(a):
        return jax.grad(lambda a: choose(a).sum())(a)

    assert count(choose, a) == count(choose, a, platform="cpu") == 54
    assert count(choose, a, platform="cuda") == 3 * 54
    # Forward and backward passes use the same branch.
    assert count(slope, a, platform="cpu") == 3 * 54
    assert count(slope, a, platform="tpu") == 9 * 54
    assert work(choose, a, platform="cuda")[0] == 3 * 54


def test_bytes_of_arguments_results_and_products():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5), jnp.bfloat16)

    def moved(function, *args):
        return work(function, *args)[2]

    ends = 4 * 12 + 2 * 20
    # Operations between products are not counted.
    assert moved(lambda a, b: jnp.tanh(a * 2 + 1), a, b) == ends + 4 * 12
    product = 4 * 12 + 4 * 20 + 4 * 15
    mixed = lambda a, b: jnp.tanh(jnp.dot(a, b.astype(jnp.float32)))  # noqa: E731
    assert moved(mixed, a, b) == ends + product + 4 * 15

    def loop(a, b):
        square = b[:, :4]
        return jax.lax.scan(lambda c, _: (c.astype(b.dtype) @ square, None), a, None, length=6)[0]

    each = 2 * (12 + 16 + 12)
    assert moved(loop, a.astype(b.dtype), b) == 2 * 12 + 2 * 20 + 2 * 12 + 6 * each
    key = jax.random.key(0)
    assert moved(lambda key: jax.random.normal(key, (7,)), key) == key.dtype.itemsize + 4 * 7


def test_transposed_convolution_counts_as_its_convolution():
    """Upsampling costs as much as downsampling: inserted zeros are not counted."""
    x, k = jnp.zeros((2, 8, 8, 3)), jnp.zeros((4, 4, 3, 6))
    up = lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "SAME")  # noqa: E731
    assert count(up, x, k) == 2 * (2 * 16 * 16) * 6 * 3 * 16 // 4


def test_counts_gradients_of_two_layers():
    """Forward pass, both kernel gradients, and the input gradient of the second layer."""
    first, second, x = jnp.zeros((5, 7)), jnp.zeros((7, 3)), jnp.zeros((4, 5))
    one, two = 2 * 4 * 5 * 7, 2 * 4 * 7 * 3

    def total(first, second):
        return (jnp.tanh(x @ first) @ second).sum()

    assert count(total, first, second) == one + two
    assert count(jax.grad(total, argnums=(0, 1)), first, second) == 2 * one + 3 * two


def test_nade_blocks_count_as_often_as_they_run():
    config = nade.Config(shape=(16,), hidden=8)
    variables = nade.init(config, jax.random.key(0))
    # Four blocks of four steps: products inside a block, every hidden unit's logit, the sum.
    each = 2 * 4 * (4 * 4 * 8 + 4 * 8 + 4 * 8)
    log_prob = lambda v: nade.log_prob(config, v, jnp.zeros((4, 16)))  # noqa: E731
    assert count(log_prob, variables, platform="cuda") == 4 * each
    # On a CPU, pixel by pixel, only the logits are products.
    assert count(log_prob, variables, platform="cpu") == 16 * 2 * 4 * 8


def test_dcgan_of_the_paper():
    config = dcgan.Config()
    shapes = jax.eval_shape(lambda k: dcgan.init(config, k), jax.random.key(0))
    z = jax.ShapeDtypeStruct((1, 100), jnp.float32)
    # A CPU multiplies some zeros in the last layer.
    found = count(lambda v, z: dcgan.generate(config, v, z), shapes, z, platform="cuda")
    # 100 to 4x4x1024; then 5x5 kernels from every pixel of the smaller map to every channel.
    maps = [(4, 1024, 512), (8, 512, 256), (16, 256, 128), (32, 128, 3)]
    want = 2 * 100 * 16 * 1024 + sum(2 * s * s * 25 * i * o for s, i, o in maps)
    assert found == pytest.approx(want, rel=1e-6)
