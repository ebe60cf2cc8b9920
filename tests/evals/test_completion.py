"""Completions, compared with exact conditionals by enumeration of all images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import all_images, random_variables

from genjax.evals import completable, complete, heat_map
from genjax.families import joint, nade, orderless_nade, vae


def conditional(family, config, variables, x, known):
    """Computes p(image | known pixels of x) of all images, `[2^D]`."""
    images = np.asarray(all_images(config.shape))
    p = np.exp(np.asarray(family.log_prob(config, variables, jnp.asarray(images)), np.float64))
    p *= (images == np.asarray(x))[:, known].all(axis=1)
    return images, p / p.sum()


@pytest.mark.parametrize("family", [joint, nade])
@pytest.mark.parametrize("first", [0, 4, 9])
def test_completions_follow_the_exact_conditional(family, first):
    config = family.tiny()
    variables = random_variables(family, config)
    known = np.zeros(9, bool)
    known[np.asarray(family.order(config))[:first]] = True
    known = known.reshape(config.shape)
    x = np.asarray(jax.random.bernoulli(jax.random.key(3), 0.5, config.shape), np.float32)
    n = 4000
    # The values of unknown pixels must have no effect; 0.7 is not a valid pixel.
    x_known = np.broadcast_to(np.where(known, x, 0.7), (n, *config.shape))
    got = np.asarray(
        complete(family, config, variables, jax.random.key(0), jnp.asarray(x_known), known)
    )
    np.testing.assert_array_equal(got[:, known], np.broadcast_to(x[known], (n, first)))
    images, p = conditional(family, config, variables, x, known)
    weights = 2 ** np.arange(9)
    place = {int(i.reshape(-1) @ weights): j for j, i in enumerate(images)}
    seen = np.bincount([place[int(g.reshape(-1) @ weights)] for g in got], minlength=512)
    common = p * n >= 5
    observed, expected = seen[common], p[common] * n
    rare = n - expected.sum()
    if rare >= 5:
        observed, expected = np.append(observed, n - observed.sum()), np.append(expected, rare)
    else:  # too few for the test: omit them and rescale the rest
        expected = expected * observed.sum() / expected.sum()
    if len(expected) > 1:
        assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_completable_only_if_known_values_come_first():
    order = np.array([2, 0, 1])
    assert completable(order, np.array([False, False, True]))
    assert completable(order, np.array([True, True, True]))
    assert completable(order, np.array([False, False, False]))
    assert not completable(order, np.array([True, False, False]))


def test_rejects_known_values_that_do_not_come_first():
    config = nade.tiny()
    variables = random_variables(nade, config)
    known = np.ones(config.shape, bool)
    known.reshape(-1)[np.asarray(nade.order(config))[0]] = False
    x = jnp.zeros((2, *config.shape))
    with pytest.raises(ValueError, match="nade conditions only on pixels that come first"):
        complete(nade, config, variables, jax.random.key(0), x, known)
    with pytest.raises(ValueError, match="shape of one example"):
        complete(nade, config, variables, jax.random.key(0), x, known[..., 0])
    with pytest.raises(ValueError, match="no conditionals"):
        complete(vae, vae.tiny(), {}, jax.random.key(0), x, np.ones(vae.tiny().shape, bool))


def test_rejects_unknown_conditions():
    x, known = jnp.zeros((2, *nade.tiny().shape)), np.zeros(nade.tiny().shape, bool)
    for family in (nade, orderless_nade):
        variables = random_variables(family, family.tiny())
        with pytest.raises(ValueError, match="completes without label; leave it out"):
            complete(family, family.tiny(), variables, jax.random.key(0), x, known, label=x)


def test_heat_map_sums_to_the_negative_log_likelihood():
    config = nade.tiny()
    variables = random_variables(nade, config)
    x = all_images(config.shape)[:50]
    heat = heat_map(nade, config, variables, x)
    assert heat.shape == x.shape
    np.testing.assert_allclose(heat.sum((1, 2, 3)), -nade.log_prob(config, variables, x), rtol=1e-5)
