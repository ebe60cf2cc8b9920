"""Values drawn by uniform numbers: every level as often as it is probable, the last ones too."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import flops
from genjax import families
from genjax.core import draw_noise, draw_parallel, draw_values
from genjax.families.pixelcnn_pp import draw_mixture

LOWEST, HIGHEST = 2.0**-24, 1 - 2.0**-24  # of what `draw_noise` gives


def test_noise_is_never_an_end(monkeypatch):
    """The smallest and the largest number that JAX draws, and what becomes of them."""
    for drawn, want in ((0.0, LOWEST), (1 - 2.0**-23, HIGHEST)):
        monkeypatch.setattr(
            jax.random, "uniform", lambda key, shape, dtype, d=drawn: jnp.full(shape, d, dtype)
        )
        assert float(draw_noise(jax.random.key(0), 1, (1,))[0, 0]) == want < 1


@pytest.mark.parametrize("place", [0, 255])
def test_a_level_without_probability_is_not_drawn(place):
    """A softmax over 256 levels whose first or last has 1e-20; sums round to less than 1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 256)).astype(np.float32)
    logits[:, place] -= 50
    sums = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)[:, -1]
    assert float((sums < 1).mean()) > 0.05
    noise = jnp.full(4000, LOWEST if place == 0 else 1 - 2.0**-23)
    assert float((draw_values(logits, noise, 256) == place).mean()) == 0


def test_bits_without_probability_are_not_drawn():
    noise = jnp.array([LOWEST, HIGHEST])
    np.testing.assert_array_equal(draw_values(jnp.full(2, -40.0), noise, 2), 0)
    np.testing.assert_array_equal(draw_values(jnp.full(2, 40.0), noise, 2), 1)


def test_a_mixture_far_from_the_last_level_never_draws_it():
    rng = np.random.default_rng(1)
    n, k = 4000, 10
    logits = jnp.asarray(rng.normal(size=(n, 1, 1, k)), jnp.float32)
    means = jnp.full((n, 1, 1, 1, k), -0.5)
    parts = (logits, means, jnp.full_like(means, -4.0), jnp.zeros_like(means))
    weights = jax.nn.softmax(jax.nn.log_softmax(logits), axis=-1).sum(axis=-1)
    assert float((weights < 1).mean()) > 0.05
    x = draw_mixture(parts, jnp.full((n, 1, 1, 1), HIGHEST), 256)
    assert float(x.max()) < 140


def test_parallel_ends_where_a_value_is_no_number():
    """One image of a batch has diverged: the others take no more rounds for it."""
    noise = jnp.full((2, 3, 4, 1), 0.5)
    broken = jnp.array([0.0, jnp.nan])[:, None, None, None]
    x, rounds = draw_parallel(lambda x: jnp.zeros_like(x) + broken, noise)
    assert int(rounds) == 2
    assert np.isnan(x[1]).all()
    assert (np.asarray(x[0]) == 0).all()


# How often the whole network's operations a cached image may take, here of three channels: features
# are computed once a channel at most. A little room, for what is computed once more a row.
MOST = {
    ("pixelcnn", "masked"): 3.0,
    ("pixelcnn", "gated"): 3.0,
    ("pixelrnn", "row"): 3.2,
    ("pixelrnn", "diagonal"): 3.2,
    # Its channels come together; a loop that halved maps are computed in counts at every pixel.
    ("pixelcnn_pp", None): 3.0,
}


@pytest.mark.parametrize(("name", "network"), MOST)
def test_cached_draws_never_repeat_the_whole_network_a_pixel(name, network):
    """Counted from what is traced; the naive way, beside it, asks for the whole every time."""
    family, shape, n = families.get(name), (6, 6, 3), 2
    chosen = {"network": network, "head": 6} if network else {"halvings": 1}
    config = dataclasses.replace(family.tiny(), shape=shape, features=6, **chosen)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda key: family.init(config, key), key)
    x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
    whole = flops.count(lambda v, x: family.log_prob(config, v, x), variables, x)

    def drawn(method):
        sample = lambda v: family.sample(config, v, key, n, method=method)  # noqa: E731
        return flops.count(sample, variables) / whole

    # Kernels are taken from a pass over one example, of which XLA keeps nothing else.
    assert drawn("cached") - 1 / n <= MOST[name, network]
    together = shape[2] if name == "pixelcnn_pp" else 1
    assert drawn("naive") == math.prod(shape) / together
