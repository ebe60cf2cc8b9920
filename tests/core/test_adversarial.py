"""Objectives of generators and discriminators: losses, penalties, metrics, statistics, keys."""

import dataclasses
import functools
import itertools
import math
import types
import typing

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from support.helpers import adversarial_families, make_batch, random_arrays

from genjax import families, losses
from genjax.core import (
    GanObjective,
    discriminator_objective,
    diversity,
    gan_losses,
    generator_objective,
    init_state,
    make_step,
    merge_networks,
    nearest_distance,
    network_step,
    objective_buffers,
    step_batch_spec,
)

SGD = optax.sgd(0.1)
LOSSES = typing.get_args(typing.get_type_hints(GanObjective)["loss"])
B, D = 6, 3
REAL, FAKE = np.random.default_rng(0).normal(size=(2, B, D)).astype(np.float32)
W = jnp.array([1.0, -2.0, 0.5])
# Statistics depend on the order of the batches.
VARIABLES = {"batch_stats": {"discriminator": {"seen": jnp.float32(7)}, "generator": {}}}


def noisy(x, key, stats):
    """The gradient varies with x; half of the inputs are dropped, which depends on the key."""
    kept = jax.random.bernoulli(key, 0.5, x.shape)
    return jnp.sin(jnp.where(kept, x, 0) @ W), {"seen": 2 * stats["seen"] + x.mean()}, "more"


def plain(x, key, stats):
    return jnp.sin(x @ W), stats, None


def discriminator_update(objective, noisy=plain, variables=VARIABLES):
    variables = {**variables, **objective_buffers(objective)}
    run = jax.jit(lambda v, key: discriminator_objective(objective, noisy, v, REAL, FAKE, key)[:2])
    return run(variables, jax.random.key(1))


REAL_LOGITS, FAKE_LOGITS = (np.asarray(jnp.sin(a @ W)) for a in (REAL, FAKE))
DISCRIMINATORS = {
    "non_saturating": losses.minimax_discriminator,
    "minimax": losses.minimax_discriminator,
    "least_squares": losses.least_squares_discriminator,
    "wasserstein": losses.wasserstein_critic,
    "hinge": losses.hinge_discriminator,
    "relativistic": losses.relativistic_discriminator,
}
GENERATORS = {
    "non_saturating": lambda r, f: losses.non_saturating_generator(f),
    "minimax": lambda r, f: losses.minimax_generator(f),
    "least_squares": lambda r, f: losses.least_squares_generator(f),
    "wasserstein": lambda r, f: losses.wasserstein_generator(f),
    "hinge": lambda r, f: losses.wasserstein_generator(f),
    "relativistic": losses.relativistic_generator,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_network_has_its_own_loss(loss):
    objective = GanObjective(loss=loss)
    nats, aux = discriminator_update(objective)
    np.testing.assert_allclose(nats, DISCRIMINATORS[loss](REAL_LOGITS, FAKE_LOGITS), rtol=1e-5)
    np.testing.assert_allclose(aux["real_logit"], REAL_LOGITS, rtol=1e-5)
    np.testing.assert_allclose(aux["fake_logit"], FAKE_LOGITS, rtol=1e-5)
    other, _, _ = generator_objective(objective, plain, VARIABLES, REAL, FAKE, jax.random.key(2))
    np.testing.assert_allclose(other, GENERATORS[loss](REAL_LOGITS, FAKE_LOGITS), rtol=1e-5)
    if loss in ("least_squares", "wasserstein", "hinge"):
        assert "real_probability" not in aux  # no log-odds, no probability
    elif loss == "relativistic":  # of a pair
        together = aux["real_probability"] + aux["fake_probability"]
        np.testing.assert_allclose(together, 1, rtol=1e-6)
    else:
        np.testing.assert_allclose(aux["fake_probability"], jax.nn.sigmoid(FAKE_LOGITS), rtol=1e-5)


def test_label_smoothing_reaches_the_loss():
    nats, _ = discriminator_update(GanObjective(label_smoothing=0.1))
    want = losses.minimax_discriminator(REAL_LOGITS, FAKE_LOGITS, smoothing=0.1)
    np.testing.assert_allclose(nats, want, rtol=1e-5)


def score(x):
    return jnp.sin(x @ W)


@pytest.mark.parametrize(
    ("settings", "penalty"),
    [
        ({"r1": 3.0}, lambda: 3 * losses.r1_penalty(score, REAL)),
        ({"r2": 5.0}, lambda: 5 * losses.r2_penalty(score, FAKE)),
        ({"drift": 0.5}, lambda: 0.5 * REAL_LOGITS**2),
        (
            {"r1": 3.0, "r2": 5.0, "drift": 0.5},
            lambda: (
                3 * losses.r1_penalty(score, REAL)
                + 5 * losses.r2_penalty(score, FAKE)
                + 0.5 * REAL_LOGITS**2
            ),
        ),
    ],
    ids=["r1", "r2", "drift", "all"],
)
def test_penalties_are_weighted_and_added(settings, penalty):
    nats, aux = discriminator_update(GanObjective(loss="hinge", **settings))
    np.testing.assert_allclose(aux["penalty"], penalty(), rtol=1e-4)
    bare = losses.hinge_discriminator(REAL_LOGITS, FAKE_LOGITS)
    np.testing.assert_allclose(nats, bare + penalty(), rtol=1e-4)


@pytest.mark.parametrize("one_sided", [False, True])
def test_gradient_penalty_between_real_and_generated_examples(one_sided):
    """The gradient norm of a linear critic is |W| everywhere, which gives the penalty."""
    linear = lambda x, key, stats: (x @ W, stats, None)  # noqa: E731
    norm = math.sqrt(5.25)
    for slope in (1.0, 10.0):
        objective = GanObjective(
            loss="wasserstein",
            gradient_penalty=10.0,
            penalty_target=slope,
            one_sided_penalty=one_sided,
        )
        _, aux = discriminator_update(objective, linear)
        excess = norm / slope - 1
        want = 10 * (max(excess, 0) if one_sided else excess) ** 2
        np.testing.assert_allclose(aux["penalty"], want, rtol=1e-5)


def test_interpolation_weights_are_uniform_and_independent():
    """The gradient norm of |x|^2 / 2 is |x|, the position of the point on the line."""
    bowl = lambda x, key, stats: (0.5 * jnp.sum(x**2, axis=1), stats, None)  # noqa: E731
    ends = jnp.ones((200, 1)), jnp.zeros((200, 1))
    objective = GanObjective(loss="wasserstein", gradient_penalty=1.0)
    _, aux, _ = discriminator_objective(objective, bowl, VARIABLES, *ends, jax.random.key(3))
    share = 1 - np.sqrt(np.asarray(aux["penalty"]))
    assert stats.kstest(share, "uniform").pvalue > 1e-6
    assert len(np.unique(share)) > 190


def test_lazy_penalties_apply_at_intervals_with_a_larger_weight():
    objective = GanObjective(loss="hinge", r1=3.0, penalty_interval=3)
    whole = 9 * losses.r1_penalty(score, REAL)
    variables = {**VARIABLES, **objective_buffers(objective)}
    step = jax.jit(lambda v, key: discriminator_objective(objective, plain, v, REAL, FAKE, key)[:2])
    for done in range(7):
        _, aux = step(variables, jax.random.key(4))
        want = whole if done % 3 == 0 else jnp.zeros(B)
        np.testing.assert_allclose(aux["penalty"], want, rtol=1e-4)
        counted = aux["updates"]["buffers"]
        assert int(counted["discriminator"]["updates"]) == done + 1
        variables = {**variables, "buffers": counted}


def test_statistics_are_updated_by_real_then_generated_examples_and_no_penalty():
    _, aux = discriminator_update(GanObjective(r1=1.0, r2=1.0, gradient_penalty=1.0), noisy)
    want = 2 * (2 * 7 + REAL.mean()) + FAKE.mean()
    assert float(aux["updates"]["batch_stats"]["discriminator"]["seen"]) == pytest.approx(want)
    assert set(aux["updates"]["batch_stats"]) == {"discriminator"}


def test_the_generators_update_changes_its_own_statistics_only():
    for loss in ("hinge", "relativistic"):
        _, aux, outputs = generator_objective(
            GanObjective(loss=loss),
            noisy,
            VARIABLES,
            REAL,
            FAKE,
            jax.random.key(2),
            statistics={"mine": 1.0},
        )
        assert aux["updates"] == {"batch_stats": {"generator": {"mine": 1.0}}}
        assert outputs == "more"


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_average_over_logits_and_penalties_differentiate_their_sum(loss):
    weights = np.random.default_rng(1).normal(size=(D, 2, 3)).astype(np.float32)

    def patches(x, key, stats):
        return jnp.tensordot(x, weights, 1), stats, x.sum()  # [B, 2, 3]

    objective = GanObjective(loss=loss, r1=2.0, drift=0.5)
    real, fake = patches(REAL, None, None)[0], patches(FAKE, None, None)[0]
    found, aux, outputs = discriminator_objective(
        objective, patches, VARIABLES, REAL, FAKE, jax.random.key(1)
    )
    penalty = np.sum(weights.sum((1, 2)) ** 2)  # r1 / 2 times the squared gradient of the sum
    penalty = penalty + 0.5 * np.mean(real**2, axis=(1, 2))
    np.testing.assert_allclose(aux["penalty"], penalty, rtol=1e-4)
    expected = objective.discriminator_loss(real, fake) / 6 + penalty
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(outputs, (REAL.sum(), FAKE.sum()), rtol=1e-4)
    found, _, _ = generator_objective(objective, patches, VARIABLES, REAL, FAKE, jax.random.key(1))
    np.testing.assert_allclose(found, objective.generator_loss(fake, real) / 6, rtol=1e-4)


def test_the_discriminators_loss_has_no_gradient_into_samples():
    def total(fake):
        objective = GanObjective(loss="wasserstein", r2=1.0, gradient_penalty=1.0)
        return discriminator_objective(objective, plain, VARIABLES, REAL, fake, jax.random.key(1))[
            0
        ].sum()

    np.testing.assert_array_equal(jax.grad(total)(FAKE), np.zeros((B, D)))


def test_no_key_is_used_twice():
    objective = GanObjective(
        loss="relativistic", r1=1.0, r2=1.0, gradient_penalty=1.0, penalty_interval=2
    )
    with jax.debug_key_reuse(True):
        discriminator_update(objective, noisy)
        generator_update = jax.jit(
            lambda v, key: generator_objective(objective, noisy, v, REAL, FAKE, key)[0]
        )
        generator_update(VARIABLES, jax.random.key(2))


def test_diversity_is_the_ratio_of_mean_squared_distances():
    def distance(x):
        pairs = [((a - b) ** 2).sum() for a, b in itertools.product(x.astype(np.float64), repeat=2)]
        return math.sqrt(np.mean(pairs))

    found = float(diversity(REAL, 0.3 * FAKE + 100))  # translation does not matter
    assert found == pytest.approx(0.3 * distance(FAKE) / distance(REAL), rel=1e-4)
    assert float(diversity(REAL, REAL)) == pytest.approx(1)
    assert float(diversity(REAL, np.repeat(FAKE[:1], B, 0))) == pytest.approx(0, abs=1e-3)
    assert float(diversity(REAL, np.concatenate([REAL, REAL]))) == pytest.approx(1)
    assert float(diversity(REAL[:1], FAKE[:1])) == 1.0  # a batch of one


def test_nearest_is_the_ratio_of_distances_to_the_nearest_other():
    def distance(x):
        x = x.astype(np.float64).reshape(len(x), -1)
        return np.mean(
            [min(np.linalg.norm(a - b) for j, b in enumerate(x) if j != i) for i, a in enumerate(x)]
        )

    found = float(nearest_distance(REAL, 0.3 * FAKE + 100))
    assert found == pytest.approx(0.3 * distance(FAKE) / distance(REAL), rel=1e-3)
    assert float(nearest_distance(REAL, REAL)) == pytest.approx(1)
    # Two images, repeated: as far apart as the data, with duplicates.
    apart = np.linalg.norm(REAL[:, None] - REAL[None], axis=-1)
    two = np.repeat(REAL[list(np.unravel_index(apart.argmax(), apart.shape))], B // 2, 0)
    assert float(diversity(REAL, two)) > 0.4
    assert float(nearest_distance(REAL, two)) == pytest.approx(0, abs=1e-3)
    assert float(nearest_distance(REAL[:1], FAKE[:1])) == float(nearest_distance(two, FAKE)) == 1.0


def test_a_loss_may_not_update_another_network():
    params = {"generator": {"w": W}, "discriminator": {"w": W}}

    def loss(variables, batch, key, network="discriminator"):
        updates = {"batch_stats": {"generator": jnp.float32(1), "pool": jnp.float32(2)}}
        return batch["x"] @ variables["params"][network]["w"], {"updates": updates}

    def init(config, key, batch=None):
        del config, key, batch
        return {"params": params, "batch_stats": {"generator": jnp.float32(0), "pool": 0.0}}

    optimizers = {name: optax.sgd(0.1) for name in params}
    family = types.SimpleNamespace(init=init)
    state = init_state(family, None, optimizers, jax.random.key(0))
    with pytest.raises(ValueError, match="loss of discriminator updates batch_stats of generator"):
        network_step("discriminator", loss, optax.sgd(0.1))(state, {"x": REAL})
    own = functools.partial(loss, network="generator")
    new, _ = network_step("generator", own, optax.sgd(0.1))(state, {"x": REAL})
    assert float(new.variables["batch_stats"]["pool"]) == 2  # belongs to no network


def with_loss(config, loss):
    """Returns the Config with a loss without penalties; pix2pix has one loss alone."""
    if not hasattr(config, "objective"):
        return config
    objective = GanObjective(loss=loss, update=config.objective.update)
    return dataclasses.replace(config, objective=objective)


# Every loss of the smallest family, and the first loss of the others.
CASES = [("gan", loss) for loss in LOSSES]
CASES += [(name, LOSSES[0]) for name in adversarial_families() if name != "gan"]


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_every_step_reports_losses_logits_and_diversity(name, loss):
    family = families.get(name)
    config = with_loss(family.tiny(), loss)
    optimizers = {name: optax.sgd(0.1) for name in family.LOSSES}
    state = jax.eval_shape(
        lambda key: init_state(family, config, optimizers, key), jax.random.key(0)
    )
    step, spec = make_step(family, config, optimizers), step_batch_spec(family, config, 4)
    _, metrics = jax.eval_shape(step, state, spec)
    if name in ("cyclegan", "pix2pix"):  # without diversity
        ends = ("_a", "_b") if name == "cyclegan" else ("",)
        discriminator = next(name for name in family.LOSSES if name.startswith("discriminator"))
        assert {f"{n}_{m}" for n in family.LOSSES for m in ("loss", "grad_norm")} <= set(metrics)
        kinds = ("real_logit", "fake_logit")
        assert {f"{discriminator}_{kind}{end}" for kind in kinds for end in ends} <= set(metrics)
        return
    always = {"real_logit", "fake_logit", "loss", "grad_norm"}
    expected = {f"discriminator_{m}" for m in always} | {f"generator_{m}" for m in always}
    expected -= {"generator_real_logit", "generator_fake_logit"}
    assert expected | {"generator_diversity", "generator_nearest"} <= set(metrics)
    if loss in ("non_saturating", "minimax", "relativistic"):
        assert {"discriminator_real_probability", "discriminator_fake_probability"} <= set(metrics)


@pytest.mark.parametrize("name", adversarial_families())
def test_in_bfloat16(name):
    """Losses are float32 and near those of float32 computation, with finite gradients."""
    family = families.get(name)
    exact = with_loss(family.tiny(), "non_saturating")
    half = dataclasses.replace(exact, dtype="bfloat16")
    variables = random_arrays(lambda key: family.init(exact, key), scale=0.3)
    batch, key = make_batch(family, exact), jax.random.key(1)

    def both(config, params):
        whole = {**variables, "params": params}
        return [loss(config, whole, batch, key)[0] for loss in family.LOSSES.values()]

    @jax.jit
    def compute(params):
        def total(params):
            nats = both(half, params)
            return sum(n.mean() for n in nats), nats

        return both(exact, params), *jax.grad(total, has_aux=True)(params)[::-1]

    want, found, grads = compute(variables["params"])
    for a, b in zip(found, want, strict=True):
        assert a.dtype == jnp.float32
        # Of the batch: for one example a code's small variance amplifies rounding errors.
        assert 0 < jnp.abs(a - b).mean() < 0.1 * jnp.abs(b).mean()
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "wgan"}, "`loss` must be one of non_saturating, .* got 'wgan'"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing needs a loss with labels"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be a number in \[0, 1\)"),
        ({"penalty_interval": 16}, "penalty_interval needs gradient_penalty, r1 or r2 above 0"),
        ({"r1": -1.0}, "`r1` must be a non-negative number"),
        ({"penalty_target": 0.0}, "`penalty_target` must be a positive number"),
        ({"critic_steps": 0}, "`critic_steps` must be a positive integer, got 0"),
        ({"critic_steps": 2.5}, "`critic_steps` must be a positive integer, got 2.5"),
        ({"one_sided_penalty": True, "r1": 1.0}, "one_sided_penalty and penalty_target need"),
        ({"penalty_target": 750.0}, "one_sided_penalty and penalty_target need"),
        ({"update": "simultaneous", "critic_steps": 2}, "simultaneous updates have one critic"),
    ],
    ids=str,
)
def test_rejects_invalid_objectives(settings, message):
    with pytest.raises(ValueError, match=message):
        GanObjective(**settings)


@pytest.mark.parametrize("discriminator", ["discriminator", "critic_a"])
def test_networks_are_known_by_the_given_names(discriminator):
    objective = GanObjective(r1=1.0, penalty_interval=2)
    own = {discriminator: {"buffers": {"scale": jnp.ones(2)}}, "g": {"buffers": {"pool": B}}}
    buffers = merge_networks(own, objective, discriminator=discriminator)["buffers"]
    assert set(buffers[discriminator]) == {"scale", "updates"}
    assert buffers["g"] == {"pool": B}
    variables = {"buffers": buffers, "batch_stats": {discriminator: {"seen": jnp.float32(7)}}}
    key = jax.random.key(1)
    _, aux, _ = discriminator_objective(
        objective, noisy, variables, REAL, FAKE, key, network=discriminator
    )
    assert set(aux["updates"]["batch_stats"]) == set(aux["updates"]["buffers"]) == {discriminator}
    assert set(aux["updates"]["buffers"][discriminator]) == {"scale", "updates"}
    assert int(aux["updates"]["buffers"][discriminator]["updates"]) == 1
    _, aux, _ = generator_objective(
        objective,
        noisy,
        variables,
        REAL,
        FAKE,
        key,
        statistics={"seen": 1},
        network="g",
        discriminator=discriminator,
    )
    assert aux["updates"]["batch_stats"] == {"g": {"seen": 1}}


def test_the_update_order_of_an_objective_is_that_of_the_step():
    family, optimizers = families.get("gan"), {"discriminator": SGD, "generator": SGD}
    config = dataclasses.replace(family.tiny(), objective=GanObjective(update="simultaneous"))
    state = jax.jit(lambda key: init_state(family, config, optimizers, key))(jax.random.key(0))
    batch = make_batch(family, config)
    new, _ = jax.jit(make_step(family, config, optimizers))(state, batch)
    for name, loss in family.LOSSES.items():  # each from the old state
        step = network_step(name, functools.partial(loss, config), SGD)
        alone, _ = jax.jit(step)(state, batch)
        chex.assert_trees_all_close(
            new.variables["params"][name], alone.variables["params"][name], rtol=1e-5, atol=1e-7
        )
    config = dataclasses.replace(config, objective=GanObjective())
    sequential, _ = jax.jit(make_step(family, config, optimizers))(state, batch)
    moved = (new.variables["params"]["generator"], sequential.variables["params"]["generator"])
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), *moved)))


class _Generator(nn.Module):
    """A generator with dropout."""

    @nn.compact
    def __call__(self, z, train=False):
        return nn.Dense(D)(nn.Dropout(0.5, deterministic=not train)(z))


class _Critic(nn.Module):
    """A discriminator; `bare` returns logits that are not in a tuple."""

    bare: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        logits = nn.Dense(1)(x)[:, 0]
        return logits if self.bare else (logits,)


def _losses_and_inputs(bare=False):
    config = types.SimpleNamespace(objective=GanObjective())
    spec = {"x": jax.ShapeDtypeStruct((B, D), jnp.float32)}
    generator, critic = _Generator(), _Critic(bare)
    losses_of = gan_losses(
        "toy",
        lambda config: generator,
        lambda config: critic,
        noise=lambda config, key, n: jnp.ones((n, 4)),
        batch_spec=lambda config, n: spec,
    )
    networks = {
        "generator": generator.init(jax.random.key(0), jnp.ones((1, 4))),
        "discriminator": critic.init(jax.random.key(1), jnp.ones((1, D))),
    }
    return losses_of, (config, merge_networks(networks), {"x": jnp.asarray(REAL)})


def test_a_generator_may_have_dropout():
    losses_of, inputs = _losses_and_inputs()
    first, again, other = (losses_of["generator"](*inputs, jax.random.key(i))[0] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_discriminator_must_return_a_tuple():
    losses_of, inputs = _losses_and_inputs(bare=True)
    with pytest.raises(ValueError, match=r"must return \(logits \[B\], \*outputs\), got float32"):
        losses_of["discriminator"](*inputs, jax.random.key(0))
