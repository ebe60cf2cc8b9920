"""Strided convolutions and their transposes: values, gradients, and compiled programs."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn import conv_forms, transposed
from genjax.nn.conv_forms import NHWC
from genjax.nn.convolution import Conv, ConvTranspose, bilinear, conv, transposed_conv

# Kernels and strides: even and odd, larger and smaller than the stride, different by axis.
SIZES = [
    *[((4, 4), (2, 2)), ((5, 5), (2, 2)), ((3, 3), (2, 2)), ((2, 3), (2, 2))],
    *[((2, 3), (1, 2)), ((4, 4), (4, 4)), ((5, 2), (3, 1)), ((1, 2), (2, 3)), ((1, 1), (1, 1))],
]


def random_inputs(kernel, side=(3, 4), inputs=3, outputs=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *side, inputs)).astype(np.float32)
    return x, rng.normal(size=(*kernel, inputs, outputs)).astype(np.float32)


def check(ours, theirs, x, k, twice=False):
    """Compares values, forward and reverse gradients, and second derivatives if `twice`."""
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

    results, expected = (
        jax.tree.leaves(jax.jit(all_of, static_argnums=0)(f)) for f in (ours, theirs)
    )
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))


def implementation(name):
    """Returns the layer as on this device, or one of its implementations for GPUs."""
    if name == "as_gradient":  # as transposed_conv selects it on a GPU

        def both(x, k, strides, padding):
            ways = (transposed.as_gradient, transposed.by_remainder)
            by = [functools.partial(_with, f, strides, padding) for f in ways]
            return bilinear(by[0], *by, x, k)

        return both
    return transposed_conv


def _with(f, strides, padding, x, k):
    return f(x, k, strides, padding, None)


@pytest.mark.parametrize("name", ["here", "as_gradient"])
@pytest.mark.parametrize("padding", ["SAME", "VALID", (1, 2)])
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_values_and_gradients_equal_a_dilated_convolution(kernel, strides, padding, name):
    if isinstance(padding, tuple):
        padding = tuple(min(p, min(kernel) - 1) for p in padding)
    pads = padding if isinstance(padding, str) else [padding] * 2

    def dilated(x, k):
        return jax.lax.conv_transpose(x, k, strides, pads, dimension_numbers=NHWC)

    ours = implementation(name)
    check(lambda x, k: ours(x, k, strides, padding), dilated, *random_inputs(kernel))


def test_second_derivatives():
    def dilated(x, k):
        return jax.lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=NHWC)

    check(
        lambda x, k: implementation("as_gradient")(x, k, (2, 2), "SAME"),
        dilated,
        *random_inputs((5, 5)),
        True,
    )


def on_a_gpu(f, *arguments):
    """Returns the convolutions and the number of reversals in the program for a CUDA GPU."""
    text = jax.jit(f).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert "stablehlo.while" not in text
    assert "stablehlo.dot_general" not in text
    return convolutions, text.count("stablehlo.reverse")


@pytest.mark.parametrize(("side", "size"), [(8, 4), (8, 5), (3, 4)])
def test_gpu_programs_multiply_no_zeros(side, size):
    """The only dilated convolution has an explicit reversal, which XLA maps to cuDNN's backward
    convolution; there is none where the kernel is larger than the image."""
    x, k = random_inputs((size, size), side=(side, side))
    forward = functools.partial(transposed_conv, strides=(2, 2), padding="SAME")
    step = jax.grad(lambda x, k: jnp.sum(forward(x, k) ** 2), (0, 1))
    small = size**2 > side**2
    reversals = on_a_gpu(forward, x, k)[1]
    assert reversals == (0 if small else 2)  # explicit, and of the gradient
    convolutions, _ = on_a_gpu(step, x, k)
    dilated = [line for line in convolutions if "dilate = [2" in line]
    assert len(convolutions) == (12 if small else 6)  # three or two plain ones, four phases
    assert len(dilated) == (0 if small else 1)


@pytest.mark.parametrize("small", [True, False])
def test_gpu_convolves_small_maps_by_phase(small):
    x, _ = random_inputs((5, 5), side=(8, 8) if small else (16, 16), inputs=64)
    layer = Conv(64, (5, 5), strides=(2, 2))
    variables = layer.init(jax.random.key(0), x)
    theirs = nn.Conv(64, (5, 5), strides=(2, 2))
    np.testing.assert_allclose(layer.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
    convolutions, _ = on_a_gpu(layer.apply, variables, x)
    assert len(convolutions) == (4 if small else 1)


@pytest.mark.parametrize("side", [3, 8])
def test_every_product_has_the_requested_precision(side):
    x, k = random_inputs((4, 4), side=(side, side))
    exact = jax.lax.Precision.HIGHEST

    def up(x, k):
        return transposed_conv(x, k, (2, 2), "SAME", exact)

    def down(x, k):
        return conv(x, k, (2, 2), precision=exact)

    for layer in (up, down):
        step = jax.grad(lambda x, k, f=layer: jnp.sum(f(x, k) ** 2), (0, 1))
        text = jax.jit(step).trace(x, k).lower(lowering_platforms=("cuda",)).as_text()
        count = text.count("stablehlo.convolution")
        assert count
        assert text.count("precision HIGHEST, precision HIGHEST") == count or (
            text.count("#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>") == count
        )


def test_exports_with_a_symbolic_batch_size():
    x, k = random_inputs((4, 4))
    (many,) = jax.export.symbolic_shape("b")
    of = jax.ShapeDtypeStruct((many, *x.shape[1:]), x.dtype)
    layer = jax.jit(lambda x, k: transposed_conv(x, k, (2, 2), "SAME"))
    step = jax.jit(jax.grad(lambda k, x: jnp.sum(layer(x, k) ** 2)))
    for platform in ("cpu", "cuda"):
        assert jax.export.export(step, platforms=[platform])(k, of).mlir_module()


def test_values_equal_the_definition():
    """Every pixel adds the reversed kernel at a multiple of the stride."""
    x, k = random_inputs((4, 3))
    want = np.zeros((2, 2 * 2 + 4, 2 * 3 + 3, 2))
    for row in range(3):
        for column in range(4):
            laid = np.einsum("bi,hwio->bhwo", x[:, row, column].astype(np.float64), k[::-1, ::-1])
            want[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 3] += laid
    results = jax.jit(transposed_conv, static_argnums=(2, 3))(x, k, (2, 2), "VALID")
    np.testing.assert_allclose(results, want, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_the_layer_has_the_parameters_and_values_of_flax(padding):
    x, _ = random_inputs((5, 5))
    ours = ConvTranspose(2, (5, 5), (2, 2), padding)
    theirs = nn.ConvTranspose(2, (5, 5), (2, 2), padding)
    variables = jax.jit(theirs.init)(jax.random.key(0), x)
    again = jax.jit(ours.init)(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    variables["params"]["bias"] += jnp.array([1.0, -2.0])
    results, want = ours.apply(variables, x), theirs.apply(variables, x)
    np.testing.assert_allclose(results, want, atol=1e-5)


def test_cpu_programs_have_no_dilated_input():
    """Also in gradients and in those of a gradient penalty: XLA's are slow on a CPU."""
    x, k = random_inputs((4, 4), side=(8, 8), inputs=32, outputs=32)

    def gradient(f):
        return jax.grad(lambda x, k: jnp.sum(f(x, k) ** 2), (0, 1))

    def penalty(f):
        return jax.grad(lambda x, k: jnp.sum(gradient(f)(x, k)[0] ** 2), 1)

    def dilated(f):
        text = jax.jit(f).trace(x, k).lower(lowering_platforms=("cpu",)).as_text()
        return "stablehlo.convolution" in text, "lhs_dilate = [2" in text

    def xla_up(x, k):
        return jax.lax.conv_transpose(x, k, (2, 2), "SAME", dimension_numbers=NHWC)

    up = functools.partial(transposed_conv, strides=(2, 2), padding="SAME")
    down = functools.partial(conv, strides=(2, 2))
    assert dilated(gradient(xla_up)) == (True, True)
    for layer in (up, down):
        assert dilated(gradient(layer))[1] is False
        assert dilated(penalty(layer))[1] is False


def test_forms_of_a_cpu_are_selected_by_shape():
    def names(shape, kernel, strides, outputs, dtype="float32"):
        return tuple(f.__name__ for f in conv_forms.select(shape, kernel, strides, outputs, dtype))

    small = names((8, 8, 8, 64), (5, 5, 64, 64), (2, 2), (4, 4))
    assert small == ("patches",) * 3  # a kernel of more taps than outputs
    few = names((1, 16, 16, 256), (3, 3, 256, 256), (1, 1), (16, 16))
    assert few == ("patches",) * 3  # more weights than pixels
    many = ((16, 16, 16, 256), (3, 3, 256, 256), (1, 1), (16, 16))
    assert names(*many) == ("winograd", "direct", "direct")
    assert names(*many, "bfloat16") == ("direct",) * 3
    assert names((8, 28, 28, 3), (3, 3, 3, 64), (1, 1), (28, 28)) == ("direct",) * 3
    four = names((8, 32, 32, 64), (4, 4, 64, 128), (2, 2), (16, 16))
    assert four == ("direct", "phases", "direct")
    three = names((8, 32, 32, 64), (3, 3, 64, 128), (2, 2), (16, 16))
    assert three == ("direct", "phases", "direct")
    image = names((8, 32, 32, 3), (4, 4, 3, 64), (2, 2), (16, 16))
    assert image == ("patches",) * 3
    first = ((8, 32, 32, 3), (7, 7, 3, 64), (1, 1), (32, 32))
    assert names(*first) == ("bands",) * 3
    last = ((8, 32, 32, 64), (7, 7, 64, 3), (1, 1), (32, 32))
    assert names(*last) == ("bands_transposed",) * 3
    five = names((8, 32, 32, 64), (5, 5, 64, 128), (2, 2), (16, 16))
    assert five == ("phases", "phases", "direct")
