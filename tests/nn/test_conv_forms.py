"""Forms of a convolution on a CPU: values, gradients of both modes, and second derivatives."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from nn.test_transposed import SIZES, check, random_inputs

from genjax.nn import conv_forms, winograd
from genjax.nn.conv_forms import NHWC
from genjax.nn.convolution import Conv, conv, transposed_conv

PADDINGS = [((0, 0), (0, 0)), ((2, 1), (0, 3)), ((1, -1), (0, 1))]


def by_xla(x, k, strides, pads):
    exact = jax.lax.Precision.HIGHEST
    return jax.lax.conv_general_dilated(
        x, k, strides, pads, dimension_numbers=NHWC, precision=exact
    )


@pytest.mark.parametrize("name", ["direct", "patches", "bands", "phases"])
@pytest.mark.parametrize("pads", PADDINGS)
@pytest.mark.parametrize(("kernel", "strides"), SIZES)
def test_every_form_computes_the_convolution(kernel, strides, pads, name):
    x, k = random_inputs(kernel, side=(7, 6))
    form = getattr(conv_forms, name)
    check(
        lambda x, k: form(x, k, strides, pads, None),
        lambda x, k: by_xla(x, k, strides, pads),
        x,
        k,
    )


@pytest.mark.parametrize("pads", PADDINGS)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (2, 2), (1, 3), (3, 1), (1, 1)])
def test_winograd_computes_the_convolution(kernel, pads):
    x, k = random_inputs(kernel, side=(7, 6))
    form = conv_forms.winograd
    check(
        lambda x, k: form(x, k, (1, 1), pads, None), lambda x, k: by_xla(x, k, (1, 1), pads), x, k
    )


@pytest.mark.parametrize("pads", PADDINGS)
def test_transposed_bands_compute_the_convolution(pads):
    x, k = random_inputs((5, 3), side=(7, 6))
    form = conv_forms.bands_transposed
    check(
        lambda x, k: form(x, k, (1, 1), pads, None), lambda x, k: by_xla(x, k, (1, 1), pads), x, k
    )


def test_winograd_multiplies_less():
    """F(2x2, 3x3): 16 products of features for every 2x2 outputs instead of 36."""
    x, k = random_inputs((3, 3), side=(8, 8))
    program = jax.make_jaxpr(functools.partial(winograd.tiles_conv, sides=(8, 8), corner=(1, 1)))
    names = str(program(x, k, precision=None))
    assert names.count("dot_general") == 1
    assert "16,2,4,4,2" in names  # positions of a tile, images, tiles, outputs
    assert "conv_general_dilated" not in names


def test_rounding_errors_of_winograd_are_those_of_a_convolution():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 16, 16, 64)).astype(np.float32)
    k = rng.normal(size=(3, 3, 64, 64)).astype(np.float32)
    pads = ((1, 1), (1, 1))
    wide = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    exact = sum(
        np.einsum("bhwi,io->bhwo", wide[:, i : i + 16, j : j + 16], k[i, j].astype(np.float64))
        for i in range(3)
        for j in range(3)
    )
    error = [
        np.sqrt(np.mean((np.asarray(f(x, k, (1, 1), pads, None)) - exact) ** 2))
        for f in (conv_forms.winograd, conv_forms.direct)
    ]
    assert error[0] < 2 * error[1]
    assert error[0] < 1e-5 * exact.std()


@pytest.mark.parametrize("name", ["patches", "winograd"])
def test_images_in_parts_have_the_values_and_gradients_of_the_batch(name, monkeypatch):
    monkeypatch.setattr(conv_forms, "PATCH_BYTES", 0)
    monkeypatch.setattr(conv_forms, "WINOGRAD_BYTES", 0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 5, 2)).astype(np.float32)
    k = rng.normal(size=(3, 3, 2, 2)).astype(np.float32)
    pads = ((1, 1), (1, 1))
    form = getattr(conv_forms, name)
    assert "scan" in str(jax.make_jaxpr(lambda x, k: form(x, k, (1, 1), pads, None))(x, k))
    check(
        lambda x, k: form(x, k, (1, 1), pads, None),
        lambda x, k: by_xla(x, k, (1, 1), pads),
        x,
        k,
        True,
    )


@pytest.mark.parametrize(
    ("size", "strides", "padding", "features"),
    [
        ((3, 3), (1, 1), "SAME", 64),  # winograd
        ((4, 4), (2, 2), "SAME", 32),  # phases for one gradient
        ((7, 7), (1, 1), "SAME", 3),  # bands
        ((5, 5), (2, 2), "SAME", 32),  # phases
        ((4, 4), (2, 2), "SAME", 3),  # few inputs
        ((2, 3), (1, 1), ((1, 0), (1, 1)), 64),  # causal
        ((3, 3), (1, 1), "VALID", 4),  # direct, without padding
        ((8, 9), (1, 1), "VALID", 4),  # the whole image
    ],
)
@pytest.mark.parametrize("twice", [False, True])
def test_the_layer_has_the_derivatives_of_a_convolution(size, strides, padding, features, twice):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 9, features)).astype(np.float32)
    k = (rng.normal(size=(*size, features, 64)) / 8).astype(np.float32)
    check(
        lambda x, k: conv(x, k, strides, padding),
        lambda x, k: by_xla(x, k, strides, padding),
        x,
        k,
        twice,
    )


def test_a_batch_of_kernels():
    """Several runs in one program have a kernel each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2, 8, 8, 32)).astype(np.float32)
    k = rng.normal(size=(3, 4, 4, 32, 32)).astype(np.float32)
    step = jax.grad(lambda k, x: jnp.sum(conv(x, k, (2, 2)) ** 2))
    together = jax.jit(jax.vmap(step))(k, x)
    alone = jnp.stack([jax.jit(step)(k[i], x[i]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-3 * np.abs(alone).max())


def test_a_gpu_pads_first_where_padding_is_asymmetric():
    x, k = random_inputs((2, 3), side=(8, 9))
    layer = jax.jit(lambda x, k: conv(x, k, (1, 1), ((1, 0), (1, 1))))
    for platform in ("cuda", "tpu"):
        text = layer.trace(x, k).lower(lowering_platforms=(platform,)).as_text()
        (line,) = [t for t in text.splitlines() if "stablehlo.convolution" in t]
        assert "pad = [[" not in line or "pad = [[0, 0], [0, 0]]" in line
        assert "stablehlo.pad" in text


@pytest.mark.parametrize("layer", ["winograd", "patches", "up", "down"])
def test_gradients_in_a_shard_map(layer, monkeypatch):
    """Maps that vary over devices keep that type in every form."""
    monkeypatch.setattr(conv_forms, "WINOGRAD_BYTES", 0)
    size = {"winograd": (3, 3), "patches": (1, 1)}.get(layer, (4, 4))
    rng = np.random.default_rng(0)
    # JAX keeps traces by shape: no other test has these, whose forms depend on the patch.
    x = rng.normal(size=(5, 8, 8, 64)).astype(np.float32)
    k = rng.normal(size=(*size, 64, 64)).astype(np.float32) / 64

    def f(x, k):
        if layer == "up":
            return jnp.sum(transposed_conv(x, k, (2, 2), "SAME") ** 2)
        return jnp.sum(conv(x, k, (2, 2) if layer == "down" else (1, 1)) ** 2)

    def by_maps(x, k):
        return jax.grad(f)(x, k)

    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = (P("data"), P())
    sharded = jax.shard_map(by_maps, mesh=mesh, in_specs=specs, out_specs=P("data"))
    want = jax.jit(by_maps)(x, k)
    np.testing.assert_allclose(jax.jit(sharded)(x, k), want, atol=1e-4 * np.abs(want).max())


def test_an_explicitly_sharded_batch():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((4, 8, 8, 64)), jax.NamedSharding(mesh, P("data")))
        k = jnp.ones((3, 3, 64, 64))
        for layer in (conv, lambda x, k: transposed_conv(x, k, (2, 2), "SAME")):
            step = jax.jit(jax.grad(lambda k, x, f=layer: jnp.sum(f(x, k))))
            assert step(k, x).shape == k.shape


def test_a_kernel_that_meets_only_padding():
    x, k = jnp.ones((1, 1, 1, 2)), jnp.ones((1, 2, 2, 2))
    pads = ((1, 0), (0, 1))
    np.testing.assert_array_equal(conv(x, k, (2, 2), pads), by_xla(x, k, (2, 2), pads))


def test_maps_of_other_ranks():
    x = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    ours, theirs = Conv(4, (3,)), nn.Conv(4, (3,))
    variables = ours.init(jax.random.key(0), x)
    np.testing.assert_array_equal(ours.apply(variables, x), theirs.apply(variables, x))


def test_sampling_by_rows_uses_no_tiles():
    one = conv_forms.select((8, 2, 30, 64), (2, 3, 64, 64), (1, 1), (1, 28), "float32")
    assert one == (conv_forms.direct,) * 3


def test_options_that_only_xla_supports():
    x, k = random_inputs((3, 3), side=(8, 8), inputs=1, outputs=4)
    x = np.concatenate([x, 2 * x], axis=-1)
    found = conv(x, k, feature_group_count=2)
    want = jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=2
    )
    np.testing.assert_array_equal(found, want)
