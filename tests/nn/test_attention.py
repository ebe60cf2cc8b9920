"""Attention against NumPy, what masks exclude, and precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import equations, random_arrays

from genjax.nn.attention import KeyValues, SelfAttention, TransformerBlock

BATCH, LENGTH, WIDTH, HEADS = 2, 4, 6, 2
CAUSAL = np.tril(np.ones((1, 1, LENGTH, LENGTH), bool))
X = np.random.default_rng(0).normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)


def built(module, mask=None):
    return random_arrays(module.init, X, mask)


def attention_by_numpy(params, x, mask):
    joint = x @ params["query_key_value"]["kernel"] + params["query_key_value"]["bias"]
    query, key, value = np.split(joint, 3, axis=-1)
    out = np.zeros_like(x)
    size = WIDTH // HEADS
    for b in range(BATCH):
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for t in range(LENGTH):
                logits = key[b, :, part] @ query[b, t, part] / np.sqrt(size)
                weights = np.exp(logits - logits.max()) * mask[b, head, t]
                out[b, t, part] = weights / weights.sum() @ value[b, :, part]
    return out @ params["out"]["kernel"] + params["out"]["bias"]


@pytest.mark.parametrize("shape", [(1, 1, LENGTH, LENGTH), (BATCH, 1, 1, LENGTH)])
def test_attention_equals_numpy_under_a_mask(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    mask[..., 0] = True
    module = SelfAttention(HEADS)
    variables = built(module)
    whole = np.broadcast_to(mask, (BATCH, HEADS, LENGTH, LENGTH))
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    for given, reference in ((mask, whole), (None, np.ones_like(whole))):
        found = jax.jit(module.apply)(variables, X, given)
        want = attention_by_numpy(params, X.astype(np.float64), reference)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    assert np.abs(found - jax.jit(module.apply)(variables, X, mask)).max() > 0.01


@pytest.mark.parametrize("module", [SelfAttention(HEADS), TransformerBlock(HEADS)])
def test_a_causal_output_does_not_depend_on_later_inputs(module):
    variables = built(module)

    def first(x):
        return module.apply(variables, x[None], CAUSAL)[0]

    jacobian = np.asarray(jax.jit(jax.jacobian(first))(X[0]))  # [T, D, T, D]
    depends = np.abs(jacobian).max((1, 3))
    np.testing.assert_array_equal(depends > 0, CAUSAL[0, 0])
    assert depends[CAUSAL[0, 0]].min() > 1e-5


def test_a_block_is_the_sum_of_its_parts():
    module = TransformerBlock(HEADS, expansion=2)
    variables = built(module)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    assert params["hidden"]["kernel"].shape == (WIDTH, 2 * WIDTH)

    def norm(x, p):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p["scale"] + p["bias"]

    def dense(x, p):
        return x @ p["kernel"] + p["bias"]

    every = np.ones((BATCH, HEADS, LENGTH, LENGTH), bool)
    x = X.astype(np.float64)
    x = x + attention_by_numpy(params["attention"], norm(x, params["attention_norm"]), every)
    hidden = np.asarray(jax.nn.gelu(dense(norm(x, params["norm"]), params["hidden"])))
    want = x + dense(hidden, params["out"])
    np.testing.assert_allclose(jax.jit(module.apply)(variables, X), want, rtol=1e-4, atol=1e-4)


def test_a_cache_gives_the_values_of_the_whole_sequence():
    module = TransformerBlock(HEADS, split_heads=True, qk_norm=True)
    variables = built(module)
    mask = CAUSAL & ~np.eye(LENGTH, k=-2, dtype=bool)[None, None]
    whole = module.apply(variables, X, mask)
    empty = jnp.zeros((BATCH, HEADS, LENGTH, WIDTH // HEADS))
    cache, found = KeyValues(empty, empty), []
    for start, end in ((0, 2), (2, 3), (3, 4)):
        rows = mask[:, :, start:end]
        y, cache = module.apply(variables, X[:, start:end], rows, cache, start, method="extend")
        found.append(y)
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)
    assert (cache.keys != 0).all()


def test_the_kernel_is_chosen(monkeypatch):
    chosen = []

    def attention(query, key, value, *, mask, implementation):
        chosen.append((implementation, query.dtype.name))
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    block = TransformerBlock(HEADS, dtype=jnp.float16, kernel="cudnn")
    variables = built(TransformerBlock(HEADS))
    chosen.clear()
    block.apply(variables, X, CAUSAL)
    TransformerBlock(HEADS, dtype=jnp.float16).apply(variables, X, CAUSAL)
    assert chosen == [("cudnn", "float16"), ("xla", "float32")]


def test_a_kernel_split_by_heads_is_a_reshaped_one():
    fused, split = SelfAttention(HEADS), SelfAttention(HEADS, split_heads=True)
    params = built(fused)["params"]
    joint = params["query_key_value"]
    shape = (3, HEADS, WIDTH // HEADS)
    parts = {
        "kernel": joint["kernel"].reshape(WIDTH, *shape),
        "bias": joint["bias"].reshape(shape),
    }
    shapes = jax.eval_shape(split.init, jax.random.key(0), X)["params"]["query_key_value"]
    assert jax.tree.map(jnp.shape, parts) == jax.tree.map(jnp.shape, shapes)
    found = split.apply({"params": {**params, "query_key_value": parts}}, X, CAUSAL)
    np.testing.assert_allclose(found, fused.apply({"params": params}, X, CAUSAL), rtol=1e-5)


def test_normalised_queries_and_keys_bound_the_logits():
    """Scaled inputs give the same attention; without normalisation they change it."""
    for qk_norm in (True, False):
        module = SelfAttention(HEADS, split_heads=True, qk_norm=qk_norm)
        variables = built(module)
        params = variables["params"]
        params["query_key_value"]["bias"] *= 0
        scale = np.ones((1, 3, 1, 1), np.float32)
        scale[:, :2] = 50.0  # of queries and keys
        joint = {
            "kernel": params["query_key_value"]["kernel"] * scale,
            "bias": params["query_key_value"]["bias"],
        }
        scaled = {"params": {**params, "query_key_value": joint}}
        difference = np.abs(module.apply(variables, X) - module.apply(scaled, X)).max()
        assert (difference < 1e-3) == qk_norm


def test_softmax_of_a_bfloat16_block_is_in_float32():
    module = TransformerBlock(HEADS, dtype=jnp.bfloat16)
    variables = built(module)
    program = functools.partial(module.apply, variables)
    exponents = [
        e.invars[0].aval.dtype
        for e in equations(jax.make_jaxpr(program)(X, CAUSAL).jaxpr)
        if e.primitive.name == "exp"
    ]
    assert exponents
    assert set(exponents) == {jnp.dtype("float32")}
    assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact = functools.partial(TransformerBlock(HEADS).apply, variables)
    for dtype in (jnp.float32, jnp.bfloat16):  # the residual stream has the input's
        for block in (program, exact):
            assert jax.eval_shape(block, X.astype(dtype)).dtype == dtype
    # Products are rounded, so the result is near but not equal.
    difference = np.abs(np.asarray(jax.jit(program)(X) - jax.jit(exact)(X)))
    assert 1e-4 < difference.max() < 0.3


def test_dropout_is_in_training_alone():
    module, plain = TransformerBlock(HEADS, dropout=0.5), TransformerBlock(HEADS)
    variables = built(module)
    np.testing.assert_array_equal(module.apply(variables, X), plain.apply(variables, X))
    first, second = (
        module.apply(variables, X, train=True, rngs={"dropout": jax.random.key(i)})
        for i in range(2)
    )
    assert (first != second).any()


def test_rejects_heads_that_do_not_divide_the_features():
    with pytest.raises(ValueError, match="6 features are not divisible by 4 heads"):
        SelfAttention(4).init(jax.random.key(0), X)
