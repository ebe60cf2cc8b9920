"""The state of a run, its average, and the steps that change one part of it and no other."""

import functools
import types
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import (
    State,
    adversarial_step,
    gradient_step,
    init_state,
    named_key,
    network_step,
    with_ema,
)
from genjax.core.step import global_norm


class Players(NamedTuple):
    generator: Any
    discriminator: Any


def init(config, key, batch=None):
    """A toy family: two players with three weights each, and a buffer."""
    weights = jax.random.normal(key, (2, 3))
    if batch is not None:  # data-dependent initialisation
        weights = weights + batch["x"].mean()
    params = {"generator": {"w": weights[0]}, "discriminator": {"w": weights[1]}}
    return {"params": params, "buffers": {"seen": jnp.full((), config)}}


FAMILY = types.SimpleNamespace(init=init)
ADAMS = Players(optax.adam(1e-2), optax.adam(1e-2))
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def loss(variables, batch, key):
    """(x . g)(x . d), `[B]`: each player's gradient depends on the other's weights."""
    players = variables["params"]
    nats = (batch["x"] @ players["generator"]["w"]) * (batch["x"] @ players["discriminator"]["w"])
    aux = {
        "noise": jax.random.uniform(key, (2,)),
        "updates": {"buffers": {"seen": variables["buffers"]["seen"] + batch["x"].shape[0]}},
    }
    return nats, aux


def build(optimizer, **options):
    key = jax.random.key(5)
    return jax.jit(lambda key: init_state(FAMILY, 7.0, optimizer, key, **options))(key)


@functools.cache  # compiled once for all the tests; nobody can change a state
def start(optimizer=ADAMS, ema=False):
    return build(optimizer, ema=ema)


def warmed_up(ema=False):
    """A state whose optimizers have moments that are not 0, at step 3."""
    state = start(ema=ema)
    moved = jax.tree.map(lambda a: a + 1, state.opt_state)
    return state.replace(opt_state=moved, step=jnp.full((), 3, jnp.int32))


def same_bits(a, b):
    chex.assert_trees_all_equal(a, b, strict=True)


def key_bits(key):
    return tuple(jax.random.key_data(key).tolist())


# init_state


def test_init_state_holds_everything_at_step_0():
    state = start()
    key = jax.random.key(5)
    assert (int(state.step), state.step.dtype) == (0, jnp.int32)
    assert key_bits(state.key) == key_bits(key)  # the run's key, not one derived from it
    # The family draws from its own stream: with the run's key itself, `init` would share its
    # random numbers with whatever else uses the key.
    want = jax.jit(lambda: init(7.0, named_key(key, 0, "init")))()
    same_bits(state.variables, want)
    assert state.ema is None


def test_each_optimizer_of_several_starts_on_its_own_subtree():
    state = start()
    assert isinstance(state.opt_state, Players)
    assert len(jax.tree.leaves(state.opt_state.generator)) == 3  # count, two moments of one leaf
    params = state.variables["params"]
    same_bits(state.opt_state, Players(*(optax.adam(1e-2).init(params[n]) for n in params)))


def test_one_optimizer_starts_on_all_parameters_and_none_on_nothing():
    state = start(optax.adam(1e-2))  # an optax optimizer is a named tuple itself
    same_bits(state.opt_state, optax.adam(1e-2).init(state.variables["params"]))
    assert start(None).opt_state == ()


def test_the_batch_reaches_data_dependent_initialisation():
    without, given = start(), build(ADAMS, batch={"x": jnp.full((2, 3), 2.0)})
    chex.assert_trees_all_close(
        given.variables["params"],
        jax.tree.map(lambda p: p + 2, without.variables["params"]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("ema", [False, True])
def test_init_state_under_eval_shape_gives_the_shapes_of_the_real_state(ema):
    """Shardings are made from these before any array exists."""
    key = jax.random.key(5)
    shapes = jax.eval_shape(lambda key: init_state(FAMILY, 7.0, ADAMS, key, ema=ema), key)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, start(ema=ema))


def test_collections_that_are_given_take_the_place_of_inits():
    fresh = start().variables
    given = {"params": jax.tree.map(lambda leaf: leaf + 1, fresh["params"])}
    state = jax.jit(
        lambda key, v: init_state(FAMILY, 7.0, ADAMS, key, ema=True, variables=v),
    )(jax.random.key(5), given)
    made = jax.tree.map(np.array, state.replace(key=()))  # copies: NumPy keeps what it views
    same_bits(made.variables, {**fresh, **given})
    same_bits(made.ema, {"generator": given["params"]["generator"]})
    same_bits(made.opt_state, start().opt_state)
    # The next step takes the state's memory: none of it is there twice, and none the caller's.
    jax.jit(lambda s: jax.tree.map(jnp.negative, s.replace(key=())), donate_argnums=0)(state)
    assert state.variables["params"]["generator"]["w"].is_deleted()
    same_bits(given["params"], jax.tree.map(lambda leaf: leaf + 1, fresh["params"]))


def test_a_state_built_inside_jit_can_be_donated_with_its_average():
    """Built eagerly, ema and params are one buffer, and donating it twice is an error."""
    state = build(optax.sgd(0.1), ema=True)
    # Copies: an array that NumPy has a view of is not given away.
    before, average = jax.tree.map(np.array, (state.variables["params"], state.ema))
    same_bits(average, {"generator": before["generator"]})
    step = jax.jit(with_ema(gradient_step(loss, optax.sgd(0.1)), 0.5), donate_argnums=0)
    new, _ = step(state, {"x": X})
    # Both were really given away: nothing of the old state is kept beside the new one.
    assert state.variables["params"]["generator"]["w"].is_deleted()
    assert state.ema["generator"]["w"].is_deleted()
    old, newest = (p["generator"]["w"] for p in (before, new.variables["params"]))
    chex.assert_trees_all_close(new.ema, {"generator": {"w": (old + newest) / 2}}, rtol=1e-6)
    # Samples come of the averaged generator; the discriminator is the newest.
    used = new.eval_variables()["params"]
    same_bits(used["generator"], new.ema["generator"])
    same_bits(used["discriminator"], new.variables["params"]["discriminator"])


# The average


def test_with_ema_follows_the_formula_over_several_steps():
    """With the two weights swapped, or the old parameters in place of the new, this fails."""
    decay, path = 0.9, [np.array([1.0, -2.0, 4.0]) * 1.5**i for i in range(5)]

    def step(state, batch):
        variables = {"params": {"w": batch}, "buffers": {"seen": state.step + 1}}
        return state.replace(variables=variables, step=state.step + 1), {"loss": batch.sum()}

    state = State(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        variables={"params": {"w": jnp.asarray(path[0], jnp.float32)}, "buffers": {"seen": 0}},
        opt_state=(),
        ema={"w": jnp.asarray(path[0], jnp.float32)},
    )
    averaged = jax.jit(with_ema(step, decay))
    for params in path[1:]:
        state, metrics = averaged(state, jnp.asarray(params, jnp.float32))
        assert float(metrics["loss"]) == pytest.approx(params.sum(), rel=1e-6)
    n = len(path) - 1  # unrolled: decay^n of the first, and a geometric weight for each later one
    want = decay**n * path[0]
    want = want + sum((1 - decay) * decay ** (n - i) * path[i] for i in range(1, n + 1))
    np.testing.assert_allclose(state.ema["w"], want, rtol=1e-5)
    assert int(state.step) == n
    # Sampling takes the averaged parameters and the newest buffers.
    evaluated = state.eval_variables()
    same_bits(evaluated, {"params": state.ema, "buffers": {"seen": jnp.asarray(n, jnp.int32)}})
    same_bits(state.replace(ema=None).eval_variables(), state.variables)


# One network


def test_gradient_step_descends_the_mean_and_reports_it():
    state = start(optax.sgd(0.5))
    batch = {"x": X}
    new, metrics = jax.jit(gradient_step(loss, optax.sgd(0.5)))(state, batch)
    g, d = (np.asarray(state.variables["params"][n]["w"], np.float64) for n in Players._fields)
    x = X.astype(np.float64)
    grad_g, grad_d = (x * (x @ d)[:, None]).mean(0), (x * (x @ g)[:, None]).mean(0)
    params = new.variables["params"]
    np.testing.assert_allclose(params["generator"]["w"], g - 0.5 * grad_g, rtol=1e-5)
    np.testing.assert_allclose(params["discriminator"]["w"], d - 0.5 * grad_d, rtol=1e-5)
    norm = np.sqrt(np.sum(grad_g**2) + np.sum(grad_d**2))
    after = np.concatenate([g - 0.5 * grad_g, d - 0.5 * grad_d])
    noise = jax.random.uniform(named_key(state.key, 0, "loss"), (2,))
    want = {
        "loss": ((x @ g) * (x @ d)).mean(),
        "noise": noise.mean(),
        "grad_norm": norm,
        "update_norm": 0.5 * norm,
        "param_norm": np.linalg.norm(after),
    }
    assert set(metrics) == set(want)  # "updates" are no metric
    for name, value in want.items():
        assert metrics[name].shape == ()
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-5), name
    assert float(new.variables["buffers"]["seen"]) == 7 + 4
    assert int(new.step) == 1
    assert key_bits(new.key) == key_bits(state.key)


def test_the_noise_of_a_step_depends_on_the_step_alone():
    """Drawn from the run's key without the step, every step would see the same noise."""
    step = jax.jit(gradient_step(loss, optax.sgd(0.0)))
    state = start(optax.sgd(0.0))
    first, metrics = step(state, {"x": X})
    again = step(state, {"x": X})[1]
    later = step(first, {"x": X})[1]
    assert float(metrics["noise"]) == float(again["noise"]) != float(later["noise"])


# Two networks


@pytest.mark.parametrize(("name", "other"), [Players._fields, Players._fields[::-1]])
def test_network_step_leaves_the_other_network_bit_identical(name, other):
    """A gradient through both, or an optimizer over both, moves the other by decayed moments."""
    state = warmed_up(ema=True)
    new, metrics = jax.jit(network_step(loss, ADAMS, name))(state, {"x": X})
    same_bits(new.variables["params"][other], state.variables["params"][other])
    same_bits(getattr(new.opt_state, other), getattr(state.opt_state, other))
    same_bits(new.ema, state.ema)
    assert int(new.step) == 3  # the whole adversarial step counts, once
    assert key_bits(new.key) == key_bits(state.key)
    # Its own network moved by its own gradient: Adam from the same moments, by hand.
    own, its = (np.asarray(state.variables["params"][n]["w"]) for n in (name, other))
    grad = (X * (X @ its)[:, None]).mean(axis=0)
    updates, opt_state = optax.adam(1e-2).update({"w": grad}, getattr(state.opt_state, name))
    chex.assert_trees_all_close(
        new.variables["params"][name], {"w": own + updates["w"]}, rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_close(getattr(new.opt_state, name), opt_state, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(new.variables["params"][name]["w"]) != own)
    # Collections the loss updates come along; metrics carry the player's name.
    assert float(new.variables["buffers"]["seen"]) == 7 + 4
    assert set(metrics) == {
        f"{name}_{m}" for m in ("loss", "noise", "grad_norm", "update_norm", "param_norm")
    }
    noise = jax.random.uniform(named_key(state.key, 3, name), (2,))  # a stream of its own
    assert float(metrics[f"{name}_noise"]) == pytest.approx(float(noise.mean()))


def record(calls, name):
    """A half-step that writes down what it saw and counts itself in the buffers."""

    def step(state, batch):
        seen = state.variables["buffers"]["seen"]

        def note(key, step, seen, x):
            calls.append((name, key_bits(key), int(step), int(seen), x.tolist()))

        told = (jax.random.key_data(state.key), state.step, seen, batch["x"])
        jax.debug.callback(note, *told, ordered=True)  # as it runs, in a loop or not
        new = state.replace(variables={**state.variables, "buffers": {"seen": seen + 1}})
        return new, {f"{name}_seen": seen}

    return step


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_adversarial_step_takes_its_turns(critic_steps):
    calls = []
    step = adversarial_step(
        record(calls, "discriminator"), record(calls, "generator"), critic_steps=critic_steps
    )
    parts = [X + i for i in range(critic_steps)]
    state = warmed_up()
    new, metrics = step(state, {"x": parts[0] if critic_steps == 1 else np.stack(parts)})
    names, keys, steps, seen, batches = zip(*calls, strict=True)
    # k updates of D on k parts, each from the state the one before left, then one of G on the last.
    assert names == ("discriminator",) * critic_steps + ("generator",)
    assert seen == tuple(range(7, 7 + critic_steps + 1))
    assert batches == (*(p.tolist() for p in parts), parts[-1].tolist())
    assert set(steps) == {3}
    # No two D updates share their noise, and G and the next step find the run's own key.
    assert len(set(keys[:-1])) == critic_steps
    assert keys[-1] == keys[0] == key_bits(state.key) == key_bits(new.key)
    assert int(new.step) == 4
    # The mean over D's updates, of which each counts itself.
    assert {k: float(v) for k, v in metrics.items()} == {
        "discriminator_seen": 7 + (critic_steps - 1) / 2,
        "generator_seen": 7 + critic_steps,
    }


def test_critic_steps_are_the_half_steps_one_after_another():
    """The composed and compiled step against its halves, called by hand."""
    halves = {n: jax.jit(network_step(loss, ADAMS, n)) for n in Players._fields}
    whole = adversarial_step(
        network_step(loss, ADAMS, "discriminator"),
        network_step(loss, ADAMS, "generator"),
        critic_steps=2,
    )
    batch = {"x": np.stack([X, X * 2])}
    state = warmed_up()
    got, _ = jax.jit(whole)(state, batch)
    want, _ = halves["discriminator"](state, {"x": X})
    want, _ = halves["discriminator"](want, {"x": X * 2})
    want, _ = halves["generator"](want, {"x": X * 2})
    chex.assert_trees_all_close(got.variables, want.variables, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(got.opt_state, want.opt_state, rtol=1e-5, atol=1e-6)
    assert int(got.step) == 4


def test_critic_steps_are_a_loop_but_on_a_cpu():
    """Whose loops have no quick gradients of convolutions."""

    def half(name):
        return lambda state, batch: (state, {name: batch["x"].sum()})

    step = jax.jit(adversarial_step(half("d"), half("g"), critic_steps=5))
    # Keys of which a CPU makes others without a loop.
    state = warmed_up().replace(key=jax.random.key(0, impl="unsafe_rbg"))
    traced = step.trace(state, {"x": np.stack([X] * 5)})
    loops = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": 0, "cuda": 1, "tpu": 1}


def test_the_norm_of_all_numbers():
    rng = np.random.default_rng(0)
    shapes = ((), (1,), (300,), (4, 5), (3, 3, 2, 6), (0, 4))
    tree = {str(s): rng.normal(size=s).astype(np.float32) for s in shapes}
    want = np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in tree.values()))
    assert float(jax.jit(global_norm)(tree)) == pytest.approx(want, rel=1e-6)
    assert float(global_norm(tree)) == pytest.approx(float(optax.tree.norm(tree)), rel=1e-6)
    # Of runs in one program each its own.
    both = jax.tree.map(lambda a: np.stack([a, 2 * a]), tree)
    np.testing.assert_allclose(jax.vmap(global_norm)(both), [want, 2 * want], rtol=1e-6)
