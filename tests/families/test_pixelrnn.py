"""PixelRNN: normalization, causality, the paper's recursions, samplers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import equations, jitted, random_arrays, sample_by_all_methods

from genjax import evals
from genjax.families import pixelrnn
from genjax.families.pixelrnn.lstm import IMAGES_IN_CACHE, DiagonalBiLSTM, RowLSTM
from genjax.families.pixelrnn.skewed import join_images, skew, split_images, unskew
from genjax.nn.causal import channel_groups

NETWORKS = ("row", "diagonal")
TINY = pixelrnn.tiny()


def build(network="diagonal", seed=1, scale=0.6, **settings):
    config = dataclasses.replace(TINY, network=network, features=6, head=6, **settings)
    return config, random_arrays(lambda key: pixelrnn.init(config, key), scale=scale, seed=seed)


def every_image(shape, levels):
    found = list(itertools.product(range(levels), repeat=int(np.prod(shape))))
    return jnp.asarray(found, jnp.float32).reshape(-1, *shape)


# Layers against the paper's equations, pixel by pixel in float64.


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def update(gates, c):
    o, f, i, g = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def masked_gates(p, x, width, channels, features):
    """Computes input-to-state gates, without pixels on the right and masked by groups."""
    kernel = np.asarray(p["inputs"]["kernel"], np.float64)[0]  # [width, F, 4 h]
    ins = channel_groups(x.shape[-1], channels)
    outs = np.tile(channel_groups(features, channels), 4)
    own = kernel[-1] * (ins[:, None] <= outs[None])
    out = x @ own + np.asarray(p["inputs"]["bias"], np.float64)
    if width == 2:
        left = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        out = out + left @ kernel[0]
    return out


def layer(module, seed):
    x = np.random.default_rng(seed).normal(size=(1, 3, 4, 4))
    made = module(tuple(channel_groups(4, 2)), 4, 2)
    variables = random_arrays(
        lambda key: made.init(key, jnp.zeros((1, 3, 4, 4)), jnp.zeros((1, 1, 1, 1)))
    )
    got = made.apply(variables, jnp.asarray(x, jnp.float32), jnp.zeros((1, 1, 1, 1)))
    return x[0], variables["params"], np.asarray(got)[0]


def test_row_lstm_equals_the_recursion():
    x, params, got = layer(RowLSTM, 0)
    p = params["recurrence"]
    gates = masked_gates(p, x, 2, 2, 4)
    kernel = np.asarray(p["kernel"], np.float64).reshape(3, 4, 16)
    first = np.asarray(p["first"], np.float64)
    h, c = (np.tile(a, (4, 1)) for a in first)
    for r in range(3):
        wide = np.pad(h, ((1, 1), (0, 0)))
        state = sum(wide[i : i + 4] @ kernel[i] for i in range(3))
        h, c = update(gates[r] + state, c)
        np.testing.assert_allclose(got[r], h, rtol=1e-4, atol=1e-5)


def test_diagonal_bilstm_equals_the_recursion():
    x, params, got = layer(DiagonalBiLSTM, 1)
    expected = np.zeros((3, 4, 4))
    for name, step in (("left", 1), ("right", -1)):
        p = params[name]
        gates = masked_gates(p, x, 1, 2, 4)
        beside, above = np.asarray(p["kernel"], np.float64).reshape(2, 4, 16)
        first = np.asarray(p["first"], np.float64)
        h, c = np.zeros((3, 4, 4)), np.zeros((3, 4, 4))
        for r in range(3):
            for k in range(4)[::step]:
                inside = 0 <= k - step < 4
                h_beside, c_beside = (h[r, k - step], c[r, k - step]) if inside else first
                h_above = h[r - 1, k] if r else first[0]
                state = gates[r, k] + h_beside @ beside + h_above @ above
                h[r, k], c[r, k] = update(state, c_beside)
        if name == "left":
            expected += h
        else:
            expected[1:] += h[:-1]  # shifted down by a row
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("module", "sweeps"), [(RowLSTM, 1), (DiagonalBiLSTM, 2)])
def test_on_a_gpu_state_updates_are_matrix_products(module, sweeps):
    """A sweep has one convolution, that of its inputs, before the loop."""
    made = module(tuple(channel_groups(4, 2)), 4, 2)
    x, biases = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 3, 4, 4), (1, 1, 1, 1)))
    variables = jax.eval_shape(made.init, jax.random.key(0), x, biases)
    lowered = jax.jit(made.apply).trace(variables, x, biases).lower(lowering_platforms=("cuda",))
    main, *called = lowered.as_text().split("func.func private")
    convolutions, loops, inside = 0, 0, None  # depth of the loop that a line is in
    for line in main.splitlines():
        depth = len(line) - len(line.lstrip())
        if "stablehlo.while" in line:
            loops, inside = loops + 1, depth
        elif line.strip() == "}" and depth == inside:
            inside = None
        elif "stablehlo.convolution" in line:
            assert inside is None
            convolutions += 1
    assert inside is None
    assert convolutions == loops == sweeps
    # Of a step: in JAX 0.10 a loop calls it as a function, in 0.11 it is inlined.
    assert lowered.as_text().count("stablehlo.dot_general") == sweeps
    assert not any("stablehlo.convolution" in text for text in called)


def test_skew_and_unskew():
    x = jnp.arange(24.0).reshape(1, 3, 4, 2)
    s = skew(x)
    assert s.shape == (1, 3, 6, 2)
    for r in range(3):
        np.testing.assert_array_equal(s[0, r, r : r + 4], x[0, r])
        assert not np.delete(np.asarray(s[0, r]), range(r, r + 4), axis=0).any()
    np.testing.assert_array_equal(unskew(s, 4), x)


# Densities.


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("shape", "levels"), [((3, 3, 1), 2), ((2, 2, 2), 2), ((2, 2, 1), 4), ((1, 2, 3), 3)]
)
def test_probabilities_sum_to_one(network, shape, levels):
    config, variables = build(network, shape=shape, levels=levels, classes=2, skip=True)
    x = every_image(shape, levels)
    of = jax.jit(lambda label: pixelrnn.log_prob(config, variables, x, label))
    log_p = [np.asarray(of(jnp.full(len(x), c, jnp.int32)), np.float64) for c in (0, 1)]
    for found in log_p:
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)
        assert found.std() > 0.2
    assert np.abs(log_p[0] - log_p[1]).max() > 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_two_scales_are_normalized(network):
    """Given each small image, and together with it; the latter bounds the density of the image."""
    shape = (2, 4, 1)
    config, variables = build(network, shape=shape, factor=2, first=3)
    x = every_image(shape, 2)
    whole = np.zeros(len(x))
    of_whole = jax.jit(lambda small: pixelrnn.logits(config, variables, x, small=small))
    of_small = jitted(pixelrnn, "log_prob", pixelrnn.small_config(config))
    each = []
    for small in every_image((1, 2, 1), 2):
        given = jnp.broadcast_to(small[None], (len(x), 1, 2, 1))
        logits = of_whole(given)
        given = np.asarray(-jax.nn.softplus(-logits * (2 * x - 1)), np.float64)
        p = np.exp(given.reshape(len(x), -1).sum(1))
        assert p.sum() == pytest.approx(1, abs=1e-5)
        each.append(p)
        alone = {"params": variables["params"]["small"]}
        whole += np.exp(float(of_small(alone, small[None])[0])) * p
    assert whole.sum() == pytest.approx(1, abs=1e-5)
    # Every pixel of the small image has an effect.
    for one, other in ((0, 1), (0, 2), (1, 3)):
        assert np.abs(np.log(each[one] / each[other])).max() > 0.05
    # Samples of both follow the density.
    n = 40_000
    drawn = jax.jit(lambda key: pixelrnn.sample(config, variables, key, n))(jax.random.key(1))
    index = np.asarray(drawn).reshape(n, -1) @ (2.0 ** np.arange(8)[::-1])
    assert chi_squared(np.bincount(index.astype(int), minlength=256), whole * n) > 1e-4
    both = np.exp(np.asarray(jitted(pixelrnn, "log_prob", config)(variables, x), np.float64))
    assert (both <= whole * (1 + 1e-5)).all()
    terms = jitted(pixelrnn, "log_conditionals", config)(variables, x)
    np.testing.assert_allclose(terms.reshape(len(x), -1).sum(1), np.log(both), rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_is_conditioned_on_the_whole_small_image(network):
    """Section 3.6."""
    config, variables = build(network, shape=(8, 8, 1), factor=2)
    x = jnp.ones((1, 8, 8, 1))
    small = jax.random.bernoulli(jax.random.key(3), 0.5, (1, 4, 4, 1)).astype(jnp.float32)

    def first(large, small):
        together = {"params": {**variables["params"], "large": large}}
        return pixelrnn.logits(config, together, x, small=small)[0, 0, 0, 0]

    slopes = jax.jit(jax.grad(first, argnums=(0, 1)))
    of_large, of_small = slopes(variables["params"]["large"], small)
    assert (of_small != 0).all()  # the first pixel depends on all of them
    for layer in range(2):
        assert (of_large["rnn"][f"condition_{layer}"]["kernel"] != 0).any()
    # It depends on later pixels only through the small image.
    field = evals.receptive_field(pixelrnn, config, variables, 4, 3, small=small)
    place = np.arange(64).reshape(8, 8)
    assert not field[place >= place[4, 3]].any()
    assert field[4, 2] > 0
    # Bytes are converted.
    levels, more = build(network, shape=(4, 4, 1), factor=2, levels=256)
    x, small = jnp.full((1, 4, 4, 1), 9.0), np.full((1, 2, 2, 1), 200)
    logits = jitted(pixelrnn, "logits", levels)
    same = [logits(more, x, small=small.astype(kind)) for kind in ("uint8", "float32")]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("levels", [2, 5])
def test_logits_depend_on_earlier_values_only(network, levels):
    config, variables = build(network, shape=(3, 3, 3), levels=levels)
    # Wide enough for an active unit in each group.
    config = dataclasses.replace(config, features=18, head=18)
    variables = random_arrays(lambda key: pixelrnn.init(config, key), scale=0.3)
    x = jax.random.uniform(jax.random.key(0), (6, *config.shape)) * (levels - 1)

    def of(x):
        return pixelrnn.logits(config, variables, x[None]).reshape(27, -1)

    dense = np.asarray(jax.jit(jax.vmap(jax.jacrev(of)))(x)).reshape(6, 27, -1, 27)
    seen = np.abs(dense).max(axis=(0, 2)) > 0
    assert not np.triu(seen).any()
    assert seen[12 + 1, 12]
    assert seen[12 + 2, 12]
    assert seen[12 + 2, 13]
    if network == "diagonal":  # all earlier values, except channels that are masked
        assert seen[24, :24].all()


def test_one_diagonal_layer_depends_on_every_earlier_pixel():
    config, variables = build("diagonal", shape=(9, 9, 1), layers=1)
    field = evals.receptive_field(pixelrnn, config, variables, 6, 3)
    assert not evals.unseen_pixels(field, 6, 3).any()


def test_the_receptive_field_of_row_lstm_is_a_triangle():
    config, variables = build("row", shape=(9, 9, 1), layers=1)
    hidden = evals.unseen_pixels(evals.receptive_field(pixelrnn, config, variables, 6, 1), 6, 1)
    # In the row above, the three columns of the state kernel and one more of the first kernel; one
    # more column with every row.
    for up in range(1, 7):
        assert not hidden[6 - up, : 2 + up].any()
        assert hidden[6 - up, 3 + up :].all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "settings",
    [
        {"shape": (4, 5, 1), "levels": 2, "skip": True},
        {"shape": (3, 4, 3), "levels": 4, "residual": False},
        {"shape": (4, 4, 1), "levels": 2, "factor": 2},
    ],
    ids=["bits", "levels", "two_scales"],
)
def test_all_sampling_methods_draw_the_same_images(network, settings):
    config, variables = build(network, classes=2, **settings)
    label = jnp.arange(10) % 2
    x = sample_by_all_methods(pixelrnn, config, variables, label)
    assert len(np.unique(x)) == config.levels
    # Also with known values that end within a row and a pixel.
    known = (np.arange(x[0].size) < x[0].size // 2 - 1).reshape(config.shape)
    image = jax.random.randint(jax.random.key(5), x.shape, 0, config.levels).astype(jnp.float32)
    small = image[:, ::2, ::2] if config.factor > 1 else None
    ended = sample_by_all_methods(
        pixelrnn, config, variables, label, given=(image, known), small=small
    )
    np.testing.assert_array_equal(ended[:, known], image[:, known])
    assert (ended[:, ~known] != x[:, ~known]).any()


@pytest.mark.parametrize("classes", [0, 2])
def test_joined_images_are_independent(classes):
    """On a CPU images are joined in a sweep; densities and gradients equal those of each alone."""
    config, variables = build(shape=(4, 5, 1), classes=classes)
    x = (jax.random.uniform(jax.random.key(0), (12, 4, 5, 1)) < 0.5).astype(jnp.float32)
    label = (jnp.arange(12) % 2,) if classes else ()
    assert len(x) // IMAGES_IN_CACHE == 3

    def of(variables, x, *label):
        return jnp.sum(pixelrnn.log_prob(config, variables, x, *label) ** 2)

    both = jax.jit(jax.value_and_grad(of, (0, 1), allow_int=True))
    whole, (slopes, pixels) = both(variables, x, *label)
    alone = [both(variables, *(a[i : i + 1] for a in (x, *label))) for i in range(12)]
    np.testing.assert_allclose(whole, sum(a[0] for a in alone), rtol=1e-5)
    each = jax.tree.map(lambda *leaves: sum(leaves), *(a[1][0] for a in alone))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), slopes, each)
    apart = np.concatenate([a[1][1] for a in alone])
    np.testing.assert_allclose(pixels, apart, rtol=1e-3, atol=1e-4)
    # NaN in one image does not affect the others.
    if classes:
        label = (label[0].at[0].set(2),)
    else:
        x = x.at[0, 0, 0, 0].set(jnp.nan)
    found = jax.jit(functools.partial(pixelrnn.log_prob, config))(variables, x, *label)
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()


@pytest.mark.parametrize(("network", "classes"), [("diagonal", 0), ("diagonal", 2), ("row", 0)])
def test_code_path_of_other_devices_is_equal(network, classes, monkeypatch):
    """GPU and TPU compute the gates of all pixels first, and do not join images."""
    config, variables = build(shape=(4, 5, 1), classes=classes, network=network)
    x = (jax.random.uniform(jax.random.key(0), (8, 4, 5, 1)) < 0.5).astype(jnp.float32)
    label = (jnp.arange(8) % 2,) if classes else ()

    def of(variables):
        return jnp.sum(pixelrnn.log_prob(config, variables, x, *label) ** 2)

    def both():
        return jax.jit(jax.value_and_grad(of))(variables)

    calls, here = [], both()

    def elsewhere(*args, cpu, default):
        calls.append(cpu)
        return default(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
    there = both()
    sweeps = 2 if network == "diagonal" else 1
    assert len(calls) >= sweeps * config.layers
    # The gradient stores the state and the gates of a step only.
    kept = [
        sum(v.aval.ndim == 4 for v in e.outvars)  # of all steps
        for e in equations(jax.make_jaxpr(jax.grad(of))(variables).jaxpr)
        if e.primitive.name == "scan" and not e.params["reverse"]
    ]
    assert len(kept) == sweeps * config.layers
    assert max(kept) <= 4
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, here, there)


def test_join_and_split_images():
    x = np.arange(6 * 2 * 3).reshape(6, 2, 3, 1)
    beside = join_images(jnp.asarray(x), 3)
    assert beside.shape == (2, 2, 9, 1)
    np.testing.assert_array_equal(beside[0, :, 3:6], x[1])
    np.testing.assert_array_equal(split_images(beside, 3), x)


@pytest.mark.parametrize("network", NETWORKS)
def test_samples_follow_the_density(network):
    config, variables = build(network, shape=(2, 2, 1), levels=3)
    n = 20_000
    draw = jax.jit(lambda key: pixelrnn.sample(config, variables, key, n))
    index = np.asarray(draw(jax.random.key(1))).reshape(n, -1) @ (3.0 ** np.arange(4)[::-1])
    log_p = pixelrnn.log_prob(config, variables, every_image((2, 2, 1), 3))
    expected = np.exp(np.asarray(log_p, np.float64)) * n
    assert chi_squared(np.bincount(index.astype(int), minlength=81), expected) > 1e-4


def chi_squared(seen, expected):
    """Computes the p-value of counts, with rare cells pooled."""
    rare = expected < 5
    cells = [np.append(a[~rare], a[rare].sum()) for a in (seen.astype(float), expected)]
    keep = cells[1] > 0
    return stats.chisquare(*(c[keep] / c[keep].sum() * seen.sum() for c in cells)).pvalue


def test_completes_lower_halves_and_two_scales_need_the_small_image():
    config, variables = build(shape=(4, 4, 1))
    x = (jax.random.uniform(jax.random.key(0), (3, 4, 4, 1)) < 0.5).astype(jnp.float32)
    known = np.zeros((4, 4, 1), bool)
    known[:2] = True
    found = evals.complete(pixelrnn, config, variables, jax.random.key(1), x, known)
    np.testing.assert_array_equal(found[:, :2], x[:, :2])
    again = pixelrnn.complete(
        config,
        variables,
        jax.random.key(1),
        jnp.where(known[None], x, 0),
        known,
        method="naive",
    )
    np.testing.assert_array_equal(found, again)
    config, variables = build(shape=(4, 4, 1), factor=2)
    with pytest.raises(ValueError, match=r"pass x\[:, ::2, ::2\] as `small`"):
        pixelrnn.complete(config, variables, jax.random.key(0), x, known)
    small = x[:, ::2, ::2]
    drawn = pixelrnn.complete(config, variables, jax.random.key(0), x, known, small=small)
    np.testing.assert_array_equal(drawn[:, :2], x[:, :2])


def test_rejects_invalid_settings():
    with pytest.raises(ValueError, match="first must be odd"):
        dataclasses.replace(TINY, first=4)
    with pytest.raises(ValueError, match=r"factor must divide the sides \(3, 3\)"):
        dataclasses.replace(TINY, factor=2)
    with pytest.raises(ValueError, match="features and head are divided among 3 channels"):
        dataclasses.replace(TINY, shape=(3, 3, 3), head=2)
    config, variables = build()
    with pytest.raises(ValueError, match="has one scale"):
        pixelrnn.sample(config, variables, jax.random.key(0), 1, small=jnp.zeros((1, 2, 2, 1)))


def test_rejects_invalid_small_images():
    config, variables = build(shape=(4, 4, 1), factor=2)
    x = jnp.zeros((3, 4, 4, 1))
    with pytest.raises(ValueError, match=r"small must be \[3, 2, 2, 1\]"):
        pixelrnn.logits(config, variables, x, small=x)
    with pytest.raises(ValueError, match=r"small must be \[2, 2, 2, 1\]"):
        pixelrnn.sample(config, variables, jax.random.key(0), 2, small=jnp.zeros((1, 2, 2, 1)))
    with pytest.raises(ValueError, match="small must be integers from 0 to 1, got values from"):
        pixelrnn.sample(config, variables, jax.random.key(0), 1, small=jnp.full((1, 2, 2, 1), 0.5))
    known = np.zeros(config.shape, bool)
    known[:1] = True
    with pytest.raises(ValueError, match="small differs from known values of x"):
        pixelrnn.complete(
            config, variables, jax.random.key(0), jnp.zeros((1, *config.shape)), known,
            small=jnp.ones((1, 2, 2, 1)),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"x must be images \[B, 4, 4, 1\] and known a bool mask"):
        pixelrnn.complete(
            config, variables, jax.random.key(0), jnp.zeros((1, *config.shape)), known[None],
            small=jnp.zeros((1, 2, 2, 1)),
        )  # fmt: skip
    assert pixelrnn.traits(config).metric == "NLL bound"
    assert pixelrnn.traits(pixelrnn.tiny()).metric == "NLL"


def test_the_network_for_mnist_has_the_papers_layers():
    shapes = jax.eval_shape(lambda k: pixelrnn.init(pixelrnn.Config(), k), jax.random.key(0))
    rnn = shapes["params"]["rnn"]
    # Rows of the 7x7 kernel up to the pixel's own.
    assert rnn["first"]["kernel"].shape == (4, 7, 1, 32)
    assert sum(name.startswith("lstm_") for name in rnn) == 7
    assert rnn["lstm_0"]["left"]["kernel"].shape == (2 * 16, 4 * 16)
