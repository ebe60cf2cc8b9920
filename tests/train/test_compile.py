"""One step, several steps a call, several runs in one program: the same numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from support.helpers import (
    compiled_step,
    gradient_families,
    make_batch,
    make_optimizer,
    make_state,
    state_builder,
)

import genjax
from genjax import families
from genjax.core import Optimizer, init_state, make_step, named_key
from genjax.families import nade
from genjax.train import compile_step, make_mesh, state_shardings

CONFIG = nade.Config(shape=(9,), hidden=6)


def stack(trees, axis=0):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


def batches(count, size=8):
    return [make_batch(nade, CONFIG, size, seed=i) for i in range(count)]


def test_jitted_step_is_the_step():
    step = genjax.jitted_step("nade", CONFIG, optax.adam(1e-2))
    plain = jax.jit(make_step(nade, CONFIG, optax.adam(1e-2)))
    (a, metrics_a), (b, metrics_b) = (
        f(make_state(nade, CONFIG), batches(1)[0]) for f in (step, plain)
    )
    chex.assert_trees_all_close(a.variables, b.variables, rtol=1e-6)
    chex.assert_trees_all_close(metrics_a, metrics_b, rtol=1e-6)


def test_a_donated_state_is_deleted():
    state = make_state(nade, CONFIG)
    step = genjax.jitted_step("nade", CONFIG, make_optimizer(nade))
    step(state, batches(1)[0])
    assert state.variables["params"]["W"].is_deleted()
    kept = make_state(nade, CONFIG)
    genjax.jitted_step("nade", CONFIG, make_optimizer(nade), donate=False)(kept, batches(1)[0])
    assert not kept.variables["params"]["W"].is_deleted()


def test_a_donated_state_or_key_is_reported():
    step, batch = genjax.jitted_step("nade", CONFIG, make_optimizer(nade)), batches(1)[0]
    state = make_state(nade, CONFIG)
    new, _ = step(state, batch)
    message = "the state was donated to an earlier step.* use the state that the step returned, or"
    with pytest.raises(ValueError, match=f"{message} compile it with donate=False"):
        step(state, batch)
    with pytest.raises(ValueError, match=message):
        step(new.replace(key=state.key), batch)
    step(new, batch)  # not affected by the failed calls


def test_init_state_outside_jit_leaves_the_callers_arrays_alone():
    """The step deletes the state's buffers, of which none is the caller's or there twice."""
    key, weights = jax.random.key(0), nade.init(CONFIG, jax.random.key(1), None)
    state = init_state(nade, CONFIG, make_optimizer(nade), key, ema=True, variables=weights)
    genjax.jitted_step("nade", CONFIG, make_optimizer(nade))(state, batches(1)[0])
    assert state.key.is_deleted()
    assert not key.is_deleted()
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(weights))


def test_several_steps_in_one_call():
    step = make_step(nade, CONFIG, make_optimizer(nade))
    many = compile_step(step, steps_per_call=4)
    state, metrics = many(make_state(nade, CONFIG), stack(batches(4)))
    chex.assert_shape(metrics["loss"], (4,))
    one, singly = compile_step(step), make_state(nade, CONFIG)
    for i, batch in enumerate(batches(4)):
        singly, m = one(singly, batch)
        assert float(metrics["loss"][i]) == pytest.approx(float(m["loss"]), rel=1e-4)
    assert int(state.step) == 4


# Of each kind; the programs of other families are traced, which finds what vmap does not allow.
COMPILED = ("dalle", "dcgan", "dvae", "gan", "jigsaw_assignment", "nade", "pixelrnn", "vae")


@pytest.mark.parametrize("name", sorted({*gradient_families()} - {*COMPILED}))
def test_several_runs_in_one_program_have_the_shapes_of_single_runs(name):
    family = families.get(name)
    config, build = family.tiny(), state_builder(family, family.tiny())
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(7), 3))
    batch = stack([make_batch(family, config)] * 3)
    step = compiled_step(family, config)
    states = jax.eval_shape(jax.vmap(build), keys)
    new, metrics = jax.eval_shape(jax.vmap(step), states, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, states)
    assert metrics
    chex.assert_shape(list(metrics.values()), (3,))


@pytest.mark.parametrize("name", COMPILED)
def test_several_runs_in_one_program_equal_single_runs(name):
    """Different seeds by vmap: each run's loss is the one it has alone."""
    family = families.get(name)
    config, build = family.tiny(), state_builder(family, family.tiny())
    keys = jax.random.split(jax.random.key(7), 3)
    states = jax.jit(jax.vmap(build))(keys)
    # Batches of the size that other tests have: the step alone is compiled once for all of them.
    data = [make_batch(family, config, seed=i) for i in range(3)]
    step = compiled_step(family, config)  # traced once for both
    together = compile_step(step, runs=3)
    _, together = together(states, jax.tree.map(lambda *a: np.stack(a), *data))
    for i in range(3):
        _, metrics = step(build(keys[i]), data[i])
        for metric, value in metrics.items():
            # Adam makes whole steps of gradients that are rounding errors, as of biases before
            # instance normalisation.
            rel = 1e-2 if metric.endswith(("update_norm", "param_norm")) else 1e-4
            assert float(together[metric][i]) == pytest.approx(float(value), rel=rel), metric


def test_runs_can_have_their_own_learning_rates():
    optimizer = Optimizer(optimizer="sgd", learning_rate=0.1).build(learning_rate_scale=1.0)

    def build(key, scale):
        state = init_state(nade, CONFIG, optimizer, key)
        return state.replace(opt_state=optax.tree.set(state.opt_state, step_size=scale))

    keys = jnp.stack([jax.random.key(0)] * 2)
    states = jax.jit(jax.vmap(build))(keys, jnp.asarray([1.0, 0.5]))
    start = jax.tree.map(np.asarray, states.variables["params"])
    new, _ = compile_step(make_step(nade, CONFIG, optimizer), runs=2)(states, stack(batches(1) * 2))
    moved = jax.tree.map(lambda a, b: np.asarray(a) - b, new.variables["params"], start)
    for delta in jax.tree.leaves(moved):
        np.testing.assert_allclose(delta[1], 0.5 * delta[0], rtol=1e-3, atol=1e-7)


def test_resident_data_is_gathered_and_transformed_on_the_device():
    seen = {}

    def step(state, batch):
        seen.update({k: v.shape for k, v in batch.items()})
        return state.replace(step=state.step + 1), {"sum": batch["x"].sum(), "first": batch["x"][0]}

    data = {"x": jnp.arange(10.0), "label": jnp.arange(10)}
    transform = lambda batch, key: {**batch, "x": batch["x"] + jax.random.normal(key, (3,))}  # noqa: E731
    call = compile_step(step, steps_per_call=2, resident=True, transform=transform)
    state = make_state(nade, CONFIG)
    key = state.key
    indices = jnp.asarray([[1, 2, 3], [7, 8, 9]], jnp.int32)
    expected = [
        data["x"][i] + jax.random.normal(named_key(key, n, "data"), (3,))
        for n, i in enumerate(indices)
    ]
    _, metrics = call(state, indices, data)
    assert seen == {"x": (3,), "label": (3,)}
    np.testing.assert_allclose(metrics["sum"], [e.sum() for e in expected], rtol=1e-6)


def test_rules_must_match_every_parameter():
    mesh = make_mesh()
    shapes = jax.eval_shape(lambda: make_state(nade, CONFIG, ema=True))
    with pytest.raises(ValueError, match="no sharding rule matches"):
        state_shardings(shapes, mesh, [("W$", PartitionSpec("data"))])
    two = jax.sharding.AbstractMesh((2,), ("data",))
    with pytest.raises(ValueError, match=r"is not divisible as .* put a rule of its own before"):
        state_shardings(shapes, two, [("W$", PartitionSpec("data")), (".*", PartitionSpec())])
    found = state_shardings(
        shapes, mesh, [(r"\.W$", PartitionSpec("data")), (".*", PartitionSpec())]
    )
    assert found.variables["params"]["W"].spec == PartitionSpec("data")
    assert found.ema["W"].spec == PartitionSpec("data")
    assert found.variables["params"]["c"].spec == PartitionSpec()
    assert found.step.spec == PartitionSpec()


def test_rules_of_all_parameters_are_enough_for_every_optimizer():
    mesh = jax.sharding.AbstractMesh((2,), ("data",))
    spec = PartitionSpec(None, "data")
    for name in ("adam", "muon"):
        built = Optimizer(optimizer=name).build()
        params = {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}
        shapes = jax.eval_shape(lambda: {"opt_state": built.init(params)})  # noqa: B023
        found = state_shardings(shapes, mesh, [("kernel", spec), ("bias", PartitionSpec("data"))])
        places = jax.tree.leaves_with_path(found)
        moments = [s.spec for path, s in places if "kernel" in str(path[-1])]
        assert moments
        assert set(moments) == {spec}


def test_jitted_step_rejects_what_does_not_fit_the_family():
    adam = optax.adam(1e-3)
    for name, config, optimizer, match in (
        ("made", CONFIG, adam, r"made needs a genjax.families.made.Config, got a .*nade"),
        ("nade", CONFIG, 1e-3, r"nade needs an optimizer such as optax.adam\(1e-3\), got 0.001"),
        (
            "gan",
            families.get("gan").tiny(),
            adam,
            "gan has networks discriminator, generator; pass an optimizer such as",
        ),
        (
            "joint",
            families.get("joint").tiny(),
            adam,
            "joint is fitted without a gradient; pass optimizer=None",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            genjax.jitted_step(name, config, optimizer)
