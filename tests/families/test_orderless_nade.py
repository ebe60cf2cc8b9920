"""Orderless NADE: normalisation of every order, the expected loss, completion of any mask."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import all_images, random_variables, sample_p_value, total_probability

from genjax import families
from genjax.evals import make_nll
from genjax.families import orderless_nade as family

SMALL = family.Config(shape=(3, 3, 1), hidden=(6, 5))


def reference_logits(params, x, visible, activation="relu"):
    """Computes the network of section 3 in float64 NumPy: `[D]` logits given the visible pixels."""
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    act = (lambda a: np.maximum(a, 0)) if activation == "relu" else (lambda a: 1 / (1 + np.exp(-a)))
    a = p["c"] + (x * visible) @ p["W"]
    if "M" in p:
        a = a + visible @ p["M"]
    h, i = act(a), 1
    while f"U_{i}" in p:
        h, i = act(h @ p[f"U_{i}"] + p[f"u_{i}"]), i + 1
    return p["b"] + p["V"] @ h


def masked_logits(config, variables, x, visible):
    """Returns logits given the visible pixels, `[B, *shape]`."""
    flat = (a.reshape(len(x), -1) for a in (x, visible.astype(x.dtype)))
    return family.OrderlessNADE(config).apply(variables, *flat).reshape(x.shape)


def reference_nll(params, x, perm, activation="relu"):
    """Computes -log p(x) along one order, with one pass of the network per pixel."""
    visible, nats = np.zeros(len(x)), 0.0
    for i in perm:
        nats += np.logaddexp(
            0, (1 - 2 * x[i]) * reference_logits(params, x, visible, activation)[i]
        )
        visible[i] = 1
    return nats


def test_each_of_twenty_orders_and_their_ensemble_are_normalised():
    config = dataclasses.replace(SMALL, orders=20)
    variables = random_variables(family, config)
    along = family.log_probs(config, variables, all_images(config.shape))
    sums = np.exp(np.asarray(along, np.float64)).sum(axis=1)
    np.testing.assert_allclose(sums, np.ones(20), atol=1e-5)
    assert float(np.std(along, axis=0).mean()) > 0.1  # the densities differ
    assert total_probability(family, config, variables) == pytest.approx(1, abs=1e-5)
    want = np.log(np.exp(np.asarray(along, np.float64)).mean(axis=0))
    got = family.log_prob(config, variables, all_images(config.shape))
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize(("hidden", "masks"), [((6,), True), ((6, 5), False), ((6, 5, 4), True)])
def test_incremental_evaluation_equals_one_pass_per_pixel(hidden, masks, activation):
    config = family.Config(
        shape=(7,), hidden=hidden, input_masks=masks, activation=activation, orders=3, order_seed=4
    )
    variables = random_variables(family, config)
    assert ("M" in variables["params"]) == masks
    x = np.asarray(jax.random.bernoulli(jax.random.key(2), 0.5, (9, 7)), np.float64)
    want = [
        [-reference_nll(variables["params"], row, perm, activation) for row in x]
        for perm in family.orders(config)
    ]
    got = family.log_probs(config, variables, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=3e-5)


def test_chunks_of_orders_change_nothing(monkeypatch):
    """Seven orders, three at a time: the last chunk is padded."""
    config = dataclasses.replace(SMALL, orders=7)
    variables = random_variables(family, config)
    x = all_images(config.shape)[100:110]
    whole = family.log_probs(config, variables, x)
    monkeypatch.setattr(family, "ROWS", 30)
    np.testing.assert_allclose(family.log_probs(config, variables, x), whole, rtol=1e-5)


def test_the_expected_loss_is_the_mean_over_all_orders():
    """All subsets of all sizes, weighted by probability, against all 24 orders (eq. 7)."""
    config = family.Config(shape=(4,), hidden=(6, 5))
    variables = random_variables(family, config)
    x = np.array([1.0, 0.0, 0.0, 1.0])
    orders = list(itertools.permutations(range(4)))
    want = np.mean([reference_nll(variables["params"], x, o) for o in orders])
    found = []
    for d in range(1, 5):
        subsets = list(itertools.combinations(range(4), d - 1))
        visible = np.zeros((len(subsets), 4), np.float32)
        for row, subset in zip(visible, subsets, strict=True):
            row[list(subset)] = 1
        rows = jnp.broadcast_to(jnp.asarray(x, jnp.float32), visible.shape)
        logits = masked_logits(config, variables, rows, jnp.asarray(visible))
        found.append(float(family.masked_nats(logits, rows, jnp.asarray(visible)).mean()))
    assert np.mean(found) == pytest.approx(want, rel=1e-5)
    # Also the average of sampled losses.
    batch = {"x": jnp.broadcast_to(jnp.asarray(x, jnp.float32), (40_000, 4))}
    drawn, _ = family.loss(config, variables, batch, jax.random.key(0))
    error = float(drawn.std()) / 200
    assert float(drawn.mean()) == pytest.approx(want, abs=4 * error)
    assert error < 0.01 * want


def test_subsets_are_uniform_in_size_and_among_their_size():
    x, places = jnp.zeros((40_000, 4)), jnp.tile(jnp.arange(4)[:, None], (10_000, 1))
    seen = np.asarray(family._pixels_before(jax.random.key(3), places, x)).astype(int)
    assert not np.take_along_axis(
        seen, np.asarray(places), 1
    ).any()  # a pixel does not precede itself
    sizes = seen.sum(axis=1)
    assert stats.chisquare(np.bincount(sizes, minlength=4)).pvalue > 1e-4
    for size, count in ((1, 4), (2, 6), (3, 4)):
        rows = seen[sizes == size] @ (2 ** np.arange(4))
        frequencies = np.unique(rows, return_counts=True)[1]
        assert len(frequencies) == count
        assert stats.chisquare(frequencies).pvalue > 1e-4


def test_samples_follow_the_ensemble_not_one_order():
    config = dataclasses.replace(SMALL, orders=3)
    variables = random_variables(family, config)
    assert sample_p_value(family, config, variables) > 1e-4
    # Samples of one order would fail.
    one = dataclasses.replace(config, orders=1)
    n, x = 50_000, all_images(config.shape)
    drawn = np.asarray(family.sample(one, variables, jax.random.key(5), n)).reshape(n, -1)
    seen = np.bincount(drawn.astype(int) @ (2 ** np.arange(9)[::-1]), minlength=512)
    p = np.exp(np.asarray(family.log_prob(config, variables, x), np.float64))
    common = p * n > 20
    assert ((seen - p * n)[common] ** 2 / (p * n)[common]).sum() > 3 * common.sum()


def test_given_logits_ignore_hidden_pixels():
    variables = random_variables(family, SMALL)
    x = all_images(SMALL.shape)[37:67]
    visible = jax.random.bernoulli(jax.random.key(4), 0.5, x.shape).astype(jnp.float32)
    got = masked_logits(SMALL, variables, x, visible)
    want = [
        reference_logits(variables["params"], np.asarray(a).ravel(), np.asarray(m).ravel())
        for a, m in zip(x, visible, strict=True)
    ]
    np.testing.assert_allclose(np.asarray(got).reshape(30, 9), want, rtol=2e-4, atol=1e-4)
    for other in (1 - x, jnp.full_like(x, jnp.nan)):
        spoiled = jnp.where(visible > 0, x, other)
        np.testing.assert_array_equal(masked_logits(SMALL, variables, spoiled, visible), got)
    changed = jnp.where(visible > 0, 1 - x, x)
    assert float(jnp.abs(masked_logits(SMALL, variables, changed, visible) - got).max()) > 0.1


def test_completions_follow_the_exact_conditional_along_their_order():
    variables = random_variables(family, SMALL)
    hidden = [1, 4, 6]
    visible = np.ones(9, np.float32)
    visible[hidden] = 0
    x = np.array([1, 0, 0, 1, 0, 1, 0, 1, 1], np.float32)
    n = 20_000
    shape = (n, *SMALL.shape)
    args = [jnp.broadcast_to(jnp.asarray(a).reshape(SMALL.shape), shape) for a in (x, visible)]
    spoiled = jnp.where(args[1] > 0, args[0], jnp.nan)
    drawn = np.asarray(family.complete(SMALL, variables, jax.random.key(6), spoiled, args[1] > 0))
    drawn = drawn.reshape(n, 9)
    np.testing.assert_array_equal(drawn[:, visible > 0], np.tile(x[visible > 0], (n, 1)))
    perm = [i for i in family.order(SMALL) if i in hidden]
    expected = np.zeros(8)
    for bits in itertools.product([0, 1], repeat=3):
        row, seen, nats = x.copy(), visible.copy(), 0.0
        row[hidden] = bits
        for i in perm:
            nats += np.logaddexp(
                0, (1 - 2 * row[i]) * reference_logits(variables["params"], row, seen)[i]
            )
            seen[i] = 1
        expected[int(np.dot(bits, [4, 2, 1]))] = np.exp(-nats)
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    seen = np.bincount(drawn[:, hidden].astype(int) @ [4, 2, 1], minlength=8)
    common = expected * n > 5
    assert (
        stats.chisquare(
            np.append(seen[common], seen[~common].sum() + 1e-9),
            np.append(expected[common], expected[~common].sum() + 1e-9 / n) * n,
            sum_check=False,
        ).pvalue
        > 1e-4
    )


def test_an_ensemble_contains_the_orders_of_a_smaller_one():
    many = family.orders(dataclasses.replace(SMALL, orders=5))
    few = family.orders(dataclasses.replace(SMALL, orders=2))
    np.testing.assert_array_equal(many[:2], few)
    assert len({tuple(row) for row in many}) == 5
    assert all(sorted(row) == list(range(9)) for row in many)
    np.testing.assert_array_equal(many[0], family.order(SMALL))
    other = family.orders(dataclasses.replace(SMALL, orders=5, order_seed=1))
    assert (other != many).any()


def test_the_reported_quantity_is_the_ensemble_or_the_mean_over_orders():
    config = dataclasses.replace(SMALL, orders=4, validation_orders=2)
    variables = random_variables(family, config)
    x, key = np.asarray(all_images(config.shape)[:40]), jax.random.key(0)
    along = np.asarray(family.log_probs(config, variables, jnp.asarray(x)))
    mean = dataclasses.replace(config, report="mean")
    got = make_nll(family, mean, reported=True)(variables, x, key, 16)
    np.testing.assert_allclose(got, -along.mean(axis=0), rtol=1e-5)
    # Detection and classification use the density of the ensemble.
    exact = make_nll(family, mean)(variables, x, key, 16)
    np.testing.assert_allclose(
        exact, -family.log_prob(config, variables, jnp.asarray(x)), rtol=1e-5
    )
    assert (family.traits(config).metric, family.traits(mean).metric) == (
        "NLL",
        "mean NLL of 4 orders",
    )
    vae = families.get("vae")
    assert vae.traits(vae.tiny()).metric == "NLL bound"
    assert family.traits(config).validation.orders == 2
    assert family.traits(SMALL).validation.orders == 1


def test_bfloat16_is_close_and_the_papers_network_has_its_size():
    config = dataclasses.replace(SMALL, hidden=(64, 64), dtype="bfloat16")
    variables = family.init(config, jax.random.key(0))
    x = all_images(config.shape)[:50]
    near = family.log_prob(config, variables, x)
    exact = family.log_prob(dataclasses.replace(config, dtype="float32"), variables, x)
    assert near.dtype == jnp.float32
    assert 0 < float(jnp.abs(near - exact).max()) < 0.1
    shapes = jax.eval_shape(lambda k: family.init(family.Config(), k), jax.random.key(0))
    want = 3 * 784 * 500 + 500 + 500 * 500 + 500 + 784
    assert sum(np.prod(s.shape) for s in jax.tree.leaves(shapes)) == want
