"""DALL-E: masks, causality, densities, losses, cached sampling, sizes."""

import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import compiled_step, make_batch, make_state, random_arrays

from genjax.families import dalle, dvae
from genjax.families.dalle import masks, token_sampling
from genjax.families.dalle.gradient_scaling import scale_gradients
from genjax.families.dalle.token_transformer import all_logits, run_blocks
from genjax.losses import categorical_nats

TOKENIZER = dataclasses.replace(dvae.tiny(), quantizer="fsq", levels=(4, 2))  # 4x4 tokens, K = 8
SMALL = dalle.Config(
    shape=TOKENIZER.shape,
    image_tokenizer=TOKENIZER,
    vocabulary=6,
    text_length=3,
    width=8,
    layers=2,
    heads=2,
    kernel=3,
    qk_norm=True,
)
# Two image tokens of three codes, side by side.
PAIR = dataclasses.replace(
    SMALL,
    shape=(2, 4, 1),
    image_tokenizer=dataclasses.replace(dvae.tiny(), shape=(2, 4, 1), codes=3),
)
TEXT = jnp.array([[1, 5, 2], [3, 0, 0], [4, 4, 0]], jnp.int32)


@functools.cache
def variables_of(config, scale=0.6):
    return random_arrays(functools.partial(dalle.init, config), scale=scale)


def of_pattern(monkeypatch, *patterns):
    """Gives the layers these patterns instead of the paper's order."""
    monkeypatch.setattr(dalle.Config, "patterns", property(lambda config: patterns))


def tokens_of(config, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, config.codes, (n, config.image_length)), jnp.int32)


def test_image_masks_are_those_of_the_paper_s_figure():
    """A 4x4 grid and a 3x3 kernel; row and convolution continue in the row before."""

    def attended(pattern, position):
        return np.flatnonzero(masks.image_mask(pattern, (4, 4), 3)[position]).tolist()

    assert attended("row", 8) == [4, 5, 6, 7, 8]
    assert attended("row", 2) == [0, 1, 2]
    assert attended("column", 9) == [1, 5, 9]
    assert attended("conv", 9) == [4, 5, 6, 8, 9]
    assert attended("conv", 8) == [3, 4, 5, 7, 8]
    assert attended("dense", 3) == [0, 1, 2, 3]
    assert len(np.flatnonzero(masks.image_mask("conv", (32, 32), 11)[20 * 32 + 16])) == 61


def test_layers_are_in_the_paper_s_order():
    kinds = masks.layer_patterns(64, "sparse")
    assert kinds[:8] == ("row", "column", "row", "row", "row", "column", "row", "row")
    assert [kinds.count(kind) for kind in ("row", "column", "conv")] == [47, 16, 1]
    assert kinds[-1] == "conv"
    assert masks.layer_patterns(3, "dense") == ("dense",) * 3


@pytest.mark.parametrize(
    "patterns",
    [*((p,) for p in masks.PATTERNS), ("column", "conv"), masks.layer_patterns(5, "sparse")],
)
def test_jacobian_is_nonzero_where_the_masks_allow(monkeypatch, patterns):
    """Of the features with respect to the embeddings; a path through layers multiplies masks."""
    of_pattern(monkeypatch, *patterns)
    config = dataclasses.replace(SMALL, layers=len(patterns))
    params = variables_of(config)["params"]
    size = config.text_length + config.image_length
    x = jnp.asarray(np.random.default_rng(2).normal(size=(size, config.width)), jnp.float32)
    directions = jnp.asarray(np.random.default_rng(3).normal(size=x.shape), jnp.float32)

    @jax.jit
    def along(x):  # the derivative with respect to one number per position
        return jax.jacfwd(
            lambda s: run_blocks(config, params, (x + s[:, None] * directions)[None])
        )(jnp.zeros(size))

    depends = np.abs(along(x)[0]).max(1)  # [S, S]
    reach = np.eye(size, dtype=int)
    for pattern in patterns:
        reach = masks.sequence_mask(pattern, config.text_length, config.grid, 3).astype(int) @ reach
    np.testing.assert_array_equal(depends > 0, reach > 0)
    first = config.text_length + 1
    assert not depends[:first, first:].any()  # text never sees the image
    assert (depends[first:, :first] > 0).all()  # an image token sees all text


def test_logits_of_text_do_not_depend_on_the_image():
    variables = variables_of(SMALL)
    a, b = (all_logits(SMALL, variables, TEXT, tokens_of(SMALL, 3, seed)) for seed in (0, 1))
    np.testing.assert_array_equal(a[0], b[0])
    assert (a[1] != b[1]).any()
    want = -categorical_nats(a[0], TEXT) * (TEXT > 0)
    np.testing.assert_allclose(dalle.text_log_prob(SMALL, variables, TEXT), want, atol=1e-5)


def test_probabilities_of_all_pairs_of_tokens_sum_to_one():
    variables = variables_of(PAIR)
    pairs = jnp.asarray(list(itertools.product(range(3), repeat=2)), jnp.int32)
    for row in TEXT:
        text = jnp.broadcast_to(row, (len(pairs), 3))
        log_p = dalle.token_log_prob(PAIR, variables, pairs, text).sum(-1)
        assert float(jnp.exp(log_p).sum()) == pytest.approx(1, abs=1e-5)
        assert float(jnp.exp(log_p).std()) > 0.02


def test_importance_weights_average_to_the_density_of_an_image():
    """Summed over all pairs of tokens: p(x | text) = sum_z p(x | z) p(z | text)."""
    variables = variables_of(PAIR, 0.3)
    part = variables["buffers"]["image_tokenizer"]
    pairs = jnp.asarray(list(itertools.product(range(3), repeat=2)), jnp.int32)
    x, text = jnp.full((1, 2, 4, 1), 0.3), TEXT[:1]
    every = lambda a: jnp.broadcast_to(a, (9, *a.shape[1:]))  # noqa: E731
    log_p = dalle.token_log_prob(PAIR, variables, pairs, every(text)).sum(-1)
    grids = pairs.reshape(9, 1, 2)
    log_x = dvae.log_likelihood(PAIR.image_tokenizer, part, every(x), grids)
    exact = float(jax.nn.logsumexp(log_p + log_x))
    keys = jax.random.split(jax.random.key(4), 4000)

    @jax.jit
    @jax.vmap
    def log_weight(key):
        return dalle.log_weight(PAIR, variables, x, key, text)[0]

    weights = np.exp(np.asarray(log_weight(keys), np.float64) - exact)
    error = weights.std() / np.sqrt(len(keys))
    assert 0 < error < 0.05
    assert abs(weights.mean() - 1) < 4 * error


def test_scores_and_report_are_the_log_probabilities_of_the_tokens():
    variables = variables_of(SMALL)
    x = jnp.asarray(np.random.default_rng(0).random((3, *SMALL.shape)), jnp.float32)
    part = variables["buffers"]["image_tokenizer"]
    tokens = dvae.encode_tokens(TOKENIZER, part, x)
    assert len(np.unique(tokens)) > 1
    terms = dalle.token_log_prob(SMALL, variables, tokens, TEXT)
    np.testing.assert_allclose(dalle.caption_scores(SMALL, variables, x, TEXT), terms.sum(-1))
    found = dalle.report(SMALL, variables, {"x": x, "text": TEXT})
    np.testing.assert_allclose(found, -terms.mean(-1), rtol=1e-6)
    config = dataclasses.replace(SMALL, text_weight=0.25)
    nats, aux = dalle.loss(config, variables, {"x": x, "text": TEXT}, jax.random.key(0))
    text_nats = -dalle.text_log_prob(SMALL, variables, TEXT).sum(-1) / jnp.array([3, 1, 2])
    np.testing.assert_allclose(aux["text_nats"], text_nats, rtol=1e-5)
    np.testing.assert_allclose(aux["image_nats"], found, rtol=1e-5)
    np.testing.assert_allclose(nats, 0.25 * text_nats + 0.75 * found, rtol=1e-5)


def test_padding_has_no_gradient_as_a_target():
    rng = np.random.default_rng(0)
    of_text = jnp.asarray(rng.normal(size=(3, 3, SMALL.vocabulary)), jnp.float32)
    of_image = jnp.asarray(rng.normal(size=(3, SMALL.image_length, SMALL.codes)), jnp.float32)

    def total(of_text):
        return dalle.mean_nats(SMALL, TEXT, of_text, tokens_of(SMALL), of_image)[0].sum()

    gradient = jax.grad(total)(of_text)
    np.testing.assert_array_equal((gradient != 0).all(-1), TEXT != 0)
    np.testing.assert_array_equal((gradient != 0).any(-1), TEXT != 0)


def test_null_captions_replace_texts_and_leave_the_batch():
    config = dataclasses.replace(SMALL, null_captions=0.5)
    variables = variables_of(config)
    text = jnp.tile(TEXT[:1], (64, 1))
    batch = {"x": jnp.zeros((64, *SMALL.shape)), "text": text}
    before = np.asarray(text)
    _, aux = jax.jit(functools.partial(dalle.loss, config))(variables, batch, jax.random.key(1))
    null = np.asarray(aux["text_nats"]) == 0
    assert 16 < null.sum() < 48
    given = dalle.loss(SMALL, variables, batch, jax.random.key(1))[1]["image_nats"]
    empty = {**batch, "text": dalle.null_text(config, 64)}
    without = dalle.loss(SMALL, variables, empty, jax.random.key(1))[1]["image_nats"]
    np.testing.assert_allclose(aux["image_nats"], np.where(null, without, given), rtol=1e-4)
    np.testing.assert_array_equal(batch["text"], before)


SAMPLED = [
    (("row",), {}),
    (("column",), {"guidance": 2.5}),
    (("conv",), {"top_k": 3, "temperature": 0.7}),
    (("dense",), {"top_p": 0.9}),
    (masks.layer_patterns(4, "sparse"), {"guidance": 3.0, "top_k": 5, "top_p": 0.8}),
]


@pytest.mark.parametrize(("patterns", "options"), SAMPLED)
def test_cached_tokens_equal_uncached_ones(monkeypatch, patterns, options):
    of_pattern(monkeypatch, *patterns)
    config = dataclasses.replace(SMALL, layers=len(patterns), null_captions=0.1)
    variables, text = variables_of(config), jnp.tile(TEXT, (4, 1))

    def draw(sampler, variables, key, text):
        return sampler(config, variables, key, text, **options)

    samplers = (dalle.sample_tokens, dalle.sample_tokens_naive)
    key = jax.random.key(3)
    cached, naive = (jax.jit(functools.partial(draw, s))(variables, key, text) for s in samplers)
    np.testing.assert_array_equal(cached, naive)
    assert cached.shape == (12, config.image_length)
    assert cached.dtype == jnp.int32
    assert len(np.unique(cached)) > 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_cached_tokens_in_16_bit_equal_uncached_ones_up_to_rounding(dtype):
    config = dataclasses.replace(SMALL, dtype=dtype, layers=1)
    variables, text, key = variables_of(config), jnp.tile(TEXT, (4, 1)), jax.random.key(3)
    samplers = (dalle.sample_tokens, dalle.sample_tokens_naive)
    draws = [jax.jit(functools.partial(s, config)) for s in samplers]
    cached, naive = (draw(variables, key, text) for draw in draws)
    # Rounding may change a token, and then those that follow.
    assert (cached == naive).cumprod(axis=1).mean() > 0.8
    assert len(np.unique(cached)) > 2


def test_dropout_in_training_is_that_of_its_key():
    config = dataclasses.replace(SMALL, dropout=0.5)
    variables, tokens = variables_of(SMALL), tokens_of(SMALL)[:1].repeat(3, 0)
    text = TEXT[:1].repeat(3, 0)
    forward = jax.jit(functools.partial(all_logits, config))
    a, again, b = (forward(variables, text, tokens, jax.random.key(k))[1] for k in (0, 0, 1))
    np.testing.assert_array_equal(a, again)
    assert float(jnp.abs(a - b).mean()) > 0.1
    assert float(jnp.abs(a[0] - a[1]).mean()) > 0.1  # equal examples have other masks
    plain = forward(variables, text, tokens)[1]  # without a key, as in evaluation
    np.testing.assert_array_equal(plain[0], plain[1])
    loss = jax.jit(functools.partial(dalle.loss, config))
    batch = {"x": jnp.zeros((3, *SMALL.shape)), "text": text}
    a, b = (loss(variables, batch, jax.random.key(k))[0] for k in (0, 1))
    assert float(jnp.abs(a - b).min()) > 1e-3


def test_options_change_the_logits():
    logits = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]]))

    def kept(**options):
        found = jax.nn.softmax(token_sampling.filtered_logits(logits, **options))[0]
        return [round(float(p), 4) for p in found]

    assert kept() == [0.4, 0.3, 0.2, 0.1]
    assert kept(top_k=2) == [0.5714, 0.4286, 0, 0]
    assert kept(top_k=1) == kept(top_p=0.1) == [1, 0, 0, 0]
    assert kept(top_p=0.75) == [0.4444, 0.3333, 0.2222, 0]
    assert kept(top_p=0.69) == [0.5714, 0.4286, 0, 0]
    assert kept(top_k=3, top_p=0.7) == [0.5714, 0.4286, 0, 0]  # of what top_k keeps
    assert kept(temperature=0.5) == [0.5333, 0.3, 0.1333, 0.0333]
    both = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(token_sampling.guided_logits(both, 2.0), [[5.0, 0.0]])
    np.testing.assert_allclose(token_sampling.guided_logits(both, 0.0), both[1:])
    np.testing.assert_array_equal(token_sampling.guided_logits(both, 1.0), both)
    for wrong in ({"guidance": -1.0}, {"temperature": 0.0}, {"top_k": 9}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
            dalle.sample_tokens(SMALL, variables_of(SMALL), jax.random.key(0), TEXT, **wrong)


def test_tokens_are_drawn_from_the_density():
    """Frequencies of all pairs of tokens against their probabilities."""
    variables = variables_of(PAIR)
    text = jnp.tile(TEXT[:1], (20_000, 1))
    draw = jax.jit(functools.partial(dalle.sample_tokens, PAIR))
    tokens = np.asarray(draw(variables, jax.random.key(0), text))
    pairs = jnp.asarray(list(itertools.product(range(3), repeat=2)), jnp.int32)
    log_p = dalle.token_log_prob(PAIR, variables, pairs, text[:9]).sum(-1)
    p = np.exp(np.asarray(log_p, np.float64))
    counts = np.bincount(tokens @ [3, 1], minlength=9)
    np.testing.assert_array_less(np.abs(counts / 2e4 - p), 5 * np.sqrt(p * (1 - p) / 2e4) + 1e-9)


def test_the_paper_s_network_has_12_billion_parameters():
    config = dalle.Config()
    shapes = jax.eval_shape(lambda key: dalle.init(config, key)["params"], jax.random.key(0))
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(shapes["blocks"]) == 12_095_479_808
    assert 12.28e9 < count(shapes) < 12.30e9
    batch = {
        "x": jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32),
        "text": jax.ShapeDtypeStruct((2, 256), jnp.int32),
    }
    big = dataclasses.replace(config, dtype="bfloat16", remat=True)
    variables = jax.eval_shape(lambda key: dalle.init(big, key), jax.random.key(0))
    loss = jax.eval_shape(functools.partial(dalle.loss, big), variables, batch, jax.random.key(0))
    assert loss[0].shape == (2,)


def test_the_paper_s_order_of_64_layers_trains():
    config = dataclasses.replace(SMALL, width=64, heads=4, layers=64, qk_norm=False)
    assert config.patterns == masks.layer_patterns(64, "sparse")
    batch = make_batch(dalle, config, 4)
    step, state = compiled_step(dalle, config), make_state(dalle, config)
    losses = []
    for _ in range(6):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.1


def test_recomputation_and_loop_lengths_change_no_gradient():
    def gradient(**changes):
        config = dataclasses.replace(SMALL, layers=6, **changes)
        variables = variables_of(config, 0.2)
        batch = {"x": jnp.zeros((3, *SMALL.shape)), "text": TEXT}

        def mean(params):
            whole = {**variables, "params": params}
            return dalle.loss(config, whole, batch, jax.random.key(0))[0].mean()

        return jax.jit(jax.grad(mean))(variables["params"])

    want = gradient()
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(gradient(remat=True)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # float16, whose gradients are scaled block by block.
    half = gradient(dtype="float16")
    a, b = (optax.tree.norm(tree) for tree in (want, half))
    assert float(b) == pytest.approx(float(a), rel=0.05)
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(half), strict=True):
        np.testing.assert_allclose(a, b, atol=0.05 * float(jnp.abs(a).max()) + 1e-5)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_scaled_gradients_survive_float16(size):
    """Gradients of 1e-9 are zero in float16, and those of 1e9 infinite."""

    def block(w, x):
        return (w.astype(jnp.float16) * x.astype(jnp.float16)).astype(jnp.float32)

    w, x = jnp.array([0.5, -2.0]), jnp.array([3.0, 0.25])

    def total(apply, w, x):
        return (apply(w, x) * jnp.array([size, size / 8])).sum()

    found = jax.grad(functools.partial(total, functools.partial(scale_gradients, block)), (0, 1))(
        w, x
    )
    np.testing.assert_allclose(found[0], size * x * jnp.array([1, 1 / 8]), rtol=1e-3)
    np.testing.assert_allclose(found[1], size * w * jnp.array([1, 1 / 8]), rtol=1e-3)
    if size != 1.0:
        plain = jax.grad(functools.partial(total, block))(w, x)
        assert not np.isfinite(plain).all() or (plain == 0).all()


def test_gradients_of_weights_do_not_overflow_with_many_tokens():
    """Those of a bias are sums over tokens: 20,000 times 4 is above the largest float16."""

    def block(b, x):
        return (x.astype(jnp.float16) + b.astype(jnp.float16)[None]).astype(jnp.float32)

    b, x = jnp.zeros(2), jnp.zeros((20_000, 2))
    _, pullback = jax.vjp(functools.partial(scale_gradients, block), b, x)
    gradient = jnp.full(x.shape, 4.0)
    assert not np.isfinite(jax.vjp(block, b, x)[1](gradient)[0]).any()
    of_bias, of_x = pullback(gradient)
    np.testing.assert_allclose(of_bias, 80_000, rtol=1e-3)
    np.testing.assert_array_equal(of_x, gradient)


def test_a_gradient_that_is_zero_or_infinite_stays_so():
    def block(w, x):
        return w * x

    one = jnp.ones(2)
    for size in (0.0, np.inf, np.nan):
        _, pullback = jax.vjp(functools.partial(scale_gradients, block), one, one)
        for gradient in pullback(jnp.full(2, size, jnp.float32)):
            np.testing.assert_array_equal(gradient, np.full(2, size))


def test_sharding_rules_divide_heads_and_hidden_units():
    shapes = jax.eval_shape(lambda key: dalle.init(SMALL, key)["params"], jax.random.key(0))
    rules = dalle.sharding_rules(SMALL)
    sizes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        spec = next(spec for pattern, spec in rules if re.search(pattern, name))
        assert len(spec) <= leaf.ndim
        for axis, dims in zip(spec, leaf.shape, strict=False):
            sizes.setdefault((name, axis), dims)
    block = "blocks.{}".format
    assert sizes[block("attention.query_key_value.kernel"), "model"] == SMALL.heads
    assert sizes[block("attention.query_key_value.bias"), "model"] == SMALL.heads
    assert sizes[block("attention.out.kernel"), "model"] == SMALL.width
    assert sizes[block("hidden.kernel"), "model"] == 4 * SMALL.width
    assert sizes[block("out.kernel"), "model"] == 4 * SMALL.width
    assert sizes["text_embedding", "data"] == SMALL.width
    assert sizes["image_head.kernel", "data"] == SMALL.width


def test_images_of_tokens_and_options():
    variables = variables_of(SMALL)
    draw = jax.jit(lambda v, k, t, **o: dalle.sample(SMALL, v, k, 3, text=t))
    x = draw(variables, jax.random.key(0), TEXT)
    tokens = dalle.sample_tokens(SMALL, variables, jax.random.key(0), TEXT)
    part = variables["buffers"]["image_tokenizer"]
    want = dvae.decode_tokens(TOKENIZER, part, tokens.reshape(3, *SMALL.grid))
    np.testing.assert_allclose(x, want, atol=1e-5)
    assert set(dalle.sampling_options(SMALL)) == {"temperature", "top_k", "top_p"}
    guided = dataclasses.replace(SMALL, null_captions=0.1)
    assert set(dalle.sampling_options(guided)) == {"guidance", "temperature", "top_k", "top_p"}
    with pytest.raises(ValueError, match="a row for each of 2 samples"):
        dalle.sample(SMALL, variables, jax.random.key(0), 2, text=TEXT)
    # A model without null captions has learned nothing of them.
    for call in (
        lambda: dalle.sample(SMALL, variables, jax.random.key(0), 3, text=TEXT, guidance=2.0),
        lambda: dalle.sample(SMALL, variables, jax.random.key(0), 3),
        lambda: dalle.log_weight(SMALL, variables, x, jax.random.key(0)),
    ):
        with pytest.raises(ValueError, match="train with `null_captions` above 0"):
            call()


def test_rejects_invalid_text_tokens_and_settings():
    variables, tokens = variables_of(SMALL), tokens_of(SMALL)
    for text, match in (
        (TEXT[:, :2], r"text must be int32\[B, 3\], got int32\[3, 2\]"),
        (TEXT.astype(jnp.float32), r"text must be int32\[B, 3\], got float32"),
        (TEXT + 1, r"must be in 0 .. 5, got 1 .. 6"),
        (TEXT - 1, r"must be in 0 .. 5, got -1 .. 4"),
        (TEXT[:, ::-1], "padding .* must follow"),
    ):
        with pytest.raises(ValueError, match=match):
            dalle.token_logits(SMALL, variables, tokens, text)
    for wrong in (tokens[:, :3], tokens.astype(jnp.float32)):
        with pytest.raises(ValueError, match=r"tokens must be int32\[B, 16\] or int32\[B, 4, 4\]"):
            dalle.token_logits(SMALL, variables, wrong, TEXT)
    with pytest.raises(ValueError, match="`width` must be a multiple of `heads`, got 8 and 3"):
        dataclasses.replace(SMALL, heads=3)
    with pytest.raises(ValueError, match="`kernel` must be odd, got 4"):
        dataclasses.replace(SMALL, kernel=4)
    with pytest.raises(ValueError, match="cudnn computes in 16 bit"):
        dataclasses.replace(SMALL, attention_kernel="cudnn")
    with pytest.raises(ValueError, match="`shape` must be that of `image_tokenizer`"):
        dataclasses.replace(SMALL, shape=(16, 8, 1))
