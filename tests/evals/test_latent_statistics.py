"""Active units, KL per unit and layer, and moments, against known values."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support.linear_gaussian as model

from genjax.evals import (
    Moments,
    active_units,
    aggregate_posterior,
    encode_split,
    kl_by_layer,
    kl_by_unit,
    unit_activity,
)

KEY = jax.random.key(0)


def planted(scales, seed=0, n=4000):
    """Returns posterior means whose columns have these standard deviations."""
    return np.random.default_rng(seed).normal(size=(n, len(scales))) * scales


def test_finds_three_active_units_of_eight():
    scales = np.array([0.01, 0.9, 0.02, 0.0, 0.5, 0.09, 0.12, 0.05])  # 0.1^2 is the threshold
    means = (planted(scales) + 30).astype(np.float32)  # constants are not activity
    result = unit_activity(np.array_split(means, 9))
    assert result.counts == (3,)
    assert np.flatnonzero(result.active[0]).tolist() == [1, 4, 6]
    np.testing.assert_allclose(result.variance[0], means.astype(np.float64).var(0), rtol=1e-9)
    assert unit_activity([means], threshold=0.1).counts == (2,)


def test_counts_each_layer():
    means = planted(np.array([1.0, 1.0, 0.01])), planted(np.array([0.01, 0.3]), 1)
    result = unit_activity(zip(*(np.array_split(m, 5) for m in means), strict=True))
    assert result.counts == (2, 1)
    assert [v.shape for v in result.variance] == [(3,), (2,)]
    with pytest.raises(ValueError, match="at least one batch"):
        unit_activity([])
    with pytest.raises(ValueError, match="not finite; the run has diverged"):
        unit_activity([np.full((2, 2), np.nan)])


def test_moments_are_precise_far_from_zero():
    rows = np.random.default_rng(0).normal(size=(1000, 2)) * [1e-3, 1.0] + [1e6, -3.0]
    parts = [Moments.of(part, diagonal=True) for part in np.array_split(rows, 7)]
    moments = functools.reduce(Moments.merged, parts)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.scatter / 1000, rows.var(0), rtol=1e-6)


def test_active_units_of_one_layer_and_of_two():
    config = model.Config()
    variables = model.make(config)
    variables["params"]["encoder"] = variables["params"]["encoder"].at[:, 1].set(0)
    _, x, _ = model.draw(config, variables, 0, 300)
    result = active_units(model, config, variables, x, KEY, batch_size=64)
    assert result.active[0].tolist() == [True, False, True]
    np.testing.assert_allclose(
        result.variance[0], np.asarray(model.encode(config, variables, x)).var(0), rtol=1e-4
    )

    def two_layers(config, variables, x):
        def layer_means(key):
            z = model.encode(config, variables, x)
            noise = jnp.broadcast_to(jax.random.normal(key, (1, 5)), (len(x), 5))
            return z, noise + z[:, :1] * jnp.array([0.0, 1.0, 0.0, 1.0, 1.0])[None]

        return types.SimpleNamespace(layer_means=layer_means)

    deep = types.SimpleNamespace(**{**vars(model), "posterior": two_layers})
    assert active_units(deep, config, variables, x, KEY, batch_size=64).counts == (2, 3)


def test_kl_by_unit_is_the_mean_of_the_closed_form():
    config = model.Config(classes=2)
    variables = model.make(config)
    _, x, label = model.draw(config, variables, 0, 50, np.arange(50) % 2)
    p = {k: np.asarray(v, np.float64) for k, v in variables["params"].items()}
    mean = (np.asarray(x) - p["b"][label]) @ p["encoder"]
    std = np.exp(p["log_std"])
    exact = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).mean(0)
    result = kl_by_unit(model, config, variables, x, batch_size=16, label=label)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, exact, rtol=1e-5)
    np.testing.assert_allclose(
        encode_split(model, config, variables, x, batch_size=16, label=label), mean, atol=1e-5
    )


def test_kl_by_layer_is_the_mean_over_all_examples():
    def posterior(config, variables, x):
        return types.SimpleNamespace(kl_layers=lambda key: x[:, :2] * variables)

    layers = types.SimpleNamespace(posterior=posterior)
    x = np.arange(21.0, dtype=np.float32).reshape(7, 3)
    result = kl_by_layer(layers, None, 2.0, x, KEY, batch_size=3)
    np.testing.assert_allclose(result, 2 * x[:, :2].mean(0))


def test_aggregate_posterior_of_an_exact_encoder_is_the_prior():
    """With one latent the diagonal posterior is exact, and averages to N(0, 1) over the data."""
    config = model.Config(latent=1)
    variables = model.make(config)
    n = 20_000
    _, x, _ = model.draw(config, variables, 0, n)
    mean, std = aggregate_posterior(model, config, variables, x, KEY, batch_size=5000)
    assert abs(mean[0]) < 5 / np.sqrt(n)
    assert abs(std[0] - 1) < 5 / np.sqrt(2 * n)
    variables["params"]["log_std"] -= 3  # a posterior that is too narrow
    assert aggregate_posterior(model, config, variables, x, KEY, batch_size=5000)[1][0] < 0.99
