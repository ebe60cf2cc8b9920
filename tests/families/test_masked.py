"""FVSBN and MADE: normalisation and causality of every mask, and averages over masks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import (
    all_images,
    causality_violations,
    jacobian_violations,
    make_batch,
    random_variables,
    sample_p_value,
    total_probability,
)

from genjax.core import log_conditionals
from genjax.families import fvsbn, made, nade
from genjax.nn import masked


class Member:
    """One mask of MADE with the interface of a family, for the common checks."""

    def __init__(self, mask):
        self.mask = mask

    def log_prob(self, config, variables, x):
        return (
            log_conditionals(made, config, variables, x, mask=self.mask).reshape(len(x), -1).sum(1)
        )

    def logits(self, config, variables, x):
        return made.logits(config, variables, x, self.mask)

    def order(self, config):
        return made.order(config, self.mask)


def log_p(family, config, variables):
    return np.asarray(family.log_prob(config, variables, all_images(config.shape)), np.float64)


def test_fvsbn_equals_a_logistic_regression_per_pixel():
    config = fvsbn.Config(shape=(7,), order_seed=3)
    variables = random_variables(fvsbn, config)
    W, b = (np.asarray(variables["params"][k], np.float64) for k in "Wb")
    x = np.asarray(all_images((7,)), np.float64)
    want, before = np.zeros(len(x)), []
    for d in fvsbn.order(config):
        logit = b[d] + sum(x[:, j] * W[j, d] for j in before)
        want += np.log(1 / (1 + np.exp(np.where(x[:, d] == 1, -logit, logit))))
        before.append(d)
    np.testing.assert_allclose(log_p(fvsbn, config, variables), want, rtol=1e-5)


@pytest.mark.parametrize("order", ["raster", "random"])
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (3, 3, 1)])
def test_fvsbn_of_every_kind_is_normalised_and_causal(order, shape):
    config = fvsbn.Config(shape=shape, order=order, order_seed=4)
    variables = random_variables(fvsbn, config)
    assert total_probability(fvsbn, config, variables) == pytest.approx(1, abs=1e-5)
    assert causality_violations(fvsbn, config, variables) == []
    assert jacobian_violations(fvsbn, config, variables) == []


def test_fvsbn_counts_its_free_parameters():
    """307,720 (D (D - 1) / 2 + D), as many as have a gradient."""
    assert fvsbn.traits(fvsbn.Config()).num_parameters == 307_720
    config = fvsbn.Config(shape=(9,))
    x = all_images((9,))

    def total(params):
        # Different weights per image, so that terms of a symmetric set do not cancel.
        weights = jax.random.normal(jax.random.key(0), (len(x),))
        return jnp.sum(weights * fvsbn.log_prob(config, {"params": params}, x))

    grads = jax.grad(total)(random_variables(fvsbn, config)["params"])
    assert (
        sum(int((g != 0).sum()) for g in jax.tree.leaves(grads))
        == fvsbn.traits(config).num_parameters
    )


def test_a_seed_gives_the_same_order_in_all_families():
    orders = [f.order(f.Config(shape=(30,), order_seed=5)) for f in (fvsbn, made, nade)]
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])


@pytest.mark.parametrize(
    ("shape", "hidden", "direct", "activation"),
    [
        ((1,), (6,), True, "relu"),
        ((1,), (5, 4), False, "softplus"),
        ((2,), (7, 4, 6), True, "softplus"),
        ((2,), (6,), False, "relu"),
        ((7,), (9, 5), True, "relu"),
        ((7,), (9, 5), False, "softplus"),
        ((7,), (7, 4, 6), False, "relu"),
        ((3, 3, 1), (8,), True, "softplus"),
        ((3, 3, 1), (7, 4, 6), True, "relu"),
    ],
)
def test_every_mask_of_every_kind_is_normalised_and_causal(shape, hidden, direct, activation):
    config = made.Config(
        shape=shape, hidden=hidden, direct=direct, activation=activation, masks=2, mask_seed=1
    )
    variables = random_variables(made, config)
    for mask in range(2):
        assert total_probability(Member(mask), config, variables) == pytest.approx(1, abs=1e-5)
        assert causality_violations(Member(mask), config, variables) == []
        assert jacobian_violations(Member(mask), config, variables) == []
    assert total_probability(made, config, variables) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "which", [{}, {"resample_order": False}, {"resample_degrees": False}, {"order": "raster"}]
)
def test_an_ensemble_is_the_average_of_its_densities(which):
    config = made.Config(shape=(7,), hidden=(6, 8), masks=5, **which)
    variables = random_variables(made, config)
    each = [np.exp(log_p(Member(mask), config, variables)) for mask in range(5)]
    spread = np.std(each, axis=0).max()
    assert spread > 1e-3  # the densities differ
    np.testing.assert_allclose(np.exp(log_p(made, config, variables)), np.mean(each, 0), rtol=1e-4)
    assert np.exp(log_p(made, config, variables)).sum() == pytest.approx(1, abs=1e-5)


def test_twenty_masks_are_twenty_normalised_densities():
    config = made.Config(shape=(7,), hidden=(10,), masks=20)
    variables = random_variables(made, config)
    found = [np.exp(log_p(Member(mask), config, variables)) for mask in range(20)]
    np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-5)
    assert len({f.round(6).tobytes() for f in found}) == 20


@pytest.mark.parametrize(
    ("masks", "hidden", "direct"),
    [
        (1, (6,), True),
        (1, (6, 5), False),
        (4, (6,), False),
        (4, (6, 5), True),
        (4, (5, 6, 4), True),
    ],
)
def test_samples_fit_the_probabilities(masks, hidden, direct):
    """Incremental sampling without masks."""
    config = made.Config(shape=(5,), hidden=hidden, direct=direct, masks=masks, order_seed=2)
    assert sample_p_value(made, config, random_variables(made, config)) > 1e-4


@pytest.mark.parametrize("shape", [(1,), (2,)])
def test_samples_of_the_smallest_shapes(shape):
    config = made.Config(shape=shape, hidden=(3,), masks=2)
    assert sample_p_value(made, config, random_variables(made, config)) > 1e-4


def test_a_step_uses_one_mask_per_batch_and_cycles_over_all():
    config = made.Config(shape=(6,), hidden=(8,), masks=4)
    variables = random_variables(made, config)
    x = make_batch(made, config, 16)["x"]
    members = [-np.asarray(Member(k).log_prob(config, variables, x)) for k in range(4)]
    seen = set()
    for seed in range(40):
        nats, _ = made.loss(config, variables, {"x": x}, jax.random.key(seed))
        (mask,) = [k for k in range(4) if np.allclose(nats, members[k], rtol=1e-5)]
        seen.add(mask)
    assert seen == {0, 1, 2, 3}


def test_made_of_the_paper_has_its_numbers_of_parameters():
    def count(**settings):
        config = made.Config(**settings)
        shapes = jax.eval_shape(lambda k: made.init(config, k), jax.random.key(0))
        return sum(int(np.prod(s.shape)) for s in jax.tree.leaves(shapes))

    assert count(hidden=(500,), direct=False) == 785_284
    assert count(hidden=(500,), direct=True) == 1_399_940
    assert count(hidden=(8000, 8000), direct=False) == 76_560_784
    # Independent of the number of masks.
    assert count(hidden=(500,), masks=32) == 1_399_940


def test_the_checks_detect_a_mask_that_is_not_strict(monkeypatch):
    """With >= instead of > an output depends on its own pixel."""
    config = made.Config(shape=(5,), hidden=(8,), direct=False)
    variables = random_variables(made, config)
    assert causality_violations(made, config, variables) == []
    lenient = masked.MaskedDense.__call__

    def never_strict(self, x, inputs, outputs):
        object.__setattr__(self, "strict", False)
        return lenient(self, x, inputs, outputs)

    monkeypatch.setattr(masked.MaskedDense, "__call__", never_strict)
    assert causality_violations(made, config, variables)
    assert jacobian_violations(made, config, variables)
    assert abs(total_probability(made, config, variables) - 1) > 1e-2


def test_hidden_units_depend_on_the_pixel_of_their_degree():
    """With > instead of >= outputs lose the last allowed pixel."""
    config = made.Config(shape=(4,), hidden=(60,), direct=False, order="raster")
    variables = random_variables(made, config)
    x = jnp.asarray([[0.0, 0, 0, 0], [0, 0, 1, 0]])
    logits = np.asarray(made.logits(config, variables, x))
    assert abs(logits[0, 3] - logits[1, 3]) > 1e-3


def test_order_returns_a_copy():
    """Changing the cached table would affect samples only."""
    config = made.Config(shape=(5,), hidden=(4,), order="random")
    before = made.order(config)
    made.order(config)[:] = 0
    np.testing.assert_array_equal(made.order(config), before)


def test_several_masks_have_no_common_order():
    config = made.tiny()
    variables = made.init(config, jax.random.key(0))
    x = make_batch(made, config, 2)["x"]
    with pytest.raises(ValueError, match=r"each of 3 masks has its own order .* pass mask=0 .. 2"):
        made.order(config)
    with pytest.raises(ValueError, match="log_prob, which averages"):
        log_conditionals(made, config, variables, x)
    with pytest.raises(ValueError, match="mask must be from 0 to 2, got 3"):
        made.logits(config, variables, x, 3)
    with pytest.raises(ValueError, match="are equal; set resample_order"):
        made.Config(masks=2, resample_order=False, resample_degrees=False)
    made.Config(masks=1, resample_order=False, resample_degrees=False)


def test_features_are_the_last_hidden_layer_of_the_first_mask():
    config = made.Config(shape=(6,), hidden=(5, 4), masks=3, activation="softplus")
    variables = random_variables(made, config)
    p = variables["params"]
    x = np.asarray(all_images((6,)), np.float64)
    degrees = [np.argsort(made.order(config, 0)) + 1, *masked.draw_degrees(6, (5, 4), 0)]
    h = x
    for i in range(2):
        kernel = np.asarray(p[f"hidden_{i}"]["kernel"], np.float64)
        kernel = kernel * (degrees[i + 1][None] >= degrees[i][:, None])
        h = np.log1p(np.exp(h @ kernel + np.asarray(p[f"hidden_{i}"]["bias"])))
    np.testing.assert_allclose(made.encode(config, variables, all_images((6,))), h, rtol=1e-4)


def test_bfloat16_is_close_to_float32_and_normalised():
    config = made.Config(shape=(7,), hidden=(40, 30), masks=2)
    half = dataclasses.replace(config, dtype="bfloat16")
    variables = made.init(half, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    a, b = log_p(made, config, variables), log_p(made, half, variables)
    assert 1e-5 < np.abs(a - b).max() < 0.1
    assert np.exp(b).sum() == pytest.approx(1, abs=1e-5)
