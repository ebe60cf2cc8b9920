"""PixelCNN, masked and gated: normalization, causality over pixels and channels, samplers."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import jitted, random_arrays, sample_by_all_methods

from genjax import evals, families
from genjax.core import draw_noise, draw_parallel, draw_values
from genjax.families import pixelcnn, pixelrnn
from genjax.nn.causal import channel_groups, kernel_mask

NETWORKS = ("masked", "gated")
TINY = pixelcnn.tiny()


def build(network="gated", seed=1, scale=0.7, **settings):
    """Returns a Config without dropout, and random variables."""
    config = dataclasses.replace(TINY, network=network, dropout=0.0, features=6, head=6, **settings)
    return config, random_arrays(lambda key: pixelcnn.init(config, key), scale=scale, seed=seed)


def every_image(config):
    size = int(np.prod(config.shape))
    found = list(itertools.product(range(config.levels), repeat=size))
    return jnp.asarray(found, jnp.float32).reshape(-1, *config.shape)


CASES = [((3, 3, 1), 2), ((2, 2, 2), 2), ((2, 2, 1), 4), ((1, 2, 3), 3)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("shape", "levels"), CASES)
def test_probabilities_sum_to_one(network, shape, levels):
    config, variables = build(network, shape=shape, levels=levels, classes=2)
    x = every_image(config)
    of = jax.jit(lambda label: pixelcnn.log_prob(config, variables, x, label))
    log_p = [np.asarray(of(jnp.full(len(x), c, jnp.int32)), np.float64) for c in (0, 1)]
    for found in log_p:
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)
        assert found.std() > 0.2
    assert np.abs(log_p[0] - log_p[1]).max() > 0.1  # the class matters


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("levels", [2, 5])
def test_logits_depend_on_earlier_values_only(network, levels):
    """At a pixel itself R depends on no channel, G on R, and B on both."""
    config, variables = build(network, shape=(3, 3, 3), levels=levels)
    x = jax.random.uniform(jax.random.key(0), (6, *config.shape)) * (levels - 1)

    def of(x):
        return pixelcnn.logits(config, variables, x[None]).reshape(27, -1)  # value, levels

    dense = np.asarray(jax.jit(jax.vmap(jax.jacrev(of)))(x)).reshape(6, 27, -1, 27)
    seen = np.abs(dense).max(axis=(0, 2)) > 0  # [value, input]
    assert not np.triu(seen).any()
    assert seen[12 + 1, 12]  # G of the middle pixel depends on its R
    assert seen[12 + 2, 12]
    assert seen[12 + 2, 13]
    assert seen[12, 9:12].all()  # R depends on all channels of the left neighbor
    assert seen[12, 0:9].any()


def test_probabilities_do_not_sum_to_one_with_a_leaking_mask(monkeypatch):
    from genjax.nn import causal

    config, variables = build("masked")
    right = kernel_mask
    monkeypatch.setattr(causal, "kernel_mask", lambda *a: right(*a[:-1], "B"))
    total = np.exp(pixelcnn.log_prob(config, variables, every_image(config))).sum()
    assert abs(total - 1) > 1e-2


def test_initial_weights_of_blocks_decrease_with_their_number():
    config = pixelcnn.Config(network="masked", layers=4, features=32)
    params = pixelcnn.init(config, jax.random.key(0))["params"]
    for i in range(4):
        for name, fan_in, expected in (("down", 64, 1), ("up", 32, 1 / 4)):
            variance = np.var(params[f"{name}_{i}"]["kernel"]) * fan_in
            assert variance == pytest.approx(expected, rel=0.15)


def test_kernel_masks_equal_explicit_ones():
    inputs, outputs = np.array([0, 1, 2]), np.array([0, 0, 1, 2])
    a = kernel_mask(2, 3, 1, inputs, outputs, "A")
    assert a[0].all()  # the row above, all of it
    assert a[1, 0].all()  # the pixel on the left
    assert not a[1, 2].any()  # the pixel on the right
    np.testing.assert_array_equal(a[1, 1], [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    b = kernel_mask(2, 3, 1, inputs, outputs, "B")
    np.testing.assert_array_equal(b[1, 1], [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    assert channel_groups(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("shape", "levels", "kernel"), [((4, 5, 1), 2, 5), ((3, 4, 3), 4, 3)])
def test_all_sampling_methods_draw_the_same_images(network, shape, levels, kernel):
    sizes = {"shape": shape, "levels": levels, "kernel": kernel, "first": kernel}
    config, variables = build(network, **sizes, classes=2)
    label = jnp.arange(12) % 2
    x = sample_by_all_methods(pixelcnn, config, variables, label)
    assert set(np.unique(x)) == set(range(levels))
    # Also with known values that end within a row and a pixel.
    known = (np.arange(x[0].size) < x[0].size // 2 - 1).reshape(shape)
    image = jax.random.randint(jax.random.key(5), x.shape, 0, levels).astype(jnp.float32)
    ended = sample_by_all_methods(pixelcnn, config, variables, label, given=(image, known))
    np.testing.assert_array_equal(ended[:, known], image[:, known])


def test_parallel_sampling_needs_fewer_rounds_than_values():
    config, variables = build(shape=(6, 6, 1), scale=0.3)
    noise = draw_noise(jax.random.key(0), 8, config.shape)
    _, rounds = draw_parallel(
        lambda x: draw_values(pixelcnn.logits(config, variables, x), noise, 2), noise
    )
    assert 1 < int(rounds) < 36


@pytest.mark.parametrize("network", NETWORKS)
def test_samples_follow_the_density(network):
    config, variables = build(network, shape=(1, 2, 2), levels=3)
    n = 20_000
    draw = jax.jit(lambda key: pixelcnn.sample(config, variables, key, n))
    index = np.asarray(draw(jax.random.key(1))).reshape(n, -1) @ (3.0 ** np.arange(4)[::-1])
    seen = np.bincount(index.astype(int), minlength=81)
    p = np.exp(np.asarray(pixelcnn.log_prob(config, variables, every_image(config)), np.float64))
    assert stats.chisquare(seen, n * p / p.sum()).pvalue > 1e-4


@pytest.mark.parametrize("method", ["cached", "parallel", "naive"])
def test_completions_follow_the_conditional_density(method):
    config, variables = build(shape=(2, 2, 1), levels=3)
    n = 6000
    known = np.array([[[True], [True]], [[False], [False]]])
    x = np.broadcast_to(np.array([[[2.0], [0.0]], [[1.0], [1.0]]]), (n, 2, 2, 1))
    found = np.asarray(
        pixelcnn.complete(
            config, variables, jax.random.key(2), jnp.asarray(x), known, method=method
        )
    )
    assert (found[:, 0, :, 0] == [2, 0]).all()
    seen = np.bincount((found[:, 1, 0, 0] * 3 + found[:, 1, 1, 0]).astype(int), minlength=9)
    images = every_image(config)
    fits = np.asarray((images[:, 0, 0, 0] == 2) & (images[:, 0, 1, 0] == 0))
    p = np.exp(np.asarray(pixelcnn.log_prob(config, variables, images[fits]), np.float64))
    assert stats.chisquare(seen, n * p / p.sum()).pvalue > 1e-4


def test_evals_complete_uses_the_familys_sampler():
    config, variables = build(shape=(4, 4, 1))
    x = (jax.random.uniform(jax.random.key(0), (3, 4, 4, 1)) < 0.5).astype(jnp.float32)
    known = np.zeros((4, 4, 1), bool)
    known[:2] = True
    found = evals.complete(pixelcnn, config, variables, jax.random.key(1), x, known)
    np.testing.assert_array_equal(found[:, :2], x[:, :2])
    with pytest.raises(ValueError, match="known values must come first"):
        evals.complete(pixelcnn, config, variables, jax.random.key(1), x, ~known)


def test_only_the_masked_network_has_a_blind_spot():
    share = {}
    for network in NETWORKS:
        config, variables = build(network, shape=(9, 9, 1), layers=8)
        field = evals.receptive_field(pixelcnn, config, variables, 6, 3)
        share[network] = evals.unseen_pixels(field, 6, 3)
    assert not share["gated"].any()
    spot = share["masked"]
    assert spot.any()
    # It is on the right, at the slope of the kernel: in the row above, one pixel to the right is in
    # the field, and two to the right is not.
    assert spot[5, 6:].all()
    assert not spot[:, :4].any()


def test_a_field_with_the_pixel_itself_is_an_error():
    field = np.zeros((3, 3))
    field[1, 1] = 1.0
    with pytest.raises(ValueError, match="later pixels"):
        evals.unseen_pixels(field, 1, 1)
    assert evals.unseen_pixels(field, 1, 1, channels=3).sum() == 4


@pytest.mark.parametrize("family", [pixelcnn, pixelrnn])
def test_initial_bits_of_bytes_are_near_eight(family):
    config = family.Config(shape=(4, 4, 3), levels=256, layers=1, features=12, first=3, head=12)
    variables = family.init(config, jax.random.key(0))
    x = jax.random.randint(jax.random.key(1), (2, 4, 4, 3), 0, 256).astype(jnp.float32)
    log_prob = jitted(family, "log_prob", config)
    np.testing.assert_allclose(-log_prob(variables, x) / (48 * np.log(2)), 8, atol=1)
    assert np.isnan(log_prob(variables, x + 256)).all()
    assert family.traits(config).sample_range == (0.0, 255.0)


def test_values_that_are_not_levels_have_density_nan():
    config, variables = build(shape=(2, 2, 1), levels=4)
    x = jnp.zeros((4, 2, 2, 1)).at[1:, 1, 1, 0].set(jnp.array([1.5, -0.5, 4.0]))
    found = jax.jit(pixelcnn.log_prob, static_argnums=0)(config, variables, x)
    assert np.isfinite(found[0])
    assert np.isnan(found[1:]).all()


def test_complete_rejects_invalid_known_values():
    config, variables = build(shape=(2, 3, 1))
    x, known = jnp.zeros((4, 2, 3, 1)), np.zeros((2, 3, 1), bool)

    def attempt(x, known):
        return pixelcnn.complete(config, variables, jax.random.key(0), x, known)

    with pytest.raises(ValueError, match=r"x must be images \[B, 2, 3, 1\]"):
        attempt(x[:, :1], known)
    with pytest.raises(ValueError, match="bool mask"):
        attempt(x, known[None])
    late = known.copy()
    late[1, 1] = True
    with pytest.raises(ValueError, match="come first in raster order"):
        attempt(x, late)
    known[0, 0] = True
    with pytest.raises(ValueError, match=r"integers from 0 to 1, got values from 0\.5 to 0\.5"):
        attempt(x + 0.5, known)
    assert (np.asarray(attempt(np.ones((4, 2, 3, 1)), known.tolist()))[:, 0, 0] == 1).all()


@pytest.mark.parametrize("name", ["pixelcnn", "pixelrnn", "pixelcnn_pp", "vae", "dcgan"])
def test_rejects_labels_out_of_range(name):
    family = families.get(name)
    config = dataclasses.replace(family.tiny(), classes=3)
    variables = random_arrays(lambda key: family.init(config, key))

    def draw(label):
        return family.sample(config, variables, jax.random.key(0), 2, label=label)

    for wrong in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match=rf"{name}: labels must be in 0 \.\. 2, got"):
            draw(jnp.array(wrong))
    # Under jit values cannot be checked, and the samples are NaN.
    if name in ("pixelcnn", "pixelrnn", "pixelcnn_pp"):
        x = jax.jit(draw)(jnp.array([1, 3]))
        assert np.isfinite(x[0]).all()
        assert np.isnan(x[1]).all()


@pytest.mark.parametrize("classes", [0, 2])
def test_gates_have_the_dtype_of_the_network(classes):
    settings = {"shape": (3, 3, 1), "classes": classes, "dtype": "bfloat16"}
    config, variables = build(**settings)
    label = jnp.zeros(2, jnp.int32) if classes else None
    lowered = jax.jit(
        lambda v, x: pixelcnn.logits(config, v, x, *([label] if classes else []))
    ).lower(variables, jnp.zeros((2, 3, 3, 1)))
    lines = [s for s in lowered.as_text().splitlines() if "stablehlo.tanh" in s]
    assert lines
    assert all("xbf16>" in s for s in lines)


@pytest.mark.parametrize("name", ["pixelcnn", "pixelrnn", "pixelcnn_pp"])
def test_bfloat16_is_near_float32(name):
    """Its density, gradients and samples."""
    family = families.get(name)
    shape = {"shape": (2, 3, 3), "levels": 5, "features": 6}
    more = {"halvings": 1} if name == "pixelcnn_pp" else {"head": 6}
    config = dataclasses.replace(family.tiny(), **shape, **more)
    half = dataclasses.replace(config, dtype="bfloat16")
    variables = random_arrays(lambda key: family.init(config, key), scale=0.3)
    x = jax.random.randint(jax.random.key(0), (6, 2, 3, 3), 0, 5).astype(jnp.float32)
    exact, near = (jitted(family, "log_prob", c)(variables, x) for c in (config, half))
    assert near.dtype == jnp.float32
    np.testing.assert_allclose(near, exact, rtol=0.05)
    assert (near != exact).any()
    key = jax.random.key(1)
    mean = jax.jit(jax.grad(lambda v: family.loss(half, v, {"x": x}, key)[0].mean()))
    grads = mean(variables)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    draw = jax.jit(lambda v: family.sample(half, v, key, 8))
    assert set(np.unique(draw(variables))) <= set(range(5))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("pixelcnn", {"network": n}) for n in NETWORKS] + [("pixelcnn_pp", {})],
)
def test_dropout_is_in_the_loss_only(name, settings):
    family = families.get(name)
    config = dataclasses.replace(family.tiny(), dropout=0.0, **settings)
    variables = random_arrays(lambda key: family.init(config, key), scale=0.7)
    thinned = dataclasses.replace(config, dropout=0.5)
    x = jnp.ones((64, *config.shape))
    exact = -jitted(family, "log_prob", config)(variables, x)
    np.testing.assert_array_equal(-jitted(family, "log_prob", thinned)(variables, x), exact)
    key = jax.random.key(0)
    same, _ = jitted(family, "loss", config)(variables, {"x": x}, key)
    np.testing.assert_allclose(same, exact, rtol=1e-6)
    loss, _ = jitted(family, "loss", thinned)(variables, {"x": x}, key)
    assert float(loss.std()) > 1e-3


def test_rejects_invalid_settings():
    with pytest.raises(ValueError, match="first and kernel must be odd"):
        dataclasses.replace(TINY, kernel=4)
    with pytest.raises(ValueError, match="features and head are divided among 3 channels"):
        dataclasses.replace(TINY, shape=(3, 3, 3), features=2)
    with pytest.raises(ValueError, match="`levels` must be an integer of at least 2"):
        dataclasses.replace(TINY, levels=1)
    x = jnp.zeros((1, 3, 3, 1))
    config, variables = build()
    with pytest.raises(ValueError, match="the Config has no classes"):
        pixelcnn.log_prob(config, variables, x, jnp.zeros(1, jnp.int32))
    with pytest.raises(ValueError, match="`method` must be one of"):
        pixelcnn.sample(config, variables, jax.random.key(0), 1, method="fast")
