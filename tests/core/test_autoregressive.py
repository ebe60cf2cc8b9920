"""Sampling of values from uniform numbers, at the ends of their range; cost of cached sampling."""

import dataclasses
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import flops
from genjax import families
from genjax.core import draw_naive, draw_noise, draw_parallel, draw_values, log_odds
from genjax.core.autoregressive import draw_order, order
from genjax.families.pixelcnn_pp import draw_mixture

LOWEST, HIGHEST = 2.0**-24, 1 - 2.0**-24  # of `draw_noise`


def test_noise_is_inside_the_open_interval(monkeypatch):
    """For the smallest and the largest number that JAX draws."""
    for drawn, want in ((0.0, LOWEST), (1 - 2.0**-23, HIGHEST)):
        monkeypatch.setattr(
            jax.random, "uniform", lambda key, shape, dtype, d=drawn: jnp.full(shape, d, dtype)
        )
        assert float(draw_noise(jax.random.key(0), 1, (1,))[0, 0]) == want < 1


def test_order_is_raster_unless_the_config_has_a_random_one():
    random = order(types.SimpleNamespace(shape=(2, 3), order="random", order_seed=3))
    assert random.tolist() == draw_order(6, 3).tolist() != sorted(random)
    for config in ({}, {"order": "raster", "order_seed": 3}):
        assert order(types.SimpleNamespace(shape=(2, 3), **config)).tolist() == list(range(6))


@pytest.mark.parametrize("place", [0, 255])
def test_levels_of_probability_zero_are_not_sampled(place):
    """A softmax over 256 levels with 1e-20 at the first or last; sums round below 1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 256)).astype(np.float32)
    logits[:, place] -= 50
    sums = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)[:, -1]
    assert float((sums < 1).mean()) > 0.05
    noise = jnp.full(4000, LOWEST if place == 0 else 1 - 2.0**-23)
    assert float((draw_values(logits, noise, 256) == place).mean()) == 0


def test_log_odds_of_counts_are_finite():
    """log(one / zero); 0 where nothing was counted, and clipped where one count is 0."""
    one, zero = jnp.array([3.0, 0, 5, 0]), jnp.array([1.0, 0, 0, 5])
    np.testing.assert_allclose(log_odds(one, zero), [math.log(3), 0, 1e4, -1e4], rtol=1e-6)


@pytest.mark.parametrize("known", [0, 1, 2, 4])
def test_naive_sampling_draws_every_unknown_pixel_of_several_channels(known):
    """A value is one more than the value before it; two channels are drawn together."""

    def draw(x):
        drawn = 1 + jnp.pad(x.reshape(1, -1), ((0, 0), (1, 0)))[:, :-1]
        drawn = drawn.reshape(-1, 2).at[:, 1].set(drawn.reshape(-1, 2)[:, 0] + 1)
        return jnp.where(mask, x, drawn.reshape(x.shape))

    mask = (np.arange(8) < 2 * known).reshape(1, 4, 2)
    x = 10 + jnp.arange(8.0).reshape(1, 1, 4, 2)
    found = draw_naive(draw, jnp.zeros((1, 1, 4, 2)), (x, mask), together=2)
    first = 1 if known == 0 else 10
    np.testing.assert_array_equal(found.ravel(), first + np.arange(8))


def test_bits_of_probability_zero_are_not_sampled():
    noise = jnp.array([LOWEST, HIGHEST])
    np.testing.assert_array_equal(draw_values(jnp.full(2, -40.0), noise, 2), 0)
    np.testing.assert_array_equal(draw_values(jnp.full(2, 40.0), noise, 2), 1)


def test_a_mixture_does_not_sample_a_distant_level():
    rng = np.random.default_rng(1)
    n, k = 4000, 10
    logits = jnp.asarray(rng.normal(size=(n, 1, 1, k)), jnp.float32)
    means = jnp.full((n, 1, 1, 1, k), -0.5)
    parts = (logits, means, jnp.full_like(means, -4.0), jnp.zeros_like(means))
    weights = jax.nn.softmax(jax.nn.log_softmax(logits), axis=-1).sum(axis=-1)
    assert float((weights < 1).mean()) > 0.05
    x = draw_mixture(parts, jnp.full((n, 1, 1, 1), HIGHEST), 256)
    assert float(x.max()) < 140


def test_parallel_sampling_stops_where_values_are_nan():
    """A diverged image of a batch does not add iterations for the others."""
    noise = jnp.full((2, 3, 4, 1), 0.5)
    nan = jnp.array([0.0, jnp.nan])[:, None, None, None]
    x, iterations = draw_parallel(lambda x: jnp.zeros_like(x) + nan, noise)
    assert int(iterations) == 2
    assert np.isnan(x[1]).all()
    assert (np.asarray(x[0]) == 0).all()


# Allowed operations per cached image as a multiple of the whole network's, for three channels:
# features are computed at most once per channel, plus a margin for operations per row.
MAX_RATIO = {
    ("pixelcnn", "masked"): 3.0,
    ("pixelcnn", "gated"): 3.0,
    ("pixelrnn", "row"): 3.2,
    ("pixelrnn", "diagonal"): 3.2,
    # Channels are sampled together; updates of downsampled maps count at every pixel.
    ("pixelcnn_pp", None): 3.0,
}


@pytest.mark.parametrize(("name", "network"), MAX_RATIO)
def test_cached_sampling_does_not_evaluate_the_whole_network_per_pixel(name, network):
    """Operations are counted in the traced program, and compared with naive sampling."""
    family, shape, n = families.get(name), (6, 6, 3), 2
    chosen = {"network": network, "head": 6} if network else {"halvings": 1}
    config = dataclasses.replace(family.tiny(), shape=shape, features=6, **chosen)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda key: family.init(config, key), key)
    x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
    whole = flops.count(lambda v, x: family.log_prob(config, v, x), variables, x)

    def ratio(method):
        sample = lambda v: family.sample(config, v, key, n, method=method)  # noqa: E731
        return flops.count(sample, variables) / whole

    # Kernels are initialised by a pass over one example, which XLA removes.
    assert ratio("cached") - 1 / n <= MAX_RATIO[name, network]
    channels_at_once = shape[2] if name == "pixelcnn_pp" else 1
    assert ratio("naive") == math.prod(shape) / channels_at_once
