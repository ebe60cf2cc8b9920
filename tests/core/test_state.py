"""The state of a run, its average, and train steps of one and of several networks."""

import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import (
    State,
    Traits,
    adversarial_step,
    gradient_step,
    init_state,
    named_key,
    network_step,
    with_ema,
)
from genjax.core.state import ema_warning
from genjax.core.step import global_norm

NETWORKS = ("discriminator", "generator")


def init(config, key, batch=None):
    """A toy family: two networks with three weights each, and a buffer."""
    weights = jax.random.normal(key, (2, 3))
    if batch is not None:  # data-dependent initialisation
        weights = weights + batch["x"].mean()
    params = {"generator": {"w": weights[0]}, "discriminator": {"w": weights[1]}}
    return {"params": params, "buffers": {"seen": jnp.full((), config)}}


def traits(config):
    return Traits(data="real", density="none", ema=("generator",))


FAMILY = types.SimpleNamespace(init=init, traits=traits)
ADAMS = {name: optax.adam(1e-2) for name in NETWORKS}
SGD = optax.sgd(0.1, momentum=0.9)
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def loss(variables, batch, key):
    """(x . g)(x . d), `[B]`: each network's gradient depends on the other's weights."""
    networks = variables["params"]
    nats = (batch["x"] @ networks["generator"]["w"]) * (batch["x"] @ networks["discriminator"]["w"])
    aux = {
        "noise": jax.random.uniform(key, (2,)),
        "updates": {"buffers": {"seen": variables["buffers"]["seen"] + batch["x"].shape[0]}},
    }
    return nats, aux


def build(optimizer, **options):
    key = jax.random.key(5)
    return jax.jit(lambda key: init_state(FAMILY, 7.0, optimizer, key, **options))(key)


@functools.cache  # compiled once for all tests; states are immutable
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


def test_each_optimizer_is_initialised_on_its_own_network():
    state = start()
    assert set(state.opt_state) == set(NETWORKS)
    assert len(jax.tree.leaves(state.opt_state["generator"])) == 3  # count, two moments of one leaf
    params = state.variables["params"]
    same_bits(state.opt_state, {n: optax.adam(1e-2).init(params[n]) for n in params})


def test_one_optimizer_is_initialised_on_all_parameters():
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


def test_given_collections_replace_those_of_init():
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
    """No leaf of the average shares a buffer with the parameters."""
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
    want = {"generator": {"w": 0.1 * old + 0.9 * newest}}  # the first step of the warm-up
    chex.assert_trees_all_close(new.ema, want, rtol=1e-6)
    # Samples come of the averaged generator; the discriminator is the newest.
    used = new.eval_variables()["params"]
    same_bits(used["generator"], new.ema["generator"])
    same_bits(used["discriminator"], new.variables["params"]["discriminator"])


# The average


@pytest.mark.parametrize("decay", [0.2, 0.9])
def test_with_ema_follows_the_formula_over_several_steps(decay):
    """With the two weights swapped, or the old parameters in place of the new, this fails."""
    path = [np.array([1.0, -2.0, 4.0]) * 1.5**i for i in range(5)]

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
    n, want = len(path) - 1, path[0]
    for i, params in enumerate(path[1:]):
        rate = min(decay, (1 + i) / (10 + i))
        want = rate * want + (1 - rate) * params
    np.testing.assert_allclose(state.ema["w"], want, rtol=1e-5)
    assert int(state.step) == n
    # Sampling takes the averaged parameters and the newest buffers.
    evaluated = state.eval_variables()
    same_bits(evaluated, {"params": state.ema, "buffers": {"seen": jnp.asarray(n, jnp.int32)}})
    same_bits(state.replace(ema=None).eval_variables(), state.variables)


def test_the_average_of_a_short_run_is_not_its_initialisation():
    """At a decay of 0.999 without warm-up, 98 % of the average would be the first weights."""

    def step(state, batch):
        variables = {"params": {"w": jnp.float32(1)}}
        return state.replace(variables=variables, step=state.step + 1), {}

    state = State(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        variables={"params": {"w": jnp.float32(0)}},
        opt_state=(),
        ema={"w": jnp.float32(0)},
    )
    averaged = jax.jit(with_ema(step, 0.999))
    for _ in range(20):
        state, _ = averaged(state, None)
    assert float(state.ema["w"]) > 0.999


@pytest.mark.parametrize(("decay", "steps"), [(0.999, 999), (0.9, 9)])
def test_warns_of_an_average_younger_than_its_horizon(decay, steps):
    words = ema_warning(decay, steps)
    horizon = round(1 / (1 - decay))
    assert f"horizon of {horizon:,} steps, but the evaluated weights have {steps:,}" in words
    assert "lower --ema or train longer" in words
    assert ema_warning(decay, steps + 1) == ema_warning(0.0, steps) == ""


# One network


def test_gradient_step_descends_the_mean_and_reports_it():
    state = start(optax.sgd(0.5))
    batch = {"x": X}
    new, metrics = jax.jit(gradient_step(loss, optax.sgd(0.5)))(state, batch)
    g, d = (
        np.asarray(state.variables["params"][n]["w"], np.float64)
        for n in ("generator", "discriminator")
    )
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
    assert set(metrics) == set(want)  # "updates" is not a metric
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


@pytest.mark.parametrize(("name", "other"), [NETWORKS, NETWORKS[::-1]])
def test_network_step_leaves_the_other_network_bit_identical(name, other):
    """A gradient through both, or an optimizer over both, moves the other by decayed moments."""
    state = warmed_up(ema=True)
    new, metrics = jax.jit(network_step(name, loss, ADAMS[name]))(state, {"x": X})
    same_bits(new.variables["params"][other], state.variables["params"][other])
    same_bits(new.opt_state[other], state.opt_state[other])
    same_bits(new.ema, state.ema)
    assert int(new.step) == 3  # the whole adversarial step counts, once
    assert key_bits(new.key) == key_bits(state.key)
    # Its own network moved by its own gradient: Adam from the same moments, by hand.
    own, its = (np.asarray(state.variables["params"][n]["w"]) for n in (name, other))
    grad = (X * (X @ its)[:, None]).mean(axis=0)
    updates, opt_state = optax.adam(1e-2).update({"w": grad}, state.opt_state[name])
    chex.assert_trees_all_close(
        new.variables["params"][name], {"w": own + updates["w"]}, rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_close(new.opt_state[name], opt_state, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(new.variables["params"][name]["w"]) != own)
    # Collections the loss updates come along; names of metrics begin with the network's.
    assert float(new.variables["buffers"]["seen"]) == 7 + 4
    assert set(metrics) == {
        f"{name}_{m}" for m in ("loss", "noise", "grad_norm", "update_norm", "param_norm")
    }
    noise = jax.random.uniform(named_key(state.key, 3, name), (2,))  # a stream of its own
    assert float(metrics[f"{name}_noise"]) == pytest.approx(float(noise.mean()))


def recording_loss(calls, name):
    """A loss that records its inputs as it runs, and counts itself in the buffers."""

    def recording(variables, batch, key):
        seen = variables["buffers"]["seen"]
        others = [variables["params"][n]["w"] for n in NETWORKS if n != name]
        weights = jax.lax.stop_gradient(others)

        def note(key, seen, x, weights):
            calls.append((name, key_bits(key), int(seen), x.tolist(), weights[0].tolist()))

        inputs = (jax.random.key_data(key), seen, batch["x"], weights)
        jax.debug.callback(note, *inputs, ordered=True)  # in order, in a loop or not
        return loss(variables, batch, key)[0], {
            "seen": seen,
            "updates": {"buffers": {"seen": seen + 1}},
        }

    return recording


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_adversarial_step_updates_in_sequence(critic_steps):
    calls = []
    losses = {name: recording_loss(calls, name) for name in NETWORKS}
    step = adversarial_step(losses, ADAMS, critic_steps=critic_steps)
    parts = [X + i for i in range(critic_steps)]
    state = warmed_up()
    new, metrics = step(state, {"x": parts[0] if critic_steps == 1 else np.stack(parts)})
    names, keys, seen, batches, weights = zip(*calls, strict=True)
    # k updates of D on k parts, each from the state the one before left, then one of G on the last.
    assert names == ("discriminator",) * critic_steps + ("generator",)
    assert seen == tuple(range(7, 7 + critic_steps + 1))
    assert batches == (*(p.tolist() for p in parts), parts[-1].tolist())
    # G sees the newest D.
    assert weights[-1] == np.asarray(new.variables["params"]["discriminator"]["w"]).tolist()
    # Every update has its own stream at step 3; later critic steps have keys of their own.
    critics = [state.key, *(named_key(state.key, k, "critic") for k in range(1, critic_steps))]
    expected = [named_key(key, 3, "discriminator") for key in critics]
    expected.append(named_key(state.key, 3, "generator"))
    assert [tuple(int(n) for n in k) for k in keys] == [
        tuple(jax.random.key_data(key).tolist()) for key in expected
    ]
    assert len(set(keys)) == critic_steps + 1
    assert key_bits(new.key) == key_bits(state.key)
    assert int(new.step) == 4
    # The mean over D's updates, of which each counts itself.
    assert float(metrics["discriminator_seen"]) == 7 + (critic_steps - 1) / 2
    assert float(metrics["generator_seen"]) == 7 + critic_steps


def test_critic_steps_equal_single_updates_in_sequence():
    """The compiled step against its updates, called by hand."""
    single = {n: jax.jit(network_step(n, loss, ADAMS[n])) for n in NETWORKS}
    whole = adversarial_step(dict.fromkeys(NETWORKS, loss), ADAMS, critic_steps=2)
    batch = {"x": np.stack([X, X * 2])}
    state = warmed_up()
    got, _ = jax.jit(whole)(state, batch)
    want, _ = single["discriminator"](state, {"x": X})
    want, _ = single["discriminator"](want, {"x": X * 2})
    want, _ = single["generator"](want, {"x": X * 2})
    chex.assert_trees_all_close(got.variables, want.variables, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(got.opt_state, want.opt_state, rtol=1e-5, atol=1e-6)
    assert int(got.step) == 4


def test_simultaneous_updates_use_the_old_state():
    """Each network moves as by an update of it alone; sequential updates differ."""
    batch, losses, sgd = {"x": X}, dict.fromkeys(NETWORKS, loss), dict.fromkeys(NETWORKS, SGD)
    state = build(sgd)
    both, metrics = jax.jit(adversarial_step(losses, sgd, simultaneous=True))(state, batch)
    sequential, _ = jax.jit(adversarial_step(losses, sgd))(state, batch)
    for name in NETWORKS:
        alone, own = jax.jit(network_step(name, loss, SGD))(state, batch)
        for old, new in ((alone.variables["params"], both.variables["params"]),
                         (alone.opt_state, both.opt_state)):  # fmt: skip
            chex.assert_trees_all_close(new[name], old[name], rtol=1e-5, atol=1e-6)
        for metric, value in own.items():
            assert float(metrics[metric]) == pytest.approx(float(value), rel=1e-5)
    moved = [s.variables["params"]["generator"]["w"] for s in (both, sequential)]
    assert float(jnp.abs(moved[0] - moved[1]).max()) > 1e-4
    assert int(both.step) == 1
    assert float(both.variables["buffers"]["seen"]) == 7 + 4  # both counted from the old value


def test_simultaneous_losses_pass_outputs_on():
    """Images that the generators make once reach the discriminators' loss without gradient."""
    params = {"generators": {"w": jnp.float32(3)}, "discriminators": {"w": jnp.float32(2)}}

    def generators(variables, batch, key):
        fake = variables["params"]["generators"]["w"] * batch["x"]
        return fake * variables["params"]["discriminators"]["w"], {"outputs": {"fake": fake}}

    def discriminators(variables, batch, key):
        fake = batch["outputs"]["fake"]
        return -fake * variables["params"]["discriminators"]["w"], {}

    sgd = {name: optax.sgd(1.0) for name in params}
    family = types.SimpleNamespace(init=lambda config, key, batch=None: {"params": params})
    state = init_state(family, None, sgd, jax.random.key(0))
    losses = {"generators": generators, "discriminators": discriminators}
    step = jax.jit(adversarial_step(losses, sgd, simultaneous=True))
    new, metrics = step(state, {"x": jnp.ones(4)})
    assert float(new.variables["params"]["generators"]["w"]) == 3 - 2
    assert float(new.variables["params"]["discriminators"]["w"]) == 2 + 3  # of the old generators
    assert not {name for name in metrics if "outputs" in name}


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_sequential_losses_pass_on_the_outputs_of_the_last_critic_update(critic_steps):
    """The generator uses what the critic has drawn for the same batch."""
    params = {"critic": {"w": jnp.float32(3)}, "generator": {"w": jnp.float32(2)}}

    def critic(variables, batch, key):
        drawn = jax.random.permutation(key, batch["x"])
        w = variables["params"]["critic"]["w"]
        return w * batch["x"], {"outputs": {"drawn": w * drawn}}

    def generator(variables, batch, key):
        with_gradient = variables["params"]["generator"]["w"] * batch["x"]
        return with_gradient, {"same": batch["outputs"]["drawn"] * batch["x"]}

    sgd = {name: optax.sgd(1.0) for name in params}
    family = types.SimpleNamespace(init=lambda config, key, batch=None: {"params": params})
    state = init_state(family, None, sgd, jax.random.key(0))
    losses = {"critic": critic, "generator": generator}
    x = np.arange(4.0 * critic_steps, dtype=np.float32).reshape(-1, 4)
    step = jax.jit(adversarial_step(losses, sgd, critic_steps=critic_steps))
    _, metrics = step(state, {"x": x if critic_steps > 1 else x[0]})
    k = critic_steps - 1
    key = state.key if k == 0 else named_key(state.key, k, "critic")
    drawn = np.asarray(jax.random.permutation(named_key(key, 0, "critic"), x[-1]))
    w = 3 - x[:-1].mean(axis=1).sum()  # at the last critic update
    assert float(metrics["generator_same"]) == pytest.approx(w * (drawn * x[-1]).mean())
    assert not {name for name in metrics if "outputs" in name}


def test_optimizers_must_have_the_names_of_the_losses():
    losses = dict.fromkeys(NETWORKS, loss)
    with pytest.raises(ValueError, match="names discriminator, generator, got critic"):
        adversarial_step(losses, {"critic": optax.sgd(0.1)})
    with pytest.raises(ValueError, match="simultaneous updates have one critic step, got 2"):
        adversarial_step(losses, ADAMS, critic_steps=2, simultaneous=True)


def test_critic_steps_are_a_loop_except_on_cpu():
    """On a CPU, convolution gradients are slow inside a loop."""

    def plain(variables, batch, key):
        return batch["x"] @ variables["params"]["discriminator"]["w"], {}

    sgd = {name: optax.sgd(0.1) for name in NETWORKS}
    step = jax.jit(adversarial_step(dict.fromkeys(NETWORKS, plain), sgd, critic_steps=5))
    # Keys of this kind are split without a loop on a CPU.
    state = start(optax.sgd(0.1)).replace(key=jax.random.key(0, impl="unsafe_rbg"))
    state = state.replace(opt_state=dict.fromkeys(NETWORKS, state.opt_state))
    traced = step.trace(state, {"x": np.stack([X] * 5)})
    loops = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": 0, "cuda": 1, "tpu": 1}


def test_global_norm_equals_that_of_optax():
    rng = np.random.default_rng(0)
    shapes = ((), (1,), (300,), (4, 5), (3, 3, 2, 6), (0, 4))
    tree = {str(s): rng.normal(size=s).astype(np.float32) for s in shapes}
    want = np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in tree.values()))
    assert float(jax.jit(global_norm)(tree)) == pytest.approx(want, rel=1e-6)
    assert float(global_norm(tree)) == pytest.approx(float(optax.tree.norm(tree)), rel=1e-6)
    # Vectorized over runs.
    both = jax.tree.map(lambda a: np.stack([a, 2 * a]), tree)
    np.testing.assert_allclose(jax.vmap(global_norm)(both), [want, 2 * want], rtol=1e-6)
