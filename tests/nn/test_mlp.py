"""Dense networks against NumPy."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from genjax.nn import MLP, Maxout

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def init(module):
    """Returns parameters with non-zero biases."""
    variables = jax.jit(module.init)(jax.random.key(1), X)
    leaves, structure = jax.tree.flatten(variables)
    rng = np.random.default_rng(2)
    leaves = [jnp.asarray(a + rng.normal(size=a.shape), jnp.float32) for a in leaves]
    return jax.tree.unflatten(structure, leaves)


def apply(module, variables, x=X, **options):
    return jax.jit(lambda v, x: module.apply(v, x, **options))(variables, x)


def dense(params, x):
    kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
    return x @ kernel + bias


def relu(x):
    return x * (x > 0)


@pytest.mark.parametrize(
    ("hidden", "activation", "numpy_activation"),
    [((), nn.relu, relu), ((6,), jnp.tanh, np.tanh), ((6, 3), nn.relu, relu)],
)
def test_mlp_equals_numpy(hidden, activation, numpy_activation):
    """The output layer is linear."""
    module = MLP(hidden, 2, activation)
    variables = init(module)
    want = X.astype(np.float64)
    for i in range(len(hidden)):
        want = numpy_activation(dense(variables["params"][f"hidden_{i}"], want))
    want = dense(variables["params"]["out"], want)
    got = apply(module, variables)
    assert got.shape == (5, 2)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_relu_is_the_default_activation():
    variables = init(MLP((6,), 2))
    got, want = apply(MLP((6,), 2), variables), apply(MLP((6,), 2, nn.relu), variables)
    np.testing.assert_array_equal(got, want)
    assert np.any(np.abs(apply(MLP((6,), 2, nn.gelu), variables) - got) > 1e-3)


def rounded(a):
    return np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64)


def test_bfloat16_rounds_hidden_layers_and_the_factors_of_the_output():
    """Parameters, output bias and accumulation stay float32."""
    module = MLP((64, 64), 3, dtype=jnp.bfloat16)
    variables = init(module)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    got, state = apply(module, variables, capture_intermediates=True)
    inner = state["intermediates"]
    assert inner["hidden_0"]["__call__"][0].dtype == jnp.bfloat16
    assert inner["hidden_1"]["__call__"][0].dtype == jnp.bfloat16
    assert got.dtype == jnp.float32
    # The output is the product of bfloat16 features and kernel, accumulated in float32.
    features = np.maximum(np.asarray(inner["hidden_1"]["__call__"][0], np.float64), 0)
    out = variables["params"]["out"]
    want = dense({"kernel": rounded(out["kernel"]), "bias": out["bias"]}, features)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    # Close to the float32 network but not equal, so the dtype is used.
    full = apply(MLP((64, 64), 3), variables)
    error = np.linalg.norm(got - full) / np.linalg.norm(full)
    assert 1e-4 < error < 3e-2


def test_gradient_of_the_bfloat16_output_layer():
    """For any leading axes; incoming and outgoing gradients are rounded too."""
    module, x = MLP((), 2, dtype=jnp.bfloat16), np.stack([X, 2 * X, -X])  # [3, 5, 4]
    variables = init(MLP((), 2))
    slope = np.random.default_rng(3).normal(size=(3, 5, 2)).astype(np.float32)

    def total(params, x):
        return jnp.sum(module.apply({"params": params}, x) * slope)

    assert apply(module, variables, x).shape == (3, 5, 2)
    got, dx = jax.jit(jax.grad(total, (0, 1)))(variables["params"], x)
    factor = rounded(variables["params"]["out"]["kernel"])
    wide = rounded(x).reshape(15, 4).T @ rounded(slope).reshape(15, 2)
    np.testing.assert_allclose(got["out"]["kernel"], rounded(wide), rtol=2**-7, atol=1e-5)
    np.testing.assert_allclose(got["out"]["bias"], slope.sum((0, 1)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, rounded(rounded(slope) @ factor.T), rtol=2**-7, atol=1e-5)
    # Also forward mode, and inside a user's shard_map with replicated kernels.
    tangent = jax.jvp(lambda x: module.apply(variables, x), (x,), (2 * x,))[1]
    bias = np.asarray(variables["params"]["out"]["bias"])
    np.testing.assert_allclose(
        tangent, 2 * (np.asarray(apply(module, variables, x)) - bias), rtol=0.02, atol=0.05
    )
    spread = jax.shard_map(
        jax.grad(total),
        mesh=jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,)),
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec(),
    )
    chex.assert_trees_all_close(jax.jit(spread)(variables["params"], x), got, rtol=1e-5)


def test_maxout_is_the_maximum_over_the_pieces_of_each_unit():
    """Pieces of one unit are adjacent."""
    module = Maxout(units=3, pieces=4)
    variables = init(module)
    linear = dense(variables["params"]["Dense_0"], X.astype(np.float64))  # [B, units * pieces]
    want = np.stack([linear[:, 4 * u : 4 * u + 4].max(axis=1) for u in range(3)], axis=1)
    got = apply(module, variables)
    assert got.shape == (5, 3)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_maxout_golden_value():
    """|x| is the maxout of x and -x."""
    params = {"Dense_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(2)}}
    got = apply(Maxout(1, 2), {"params": params}, jnp.array([[-3.0], [2.0]]))
    assert got.tolist() == [[3.0], [2.0]]


def test_maxout_in_bfloat16_keeps_float32_parameters():
    module = Maxout(units=3, pieces=4, dtype=jnp.bfloat16)
    variables = init(module)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    got = apply(module, variables)
    assert got.dtype == jnp.bfloat16
    full = apply(Maxout(units=3, pieces=4), variables)
    np.testing.assert_allclose(got.astype(jnp.float32), full, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("module", [MLP((6,), 2, kernel_init=nn.initializers.ones), None])
def test_kernel_init_reaches_every_kernel(module):
    module = module or Maxout(3, 2, kernel_init=nn.initializers.ones)
    variables = jax.jit(module.init)(jax.random.key(0), X)
    for layer in variables["params"].values():
        assert np.all(np.asarray(layer["kernel"]) == 1)
        assert np.all(np.asarray(layer["bias"]) == 0)
