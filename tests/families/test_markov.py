"""Markov models against dictionaries of counts, and at both extremes of the context size."""

import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import (
    all_images,
    causality_violations,
    make_state,
    random_variables,
    sample_p_value,
    total_probability,
)

from genjax.core import log_conditionals, make_step
from genjax.families import joint, markov

KINDS = list(itertools.product(["raster", "causal"], [True, False]))
CAUSAL = [(0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0)]  # W, N, NW, NE, WW, NN


def random_images(n=60, shape=(4, 3, 1), seed=0):
    x = np.random.default_rng(seed).random((n, *shape)) < 0.35
    return jnp.asarray(x, jnp.float32)


def counted(config, *batches, family=markov):
    state, step = make_state(family, config), jax.jit(make_step(family, config))
    for x in batches:
        state, metrics = step(state, {"x": x})
    return state.variables, float(metrics["loss"])


def neighbour(image, i, offset, template):
    """Returns the pixel at `offset` from the i-th, 0 outside; independent of the family's code."""
    if template == "raster":
        return image.reshape(-1)[i + offset[1]] if i + offset[1] >= 0 else 0
    y, x = i // image.shape[1] - offset[0], i % image.shape[1] + offset[1]
    return image[y, x, 0] if y >= 0 and 0 <= x < image.shape[1] else 0


@pytest.mark.parametrize("k", [0, 1, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize(("template", "by_position"), KINDS)
def test_equals_counts_in_dictionaries(template, by_position, alpha, k):
    config = markov.Config(
        shape=(4, 3, 1), k=k, template=template, by_position=by_position, alpha=alpha
    )
    offsets = [(0, -j) for j in range(1, 6)] if template == "raster" else CAUSAL
    train, test = np.asarray(random_images()), np.asarray(random_images(20, seed=1))
    table = collections.Counter()

    def cell(image, i):
        context = tuple(neighbour(image, i, o, template) for o in offsets[:k])
        return (i if by_position else None, context)

    for image in train:
        for i, value in enumerate(image.reshape(-1)):
            table[(*cell(image, i), value)] += 1
    expected = np.zeros((len(test), 12))
    for b, image in enumerate(test):
        for i, value in enumerate(image.reshape(-1)):
            zero, one = (table[(*cell(image, i), v)] + alpha for v in (0, 1))
            p = 0.5 if zero + one == 0 else (one if value else zero) / (zero + one)
            expected[b, i] = np.log(p) if p else -np.inf
    variables, _ = counted(config, jnp.asarray(train))
    got = markov.log_prob(config, variables, jnp.asarray(test))
    np.testing.assert_allclose(got, expected.sum(axis=1), rtol=1e-5)
    terms = log_conditionals(markov, config, variables, jnp.asarray(test)).reshape(20, 12)
    seen = np.isfinite(expected)
    np.testing.assert_allclose(terms[seen], expected[seen], atol=1e-5)
    assert (np.asarray(terms)[~seen] == -1e4).all()  # the documented finite value


def test_the_causal_template_is_documented_and_nested():
    found = markov.template(markov.Config(k=12))
    far = [(1, -2), (2, -1), (2, 1), (1, 2), (2, -2), (2, 2)]
    assert found == [*CAUSAL, *far]
    for k in range(20):
        assert markov.template(markov.Config(k=20, by_position=False))[:k] == markov.template(
            markov.Config(k=k)
        )


@pytest.mark.parametrize("shape", [(3, 3, 1), (7,)])
@pytest.mark.parametrize("k", [0, 2, 6])
@pytest.mark.parametrize(("template", "by_position"), KINDS)
def test_every_kind_is_normalised_and_causal(template, by_position, k, shape):
    if template == "causal":
        shape = (3, 3)
    config = markov.Config(shape=shape, k=k, template=template, by_position=by_position, alpha=0.3)
    variables = random_variables(markov, config)
    assert total_probability(markov, config, variables) == pytest.approx(1, abs=1e-5)
    assert causality_violations(markov, config, variables) == []


@pytest.mark.parametrize("k", [0, 4])
@pytest.mark.parametrize(("template", "by_position"), KINDS)
def test_samples_fit_the_probabilities(template, by_position, k):
    config = markov.Config(
        shape=(3, 3, 1), k=k, template=template, by_position=by_position, alpha=0.3
    )
    assert sample_p_value(markov, config, random_variables(markov, config)) > 1e-4


def test_order_0_by_position_is_independent_pixels():
    config = markov.Config(shape=(4, 3, 1), k=0, alpha=0.0)
    train = random_images()
    variables, _ = counted(config, train)
    p = np.asarray(train, np.float64).mean(axis=0).reshape(1, -1)
    x = np.asarray(random_images(20, seed=1)).reshape(20, -1)
    expected = np.where(x, np.log(p), np.log(1 - p)).sum(axis=1)
    got = markov.log_prob(config, variables, jnp.asarray(x.reshape(-1, 4, 3, 1)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_order_d_minus_1_without_pseudo_counts_is_the_joint_table_where_seen():
    train = random_images(40, (3, 3, 1))
    config = markov.Config(shape=(3, 3, 1), k=8, template="raster", alpha=0.0)
    table = joint.Config(shape=(3, 3, 1), alpha=0.0)
    variables, nats = counted(config, train)
    of_table, joint_nats = counted(table, train, family=joint)
    np.testing.assert_allclose(
        markov.log_prob(config, variables, train), joint.log_prob(table, of_table, train), rtol=1e-5
    )
    assert nats == pytest.approx(joint_nats, rel=1e-5)
    x = all_images((3, 3, 1))
    np.testing.assert_allclose(
        markov.logits(config, variables, x), joint.logits(table, of_table, x), atol=1e-5
    )
    assert np.isneginf(markov.log_prob(config, variables, x)).any()


def test_order_d_minus_1_with_joint_smoothing_is_the_joint_table_everywhere():
    train, x = random_images(40, (3, 3, 1)), all_images((3, 3, 1))
    config = markov.Config(shape=(3, 3, 1), k=8, template="raster", alpha=0.3, smoothing="joint")
    table = joint.Config(shape=(3, 3, 1), alpha=0.3)
    of_markov, of_table = counted(config, train)[0], counted(table, train, family=joint)[0]
    np.testing.assert_allclose(
        markov.log_prob(config, of_markov, x), joint.log_prob(table, of_table, x), rtol=1e-5
    )
    # Flat pseudo-counts are a different model.
    flat = dataclasses.replace(config, smoothing="flat")
    far = markov.log_prob(flat, of_markov, x) - joint.log_prob(table, of_table, x)
    assert float(jnp.abs(far).max()) > 0.1


@pytest.mark.parametrize(("template", "by_position"), KINDS)
def test_a_longer_context_never_lowers_the_training_likelihood(template, by_position):
    train = random_images(80, (4, 4, 1))
    base = markov.Config(shape=(4, 4, 1), template=template, by_position=by_position, alpha=0.0)
    nats = [counted(dataclasses.replace(base, k=k), train)[1] for k in range(13)]
    assert (np.diff(nats) <= 1e-4).all(), nats
    assert nats[0] - nats[-1] > 0.3


@pytest.mark.parametrize("template", ["raster", "causal"])
@pytest.mark.parametrize("k", [0, 1, 3, 8])
def test_parameters_are_the_contexts_that_exist(template, k):
    config = markov.Config(shape=(3, 3, 1), k=k, template=template)
    offsets = markov.template(config)
    images = np.asarray(all_images((3, 3, 1)))
    there = {
        (i, *(neighbour(image, i, o, template) for o in offsets))
        for image in images
        for i in range(9)
    }
    assert markov.traits(config).num_parameters == len(there)
    shared = dataclasses.replace(config, by_position=False)
    assert markov.traits(shared).num_parameters == 2**k
    if (template, k) == ("raster", 8):
        assert len(there) == joint.traits(joint.Config(shape=(3, 3, 1))).num_parameters


def test_parameters_of_mnist():
    sizes = markov.Config(k=10, template="raster")
    assert markov.traits(sizes).num_parameters == sum(2 ** min(i, 10) for i in range(784))


@pytest.mark.parametrize("by_position", [True, False])
def test_chunks_equal_the_whole_batch(by_position, monkeypatch):
    config = markov.Config(shape=(4, 3, 1), k=3, by_position=by_position)
    x = random_images(50)
    whole, nats = counted(config, x)
    twice, _ = counted(config, x[:20], x[20:])
    monkeypatch.setattr(markov, "CHUNK", 12 * 7)  # 7 images per chunk; the last overlaps
    parts, nats_of_parts = counted(config, x)
    for other in (twice, parts):
        np.testing.assert_array_equal(whole["buffers"]["counts"], other["buffers"]["counts"])
    assert nats_of_parts == pytest.approx(nats, rel=1e-6)
    assert int(whole["buffers"]["counts"].sum()) == 50 * 12


def test_mnist_is_one_batch_in_bounded_memory():
    config = markov.Config(k=4)
    state = jax.eval_shape(lambda: make_state(markov, config))
    step = jax.jit(make_step(markov, config), donate_argnums=0)
    memory = step.lower(state, markov.batch_spec(config, 50_000)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 60e6  # the batch has 157 MB


def test_is_uniform_without_counts():
    config = markov.Config(shape=(3, 3, 1), k=3, alpha=0.0)
    empty = markov.init(config, jax.random.key(0))
    got = markov.log_prob(config, empty, all_images((3, 3, 1)))
    np.testing.assert_allclose(got, -9 * np.log(2), rtol=1e-6)


def test_rejects_invalid_settings():
    for settings, words in (
        (dict(k=21), r"2\^21 rows in each of 784 tables; at most k = 20"),
        (dict(k=21, by_position=False), r"2\^21 rows in each of 1 tables; at most k = 20"),
        (dict(k=20, shape=(64, 64, 1)), r"in each of 4096 tables; at most k = 18"),
        (dict(k=-1), "`k` must be a non-negative integer"),
        (dict(shape=(784,)), "set template to 'raster'"),
        (dict(shape=(8, 8, 3)), "set template to 'raster'"),
        (dict(smoothing="joint"), "set smoothing to 'flat'"),
        (dict(smoothing="joint", shape=(3, 3), by_position=False), "set smoothing to 'flat'"),
    ):
        with pytest.raises(ValueError, match=words):
            markov.Config(**settings)
    with pytest.raises(ValueError, match="optimizer=None"):
        make_step(markov, markov.tiny(), object())
