"""PixelCNN++: normalization, causality, weight normalization, samplers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from support.helpers import equations, jitted, random_arrays, sample_by_all_methods

from genjax import evals
from genjax.core import init_state, make_step
from genjax.families import pixelcnn_pp
from genjax.families.pixelcnn_pp import streams, weight_norm
from genjax.families.pixelcnn_pp.weight_norm import (
    WeightNorm,
    WeightNormUp,
    shift_down,
    shift_right,
)
from genjax.nn.causal import scale_levels

TINY = dataclasses.replace(pixelcnn_pp.tiny(), halvings=1, dropout=0.0)


def build(seed=1, scale=0.5, **settings):
    config = dataclasses.replace(TINY, **settings)
    return config, random_arrays(lambda key: pixelcnn_pp.init(config, key), scale=scale, seed=seed)


def every_image(shape, levels):
    found = list(itertools.product(range(levels), repeat=int(np.prod(shape))))
    return jnp.asarray(found, jnp.float32).reshape(-1, *shape)


@pytest.mark.parametrize(
    ("shape", "levels", "halvings"),
    [((4, 3, 1), 2, 2), ((3, 3, 1), 2, 1), ((2, 2, 2), 2, 1), ((2, 2, 1), 4, 1), ((1, 2, 3), 3, 0)],
)
def test_probabilities_sum_to_one(shape, levels, halvings):
    config, variables = build(shape=shape, levels=levels, halvings=halvings, classes=2)
    x = every_image(shape, levels)
    of = jax.jit(lambda label: pixelcnn_pp.log_prob(config, variables, x, label))
    log_p = [np.asarray(of(jnp.full(len(x), c, jnp.int32)), np.float64) for c in (0, 1)]
    for found in log_p:
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)
        assert found.std() > 0.2
    assert np.abs(log_p[0] - log_p[1]).max() > 0.05


def jacobian(config, variables, x):
    """Computes the largest derivative of each pixel's mixture by each pixel, `[H W, H W]`."""
    h, w, _ = config.shape

    def of(x):
        parts = pixelcnn_pp.mixture(config, variables, x[None])
        return jnp.concatenate([p.reshape(h * w, -1) for p in parts], axis=1)

    dense = jax.jit(jax.vmap(jax.jacrev(of)))(x)  # [N, pixel, numbers, H, W, C]
    return np.abs(np.asarray(dense)).max(axis=(0, 2, 5)).reshape(h * w, h * w)


def test_pixels_depend_on_all_earlier_pixels_only():
    config, variables = build(shape=(5, 6, 1), levels=4, halvings=2, features=6, scale=0.3)
    x = jax.random.uniform(jax.random.key(0), (3, 5, 6, 1)) * 3
    seen = jacobian(config, variables, x) > 0
    assert not np.triu(seen).any()
    # There is no blind spot.
    assert seen[-1, :-1].all()
    assert seen[20, 8:20].all()


def test_probabilities_sum_to_one_with_two_halvings_of_both_axes():
    config, variables = build(shape=(4, 4, 1), levels=2, halvings=2, components=2, features=4)
    bits = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    x = jnp.asarray(bits.reshape(-1, 2048, 4, 4, 1), jnp.float32)
    of = jax.jit(lambda x: jax.lax.map(lambda x: pixelcnn_pp.log_prob(config, variables, x), x))
    log_p = np.asarray(of(x), np.float64)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    assert log_p.std() > 0.2


def test_channels_depend_on_earlier_channels_only():
    config, variables = build(shape=(3, 3, 3), levels=8, halvings=1)
    x = jax.random.randint(jax.random.key(0), (27,), 1, 7)
    # An image, and copies with one value changed; only integers have a density.
    moved = x[None] + jnp.concatenate([jnp.zeros((1, 27), int), jnp.eye(27, dtype=int)])
    log_p = jitted(pixelcnn_pp, "log_conditionals", config)(
        variables, moved.reshape(28, 3, 3, 3).astype(jnp.float32)
    ).reshape(28, 27)
    seen = np.asarray(log_p[1:] != log_p[:1]).T  # [value, input]
    assert not np.triu(seen, 1).any()
    assert seen.diagonal().all()  # the density is that of its own value
    red = 4 * 3  # of the middle pixel
    assert seen[red + 1, red]
    assert seen[red + 2, red]
    assert seen[red + 2, red + 1]
    assert seen[red, red - 3 : red].all()


def test_probabilities_do_not_sum_to_one_without_a_shift(monkeypatch):
    from genjax.families.pixelcnn_pp import streams

    monkeypatch.setattr(streams, "shift_right", lambda x: x)
    config, variables = build(shape=(3, 3, 1), scale=0.8)
    log_p = jitted(pixelcnn_pp, "log_prob", config)(variables, every_image((3, 3, 1), 2))
    total = np.exp(log_p).sum()
    assert abs(total - 1) > 1e-2


@pytest.mark.parametrize(("shape", "levels"), [((5, 6, 1), 6), ((3, 4, 3), 4)])
def test_all_sampling_methods_draw_the_same_images(shape, levels):
    halvings = 2 if shape[2] == 1 else 1
    config, variables = build(
        shape=shape, levels=levels, classes=2, components=3, halvings=halvings
    )
    label = jnp.arange(10) % 2
    x = sample_by_all_methods(pixelcnn_pp, config, variables, label)
    assert len(np.unique(x)) > 2
    # Also with known values that end within a row and a pixel.
    known = (np.arange(x[0].size) < x[0].size // 2 - 1).reshape(shape)
    image = jax.random.randint(jax.random.key(5), x.shape, 0, levels).astype(jnp.float32)
    ended = sample_by_all_methods(pixelcnn_pp, config, variables, label, given=(image, known))
    np.testing.assert_array_equal(ended[:, known], image[:, known])


@pytest.mark.parametrize(("shape", "halvings"), [((5, 6, 1), 2), ((4, 5, 3), 1), ((8, 7, 1), 2)])
def test_rows_and_pixels_equal_the_whole_map(shape, halvings):
    """At all levels; entries of deeper ones are computed at the first pixel that they cover."""
    config, variables = build(shape=shape, levels=4, halvings=halvings, classes=2, scale=0.7)
    network, (rows, columns, channels) = pixelcnn_pp._network(config), shape
    x = scale_levels(
        jax.random.randint(jax.random.key(0), (3, *shape), 0, 4).astype(jnp.float32), 4
    )
    condition = jax.nn.one_hot(jnp.array([0, 1, 1]), 2)
    apply = functools.partial(network.apply, mutable=["cache"])
    whole, kept = network.apply(variables, x, condition, mutable=["cache", "kernels"])
    variables, cache = {**variables, "kernels": kept["kernels"]}, {"cache": kept["cache"]}

    @jax.jit
    def of_row(cache, above, r):
        return apply({**variables, **cache}, above, condition, r, method="row")

    @jax.jit
    def of_pixel(cache, left, us, r, c):
        return apply({**variables, **cache}, left, us, condition, r, c, method="pixel")

    found = np.zeros_like(whole)
    for r in range(rows):
        above = x[:, r - 1 : r] if r else jnp.zeros((3, 1, columns, channels))
        us, cache = of_row(cache, above, jnp.asarray(r))
        for c in range(columns):
            left = x[:, r : r + 1, c - 1 : c] if c else jnp.zeros((3, 1, 1, channels))
            found[:, r, c], cache = of_pixel(cache, left, us, jnp.asarray(r), jnp.asarray(c))
    np.testing.assert_allclose(found, whole, atol=2e-5)


def test_constants_are_computed_once_for_all_pixels(monkeypatch):
    """Norms of the weights; and deeper levels are skipped if their inputs are not new."""
    config, variables = build(shape=(5, 6, 1), levels=4, halvings=2)
    layers, normalized = [], weight_norm._weights

    def counted(module, *arguments):
        layers.append(module.path)
        return normalized(module, *arguments)

    monkeypatch.setattr(weight_norm, "_weights", counted)
    draw = functools.partial(pixelcnn_pp.sample, config, variables, n=2)
    traced = jax.make_jaxpr(draw)(jax.random.key(0)).jaxpr
    paths = [p for p, _ in jax.tree.leaves_with_path(variables["params"]) if p[-1].key == "v"]
    assert len(layers) == len(paths)
    loops = [e for e in equations(traced) if e.primitive.name == "while"]
    assert len(loops) == 2 * config.halvings  # of at most one iteration, per stream and level


def test_draw_mixture_inverts_the_cumulative_distribution():
    """Bisection against a search through all levels, channels conditioned on each other."""
    rng = np.random.default_rng(0)
    shapes = [(7, 4), (7, 3, 4), (7, 3, 4), (7, 3, 4)]
    parts = [jnp.asarray(rng.normal(size=(1, *s)), jnp.float32) for s in shapes]
    parts[2] = parts[2] - 1
    noise = jnp.asarray(rng.random((1, 7, 3)), jnp.float32)
    four = [p[:, None] for p in parts]
    x = np.asarray(pixelcnn_pp.draw_mixture(tuple(four), noise[:, None], 11))[0, 0]
    from genjax.losses import logistic_mixture_nats

    names = ("logits", "means", "log_scales", "coefficients")
    for c in range(3):
        every = np.tile(x[None], (11, 1, 1))
        every[:, :, c] = np.arange(11)[:, None]
        many = {
            n: jnp.broadcast_to(p, (11, *p.shape[1:])) for n, p in zip(names, parts, strict=True)
        }
        nats = logistic_mixture_nats(jnp.asarray(every), **many, levels=11)
        below = np.exp(-np.asarray(nats[:, :, c], np.float64)).cumsum(axis=0)
        expected = (np.asarray(noise)[0, :, c][None] >= below[:-1]).sum(axis=0)
        np.testing.assert_array_equal(x[:, c], expected)


def test_samples_follow_the_density():
    config, variables = build(shape=(1, 2, 2), levels=3)
    n = 20_000
    draw = jax.jit(lambda key: pixelcnn_pp.sample(config, variables, key, n))
    index = np.asarray(draw(jax.random.key(1))).reshape(n, -1) @ (3.0 ** np.arange(4)[::-1])
    seen = np.bincount(index.astype(int), minlength=81)
    log_p = jitted(pixelcnn_pp, "log_prob", config)(variables, every_image((1, 2, 2), 3))
    p = np.exp(np.asarray(log_p, np.float64))
    assert stats.chisquare(seen, n * p / p.sum()).pvalue > 1e-4


@pytest.mark.parametrize("method", ["cached", "naive"])
def test_completions_follow_the_conditional_density(method):
    """Also if only the first channel of a pixel is known."""
    config, variables = build(shape=(1, 2, 2), levels=3)
    n = 6000
    known = np.array([[[True, True], [True, False]]])
    x = jnp.broadcast_to(jnp.array([[[2.0, 0.0], [1.0, 0.0]]]), (n, 1, 2, 2))
    draw = jax.jit(
        lambda key, x: pixelcnn_pp.complete(config, variables, key, x, known, method=method)
    )
    found = np.asarray(draw(jax.random.key(2), x))
    assert (found.reshape(n, 4)[:, :3] == [2, 0, 1]).all()
    seen = np.bincount(found[:, 0, 1, 1].astype(int), minlength=3)
    images = every_image((1, 2, 2), 3)
    fits = np.asarray((images.reshape(-1, 4)[:, :3] == jnp.array([[2, 0, 1]])).all(1))
    log_p = jitted(pixelcnn_pp, "log_prob", config)(variables, images[fits])
    p = np.exp(np.asarray(log_p, np.float64))
    assert stats.chisquare(seen, n * p / p.sum()).pvalue > 1e-4


def test_lower_halves_are_completed():
    config, variables = build(shape=(4, 4, 1), levels=8)
    x = jax.random.randint(jax.random.key(0), (3, 4, 4, 1), 0, 8).astype(jnp.float32)
    known = np.zeros((4, 4, 1), bool)
    known[:2] = True
    found = evals.complete(pixelcnn_pp, config, variables, jax.random.key(1), x, known)
    np.testing.assert_array_equal(found[:, :2], x[:, :2])
    assert (found[:, 2:] != x[:, 2:]).any()


@pytest.mark.parametrize(
    "layer",
    [
        WeightNorm(6, 2, 3, above=1, left=1, right=1, scale=0.7),
        WeightNorm(6, 2, 3, above=1, left=1, right=1, stride=2, scale=0.7),
        WeightNormUp(6, 3, left=1),
    ],
)
def test_initial_outputs_are_standardized(layer):
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (8, 5, 5, 4))
    variables = layer.init(jax.random.key(1), x)
    out = np.asarray(layer.apply(variables, x))
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(0, 1, 2)), getattr(layer, "scale", 1.0), rtol=1e-4)
    # The length of v has no effect.
    longer = {"params": {**variables["params"], "v": 3 * variables["params"]["v"]}}
    np.testing.assert_allclose(layer.apply(longer, x), out, atol=1e-4)


def test_init_standardizes_on_the_given_batch():
    x = jax.random.randint(jax.random.key(0), (64, 3, 3, 1), 0, 2).astype(jnp.float32)
    key = jax.random.key(1)
    one, other = (pixelcnn_pp.init(TINY, key, b)["params"] for b in ({"x": x}, {"x": 0 * x}))
    np.testing.assert_array_equal(one["first_u"]["v"], other["first_u"]["v"])
    assert (one["first_u"]["g"] != other["first_u"]["g"]).any()
    # In uint8 twice a byte would wrap around.
    with pytest.raises(ValueError, match=r"cast it with .astype\('float32'\)"):
        pixelcnn_pp.init(TINY, key, {"x": x.astype(jnp.uint8)})


def test_initial_scales_of_the_whole_network():
    """Residual branches have a tenth of the deviation of their sum, logits deviation 1."""
    config = dataclasses.replace(TINY, shape=(6, 6, 1), levels=256)
    x = jax.random.randint(jax.random.key(0), (100, 6, 6, 1), 0, 256).astype(jnp.float32)
    variables = pixelcnn_pp.init(config, jax.random.key(1), {"x": x})
    network, seen = pixelcnn_pp._network(config), 2 * x / 255 - 1
    keep = {"capture_intermediates": True, "mutable": ["intermediates"]}
    kept = jax.jit(lambda v: network.apply(v, seen, **keep)[1])(variables)["intermediates"]
    blocks = [part for name, part in kept.items() if name.split("_")[0] in ("down", "up")]
    assert len(blocks) == 2 * (2 + 3)
    for block in blocks:
        last = max(name for name in block if name.startswith("WeightNorm"))
        (out,) = block[last]["__call__"]
        assert out.shape[-1] == 2 * config.features
        np.testing.assert_allclose(out.std(axis=(0, 1, 2)), 0.1, rtol=1e-3)
    (out,) = kept["last"]["__call__"]
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(0, 1, 2)), 1, rtol=1e-3)


def test_scales_are_bounded_below():
    config, variables = build(levels=4)
    x = jnp.zeros((2, *config.shape))
    free = pixelcnn_pp.mixture(config, variables, x)[2]
    assert float(free.min()) > -6
    last = {**variables["params"]["last"]}
    last["bias"] = last["bias"] - 100
    fallen = {"params": {**variables["params"], "last": last}}
    np.testing.assert_array_equal(pixelcnn_pp.mixture(config, fallen, x)[2], -7)


@pytest.mark.parametrize(("shape", "halvings"), [((2, 2, 1), 1), ((1, 8, 1), 0)])
def test_initialization_on_maps_of_zeros(shape, halvings):
    """With a single row the input of stream u is 0, so that there is no deviation to scale."""
    config = dataclasses.replace(TINY, shape=shape, halvings=halvings)
    x = jax.random.randint(jax.random.key(0), (40, *shape), 0, 2).astype(jnp.float32)
    optimizer = optax.adam(1e-3)
    state = init_state(pixelcnn_pp, config, optimizer, jax.random.key(1), batch={"x": x})
    step = jax.jit(make_step(pixelcnn_pp, config, optimizer))
    nats = []
    for _ in range(4):
        state, metrics = step(state, {"x": x})
        nats.append(float(metrics["loss"]))
    uniform = np.prod(shape) * np.log(2)
    assert max(nats) < 3 * uniform
    assert nats[-1] < nats[0]


def test_shifts():
    x = jnp.arange(1.0, 7.0).reshape(1, 2, 3, 1)
    assert shift_down(x)[0, ..., 0].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert shift_right(x)[0, ..., 0].tolist() == [[0, 1, 2], [0, 4, 5]]


def test_concatenated_elus_are_of_both_signs():
    x = jnp.array([[-1.0, 2.0]])
    want = [[np.expm1(-1), 2, 1, np.expm1(-2)]]
    np.testing.assert_allclose(streams.concat_elu(x), want, rtol=1e-6)


def test_the_network_has_the_size_of_the_authors():
    config = pixelcnn_pp.Config()
    shapes = jax.eval_shape(lambda k: pixelcnn_pp.init(config, k), jax.random.key(0))
    params = shapes["params"]
    # 5 blocks of both streams at 3 resolutions, and 5, 6 and 6 on the way up.
    blocks = [n for n in params if n.split("_")[0] in ("down", "up")]
    assert len(blocks) == 2 * (15 + 17)
    assert params["last"]["v"].shape == (1, 1, 160, 10 * (1 + 3 + 3 + 3))
    count = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))
    assert 50e6 < count < 60e6
