"""Transposed convolutions by remainders: values, gradients, shapes, and that nothing is dilated."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.causal import NHWC
from genjax.nn.transposed import ConvTranspose, transposed_conv

# Kernel and strides: even and odd, longer and shorter than the stride, different along the axes.
SIZES = [
    *[((4, 4), (2, 2)), ((5, 5), (2, 2)), ((3, 3), (2, 2)), ((2, 3), (2, 2))],
    *[((2, 3), (1, 2)), ((4, 4), (4, 4)), ((5, 2), (3, 1)), ((1, 2), (2, 3)), ((1, 1), (1, 1))],
]


def drawn(kernel, side=(3, 4), inputs=3, outputs=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *side, inputs)).astype(np.float32)
    return x, rng.normal(size=(*kernel, inputs, outputs)).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_values_and_gradients_are_those_of_a_dilated_convolution(kernel, strides, padding):
    x, k = drawn(kernel)

    def dilated(x, k):
        return jax.lax.conv_transpose(x, k, strides, padding, dimension_numbers=NHWC)

    def ours(x, k):
        return transposed_conv(x, k, strides, padding)

    want = dilated(x, k)
    weight = np.random.default_rng(1).normal(size=want.shape).astype(np.float32)

    def gradients(f):
        return jax.jit(jax.grad(lambda x, k: jnp.sum(f(x, k) * weight), (0, 1)))(x, k)

    np.testing.assert_allclose(jax.jit(ours)(x, k), want, atol=1e-5)
    for found, asked in zip(gradients(ours), gradients(dilated), strict=True):
        np.testing.assert_allclose(found, asked, atol=2e-5)


def test_values_by_the_definition():
    """Every pixel lays the kernel down, turned round, `stride` places from the last one's."""
    x, k = drawn((4, 3))
    want = np.zeros((2, 2 * 2 + 4, 2 * 3 + 3, 2))
    for row in range(3):
        for column in range(4):
            laid = np.einsum("bi,hwio->bhwo", x[:, row, column].astype(np.float64), k[::-1, ::-1])
            want[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 3] += laid
    found = jax.jit(transposed_conv, static_argnums=(2, 3))(x, k, (2, 2), "VALID")
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_the_layer_has_flax_parameters_and_values(padding):
    x, _ = drawn((5, 5))
    ours = ConvTranspose(2, (5, 5), (2, 2), padding)
    theirs = nn.ConvTranspose(2, (5, 5), (2, 2), padding)
    variables = jax.jit(theirs.init)(jax.random.key(0), x)
    again = jax.jit(ours.init)(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    variables["params"]["bias"] += jnp.array([1.0, -2.0])
    found, want = ours.apply(variables, x), theirs.apply(variables, x)
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_nothing_is_dilated_on_cpu():
    """Not on the way back either: XLA has no quick program for it there."""
    x, k = drawn((4, 4))
    step = jax.grad(lambda x, k: jnp.sum(transposed_conv(x, k, (2, 2), "SAME") ** 2), (0, 1))

    def spread(f):
        text = jax.jit(f).trace(x, k).lower(lowering_platforms=("cpu",)).as_text()
        assert "stablehlo.convolution" in text
        return [s for s in ("lhs_dilate = [2", "rhs_dilate = [2") if s in text]

    assert spread(step) == []
    by_xla = lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=NHWC)  # noqa: E731
    assert spread(by_xla) == ["lhs_dilate = [2"]
