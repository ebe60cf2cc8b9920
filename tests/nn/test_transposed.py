"""Strided convolutions and their transposes: values, gradients, and no zeros to multiply."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn import transposed
from genjax.nn.causal import NHWC
from genjax.nn.transposed import ConvTranspose, strided_conv, transposed_conv

# Kernel and strides: even and odd, longer and shorter than the stride, different along the axes.
SIZES = [
    *[((4, 4), (2, 2)), ((5, 5), (2, 2)), ((3, 3), (2, 2)), ((2, 3), (2, 2))],
    *[((2, 3), (1, 2)), ((4, 4), (4, 4)), ((5, 2), (3, 1)), ((1, 2), (2, 3)), ((1, 1), (1, 1))],
]


def drawn(kernel, side=(3, 4), inputs=3, outputs=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *side, inputs)).astype(np.float32)
    return x, rng.normal(size=(*kernel, inputs, outputs)).astype(np.float32)


def check(ours, theirs, x, k, twice=False):
    """Values, slopes forwards and backwards, and where asked a slope of a slope."""
    want = theirs(x, k)
    rng = np.random.default_rng(1)
    weight, dx, dk = (rng.normal(size=a.shape).astype(np.float32) for a in (want, x, k))

    def gradients(f):
        return jax.grad(lambda x, k: jnp.sum(f(x, k) ** 2 * weight), (0, 1))

    def again(f):
        return jax.grad(lambda x, k: sum(jnp.sum(g**2) for g in gradients(f)(x, k)), (0, 1))

    def all_of(f):
        slopes = (again if twice else gradients)(f)(x, k)
        return f(x, k), jax.jvp(f, (x, k), (dx, dk))[1], slopes

    found, asked = (jax.tree.leaves(jax.jit(all_of, static_argnums=0)(f)) for f in (ours, theirs))
    for a, b in zip(found, asked, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))


def way(name):
    """The layer as it is here, or one of the ways in which a GPU has it."""
    if name == "as_gradient":  # by the rule of both ways, as transposed_conv has it there

        def both(x, k, strides, padding):
            ways = (transposed._as_gradient, transposed._by_remainder)
            by = [functools.partial(_with, f, strides, padding) for f in ways]
            return transposed.each_its_way(*by, x, k)

        return both
    return transposed_conv


def _with(f, strides, padding, x, k):
    return f(x, k, strides, padding, None)


@pytest.mark.parametrize("name", ["here", "as_gradient"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_values_and_gradients_are_those_of_a_dilated_convolution(kernel, strides, padding, name):
    def dilated(x, k):
        return jax.lax.conv_transpose(x, k, strides, padding, dimension_numbers=NHWC)

    ours = way(name)
    check(lambda x, k: ours(x, k, strides, padding), dilated, *drawn(kernel))


def test_slopes_of_slopes():
    def dilated(x, k):
        return jax.lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=NHWC)

    check(lambda x, k: way("as_gradient")(x, k, (2, 2), "SAME"), dilated, *drawn((5, 5)), True)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 1), (0, 3))])
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_a_sum_over_remainders_is_a_convolution_with_strides(kernel, strides, padding):
    x, k = drawn(kernel, side=(5, 6))

    def whole(x, k):
        return jax.lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=NHWC)

    check(lambda x, k: transposed._by_phase(x, k, strides, padding, None), whole, x, k)


def on_a_gpu(f, *arguments):
    """Convolutions of the program that is made for one, and how often a kernel is turned round."""
    text = jax.jit(f).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    return convolutions, text.count("stablehlo.reverse")


@pytest.mark.parametrize(("side", "size"), [(8, 4), (8, 5), (3, 4)])
def test_a_gpu_is_given_no_zeros_to_multiply(side, size):
    """Dilated by nothing but where the kernel is turned round, so that cuDNN's own form is found;
    and by nothing at all where the kernel has more places than the image."""
    x, k = drawn((size, size), side=(side, side))
    forward = functools.partial(transposed_conv, strides=(2, 2), padding="SAME")
    step = jax.grad(lambda x, k: jnp.sum(forward(x, k) ** 2), (0, 1))
    small = size**2 > side**2
    turned = on_a_gpu(forward, x, k)[1]
    assert turned == (0 if small else 2)  # by us, and by the gradient that we take it as
    convolutions, _ = on_a_gpu(step, x, k)
    dilated = [line for line in convolutions if "dilate = [2" in line]
    assert len(convolutions) == (12 if small else 6)  # three or two plain ones, four remainders
    assert len(dilated) == (0 if small else 1)


@pytest.mark.parametrize("small", [True, False])
def test_a_gpu_takes_small_maps_by_remainders(small):
    x, _ = drawn((5, 5), side=(8, 8) if small else (16, 16))
    layer = nn.Conv(2, (5, 5), strides=(2, 2), conv_general_dilated=strided_conv)
    variables = layer.init(jax.random.key(0), x)
    theirs = nn.Conv(2, (5, 5), strides=(2, 2))
    np.testing.assert_array_equal(layer.apply(variables, x), theirs.apply(variables, x))
    convolutions, _ = on_a_gpu(layer.apply, variables, x)
    assert len(convolutions) == (4 if small else 1)


@pytest.mark.parametrize("side", [3, 8])
def test_the_precision_that_was_asked_for_is_that_of_every_product(side):
    x, k = drawn((4, 4), side=(side, side))
    exact = jax.lax.Precision.HIGHEST

    def up(x, k):
        return transposed_conv(x, k, (2, 2), "SAME", exact)

    def down(x, k):
        return strided_conv(x, k, (2, 2), "SAME", dimension_numbers=NHWC, precision=exact)

    for layer in (up, down):
        step = jax.grad(lambda x, k, f=layer: jnp.sum(f(x, k) ** 2), (0, 1))
        text = jax.jit(step).trace(x, k).lower(lowering_platforms=("cuda",)).as_text()
        count = text.count("stablehlo.convolution")
        assert count
        assert text.count("precision HIGHEST, precision HIGHEST") == count or (
            text.count("#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>") == count
        )


def test_a_batch_of_any_size_is_exported():
    x, k = drawn((4, 4))
    (many,) = jax.export.symbolic_shape("b")
    of = jax.ShapeDtypeStruct((many, *x.shape[1:]), x.dtype)
    layer = jax.jit(lambda x, k: transposed_conv(x, k, (2, 2), "SAME"))
    step = jax.jit(jax.grad(lambda k, x: jnp.sum(layer(x, k) ** 2)))
    for platform in ("cpu", "cuda"):
        assert jax.export.export(step, platforms=[platform])(k, of).mlir_module()


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
