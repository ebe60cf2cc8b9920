"""Exact densities on binary data, by enumeration of all 2^9 images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import (
    all_images,
    causality_violations,
    exact_binary_families,
    gradient_families,
    jacobian_violations,
    jitted,
    random_variables,
    sample_p_value,
    single_order,
    total_probability,
)

from genjax import families
from genjax.core import init_state, make_step
from genjax.families import joint, nade


@pytest.fixture(params=exact_binary_families())
def case(request):
    family = families.get(request.param)
    config = family.tiny()
    return family, config, random_variables(family, config)


def test_probabilities_sum_to_one(case):
    assert total_probability(*case) == pytest.approx(1, abs=1e-5)
    # Away from initialisation, where the density is uniform.
    log_p = jitted(case[0], "log_prob", case[1])(case[2], all_images(case[1].shape))
    assert float(log_p.std()) > 0.5


def test_values_other_than_0_and_1_have_nan_probability(case):
    """Other values would have densities above 1."""
    family, config, variables = case
    x = np.array(all_images(config.shape))  # the shape of other tests, whose program is compiled
    x[1:4, 0, 0, 0] = [0.5, 255, -1]
    wrong = [False, True, True, True, False]
    log_p = np.asarray(jitted(family, "log_prob", config)(variables, jnp.asarray(x)))
    assert np.isnan(log_p[:5]).tolist() == wrong
    assert not np.isnan(log_p[4:]).any()
    of_each = jitted(family, "log_conditionals", single_order(config))
    each = np.asarray(of_each(variables, jnp.asarray(x))).reshape(len(x), -1)
    assert np.isnan(each[1:4, 0]).all()
    assert np.isfinite(each[[0, *range(4, len(x))]]).all()
    if family.traits(config).fit == "gradient":
        loss = jitted(family, "loss", config)
        nats, _ = loss(variables, {"x": jnp.asarray(x)}, jax.random.key(0))
        assert np.isnan(nats[:5]).tolist() == wrong


def test_a_step_on_values_other_than_0_and_1_has_nan_loss():
    """Of the mixture, which is fitted without a gradient."""
    family = families.get("mixture")
    config = family.tiny()
    state = init_state(family, config, None, jax.random.key(0))
    x = np.array(all_images(config.shape))[:8]
    x[3, 0, 0, 0] = 0.5
    _, metrics = jax.jit(make_step(family, config, None))(state, {"x": jnp.asarray(x)})
    assert np.isnan(metrics["loss"])


def test_logits_depend_on_earlier_pixels_only(case):
    family, config, variables = case
    config = single_order(config)
    assert causality_violations(family, config, variables) == []
    if hasattr(family, "traits") and family.traits(config).fit == "gradient":
        assert jacobian_violations(family, config, variables) == []
    # They do depend on them: the last pixel in order depends on an early one.
    order = np.asarray(family.order(config))
    seen = family.contexts(config)[order[-1]] if hasattr(family, "contexts") else order
    x = np.zeros((2, order.size), np.float32)
    x[1, min(seen, key=list(order).index)] = 1
    logits = jitted(family, "logits", config)(variables, jnp.asarray(x.reshape(2, *config.shape)))
    last = np.asarray(logits).reshape(2, -1)[:, order[-1]]
    assert abs(last[0] - last[1]) > 1e-3


def test_frequencies_of_samples_fit_the_probabilities(case):
    assert sample_p_value(*case) > 1e-4


def by_blocks(monkeypatch):
    """Evaluates NADE by blocks, as on a GPU or a TPU."""
    monkeypatch.setattr(nade.NADE, "pixels", nade.NADE.blocks)


@pytest.mark.parametrize("order", ["raster", "random"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("shape", [(3, 3, 1), (7,), (1,)])
@pytest.mark.parametrize("way", ["pixels", "blocks"])
def test_every_variant_of_nade_is_normalised(order, activation, shape, way, monkeypatch):
    if way == "blocks":
        by_blocks(monkeypatch)
    config = nade.Config(shape=shape, hidden=5, order=order, activation=activation, order_seed=4)
    assert total_probability(nade, config, random_variables(nade, config)) == pytest.approx(
        1, abs=1e-5
    )


def test_the_checks_detect_a_mask_that_is_not_causal(monkeypatch):
    """If every pixel depends on itself, each of the checks above must fail."""
    by_blocks(monkeypatch)
    tril = jnp.tril
    monkeypatch.setattr(nade.jnp, "tril", lambda m, k=0: tril(m, k + 1))
    assert_all_checks_fail()


def test_the_checks_detect_a_recursion_that_is_not_causal(monkeypatch):
    """The same for the implementation on a CPU."""

    def early(self, x, W, V, c, keep):
        a = c[None, None] + jnp.cumsum(x[:, :, None] * W[None], axis=1)
        return jnp.einsum("bdh,dh->bd", self.act(a), V)

    monkeypatch.setattr(nade.NADE, "pixels", early)
    assert_all_checks_fail()


def assert_all_checks_fail():
    config = nade.tiny()
    variables = random_variables(nade, config)
    assert abs(total_probability(nade, config, variables) - 1) > 1e-2
    assert causality_violations(nade, config, variables)
    assert jacobian_violations(nade, config, variables)
    assert sample_p_value(nade, config, variables) < 1e-4


def test_nade_equals_the_recursion_of_the_paper():
    """Algorithm 1 of the 2011 paper in float64 NumPy."""
    config = nade.Config(shape=(13,), hidden=6, activation="sigmoid", order_seed=2)
    variables = random_variables(nade, config)
    p = {k: np.asarray(v, np.float64) for k, v in variables["params"].items()}
    x = np.asarray(jax.random.bernoulli(jax.random.key(8), 0.5, (20, 13)), np.float64)
    expected = np.zeros(20)
    for row in range(20):
        a = p["c"].copy()
        for d in nade.order(config):
            h = 1 / (1 + np.exp(-a))
            probability = 1 / (1 + np.exp(-(p["b"][d] + p["V"][d] @ h)))
            expected[row] += np.log(probability if x[row, d] else 1 - probability)
            a += x[row, d] * p["W"][d]
    got = nade.log_prob(config, variables, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=2e-5)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (6, 13, 7), (5, 16, 30)])
def test_nade_by_pixels_equals_nade_by_blocks(sizes, masked, activation):
    """Logits and their gradients, with blocks that do and do not divide the pixels."""
    (batch, dims, hidden), rng = sizes, np.random.default_rng(3)
    network = nade.NADE(nade.Config(shape=(dims,), hidden=hidden, activation=activation))
    x = (rng.random((batch, dims)) < 0.4).astype(np.float32)
    W, V = rng.normal(size=(2, dims, hidden)).astype(np.float32)
    c, g = rng.normal(size=hidden).astype(np.float32), rng.normal(size=x.shape)
    keep = (rng.random((batch, hidden)) < 0.5) * np.float32(2) if masked else None

    def found(way):
        def value(x, W, V, c):
            params = {"W": W, "V": V, "c": c, "b": jnp.zeros(dims)}
            return network.apply({"params": params}, x, W, V, c, keep, method=way)

        logits, back = jax.vjp(value, x, W, V, c)
        return logits, *back(jnp.asarray(g, jnp.float32))

    for one, other in zip(found("pixels"), found("blocks"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_nade_uses_pixels_on_a_cpu_and_blocks_on_a_gpu():
    config = nade.Config(shape=(16,), hidden=8)
    variables = nade.init(config, jax.random.key(0))
    traced = jax.jit(lambda v, x: nade.log_prob(config, v, x)).trace(variables, jnp.zeros((3, 16)))
    loops = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": 2, "cuda": 1, "tpu": 1}


def test_number_of_parameters_of_the_papers_nade():
    shapes = jax.eval_shape(lambda k: nade.init(nade.Config(), k), jax.random.key(0))
    assert sum(np.prod(s.shape) for s in jax.tree.leaves(shapes)) == 785_284


def test_joint_equals_the_counts():
    config = joint.Config(shape=(2, 2, 1), alpha=0.5)
    images = jnp.asarray([[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]], jnp.float32)
    state = _counted(config, images.reshape(3, 2, 2, 1))
    log_p = joint.log_prob(config, state.variables, all_images((2, 2, 1)))
    expected = np.full(16, 0.5)
    expected[[0b0001, 0b1010]] = [2.5, 1.5]
    np.testing.assert_allclose(np.exp(log_p), expected / (3 + 0.5 * 16), rtol=1e-6)


def test_joint_without_pseudo_counts_gives_unseen_images_probability_zero():
    config = joint.Config(shape=(3,), alpha=0.0)
    state = _counted(config, jnp.asarray([[1.0, 0, 1], [1, 1, 1]]))
    log_p = joint.log_prob(config, state.variables, all_images((3,)))
    np.testing.assert_allclose(np.exp(log_p), [0, 0, 0, 0, 0, 0.5, 0, 0.5], atol=1e-7)
    samples = joint.sample(config, state.variables, jax.random.key(0), 200)
    assert {tuple(s) for s in np.asarray(samples)} == {(1.0, 0.0, 1.0), (1.0, 1.0, 1.0)}
    empty = joint.init(config, jax.random.key(0))
    np.testing.assert_allclose(
        joint.log_prob(config, empty, all_images((3,))), -np.log(8), rtol=1e-6
    )


def test_joint_rejects_tables_that_exceed_memory():
    with pytest.raises(ValueError, match=r"2\^21 - 1 = 2,097,151 parameters"):
        joint.Config(shape=(21,))
    with pytest.raises(ValueError, match=r"2\^784 - 1 = about 10\^236 parameters"):
        joint.Config(shape=(28, 28, 1))
    with pytest.raises(ValueError, match="optimizer=None"):
        make_step(joint, joint.tiny(), object())
    assert joint.traits(joint.tiny()).num_parameters == 511


def _counted(config, x):
    from support.helpers import make_state

    state, _ = jax.jit(make_step(joint, config))(make_state(joint, config), {"x": x})
    return state


def test_gradient_families_are_found():
    assert set(gradient_families()) >= {"nade", "vae", "gan"}
    assert set(exact_binary_families()) >= {"nade", "joint", "markov", "mixture"}
