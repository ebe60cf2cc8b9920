"""Runs whose networks grow: resumed anywhere, to the bit; states, programs and data of stages."""

import dataclasses
import json
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.feeding import TRAIN, write_folder
from support.helpers import run_program
from support.reading import assert_error_message
from support.small import small_run, write_data

from genjax import data as genjax_data
from genjax.cli.experiment import lower_rate
from genjax.core import Stage, State, fading, stage_at, stage_state
from genjax.data import Data, Order
from genjax.families import progressive
from genjax.train import Phase, fit, make_mesh, sample_grids
from genjax.train.checkpoint import leaves
from genjax.train.input_pipeline import InputPipeline
from genjax.train.layouts import Layouts
from genjax.train.load_run import load, load_state
from genjax.train.named_runs import initial_weights
from genjax.train.run_config import resolve, schedule_warnings

# 16 images a step: 4x4 in steps 1 to 3, the fade to 8x8 in 4 to 6, 8x8 from 7.
STEPS = 10
EVERY = dict(steps=STEPS, save_every=1, keep=20, log_every=1, sample_every=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), n=160)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Folder of an uninterrupted run, with a checkpoint of every step."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(small_run("progressive", data, **EVERY), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("folder"))


def latest(folder):
    return leaves(load_state(folder)[1])


def cut_after(whole, folder, step):
    """Copies a run without what it saved after a step."""
    shutil.copytree(whole, folder)
    (folder / "record.json").unlink()
    for later in range(step + 1, STEPS + 1):
        shutil.rmtree(folder / "checkpoints" / "latest" / str(later))
    return folder


@pytest.mark.parametrize("step", [2, 3, 5, 6, 8])
def test_resumed_at_any_place_it_is_the_uninterrupted_run(tmp_path, data, whole, step):
    """In a stage, at its end, in the fade, at the end of the fade, after it."""
    cut = cut_after(whole, tmp_path / "run", step)
    fit(small_run("progressive", data, **EVERY), cut, quiet=True)
    sessions = json.loads((cut / "record.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, step]
    chex.assert_trees_all_equal(latest(cut), latest(whole))


def test_killed_while_it_grows_it_resumes_to_the_same_bits(tmp_path, data, whole):
    arguments = (data, str(tmp_path / "cut"), "growth", "progressive", "5")
    killed = run_program("killed.py", *arguments, check=False)
    assert killed.returncode == -9, killed.stderr[-2000:]
    fit(small_run("progressive", data, steps=5), tmp_path / "cut", quiet=True)
    want = latest(cut_after(whole, tmp_path / "whole", 5))
    chex.assert_trees_all_equal(latest(tmp_path / "cut"), want)


def test_a_run_that_stops_early_has_smaller_networks_and_full_images(tmp_path, data, capsys):
    run = small_run("progressive", data, **EVERY | {"steps": 3})
    fit(run, tmp_path / "run")
    assert "stage 8x8 begins after 3 steps" in capsys.readouterr().err
    config, variables = load(tmp_path / "run")
    assert progressive.side(variables) == 4
    x = progressive.sample(config.model, variables, jax.random.key(0), 2)
    assert x.shape == (2, 8, 8, 1)
    fit(small_run("progressive", data, **EVERY | {"steps": 5}), tmp_path / "run", quiet=True)
    assert progressive.side(load(tmp_path / "run")[1]) == 8  # extended, it grows


def test_fewer_steps_than_done_are_rejected_as_elsewhere(data, whole):
    """Also where the shorter run would have ended in an earlier stage."""
    with pytest.raises(ValueError, match="10 steps are done already") as caught:
        fit(small_run("progressive", data, **EVERY | {"steps": 2}), whole, quiet=True)
    assert_error_message(str(caught.value))


def test_a_run_begins_with_weights_of_its_first_stage(data, whole):
    run = small_run("progressive", data, **EVERY, weights_from=str(whole))
    with pytest.raises(ValueError, match=r"have 8x8 images, and this .* 4x4; set --start 8") as err:
        initial_weights(run)
    assert_error_message(str(err.value))
    model = dataclasses.replace(run.model, start=8)
    weights = initial_weights(dataclasses.replace(run, model=model))["params"]
    averaged = load(whole)[1]["params"]
    chex.assert_trees_all_equal(weights, {n: weights[n] for n in averaged})
    for name, network in weights.items():
        assert set(averaged[name]) - set(network) == {"rgb_4x4"}
        chex.assert_trees_all_equal(network, {k: averaged[name][k] for k in network})
    larger = dataclasses.replace(model, latent=9)
    with pytest.raises(ValueError, match="do not fit this progressive"):
        initial_weights(dataclasses.replace(run, model=larger))


def test_options_to_begin_in_a_later_stage(data):
    layouts = layouts_of(data, batch_sizes=(16, 8), rates=(0.5,), stage_critic_steps=(1, 2))
    later = ["--start", "8", "--batch-sizes", "8", "--stage-critic-steps", "2"]
    assert [layouts.options_from(step) for step in (3, 4)] == [[], later]
    argv = ["--batch-sizes", "16", "8", "--seed", "3"]
    words = lower_rate(layouts.run, ["run"], argv, pathlib.Path("runs/a"), 4, later).split("\n")[1]
    assert words.startswith("run --seed 3 --optimizer.")
    assert words.endswith(" --weights-from runs/a " + " ".join(later))


def test_phases_are_rejected_before_the_first_one_trains(tmp_path, data):
    run = small_run("progressive", data, **EVERY)
    phases = (Phase(optimizer=run.optimizer, train=run.train),)
    with pytest.raises(ValueError, match="grow the networks of progressive from 4x4 again") as err:
        fit(dataclasses.replace(run, phases=phases), tmp_path / "run", quiet=True)
    assert_error_message(str(err.value))
    assert not (tmp_path / "run").exists()


def test_a_schedule_without_resets_counts_the_critic_steps_of_every_stage(data):
    """Stages of 3 and of 7 steps, with 1 and with 5 updates of the discriminator per step."""
    run = small_run("progressive", data, **EVERY)
    falling = {
        k: dataclasses.replace(o, schedule="linear", decay_steps=None)
        for k, o in run.optimizer.items()
    }
    tables = dict(stage_critic_steps=(1, 5), reset_optimizer=False)
    model = dataclasses.replace(run.model, **tables)
    resolved = resolve(dataclasses.replace(run, model=model, optimizer=falling), "cpu")
    found = {name: o.decay_steps for name, o in resolved.optimizer.items()}
    assert found == {"discriminator": 3 + 7 * 5, "generator": 10}
    assert schedule_warnings(resolved) == []
    assert Layouts(resolved).learning_rate(10) == {"discriminator": 0, "generator": 0}
    longer = dataclasses.replace(resolved, train=dataclasses.replace(run.train, steps=12))
    assert [step for step, _ in schedule_warnings(longer)] == [10, 10]


def layouts_of(data, **model):
    run = small_run("progressive", data, **EVERY)
    return Layouts(dataclasses.replace(run, model=dataclasses.replace(run.model, **model)))


def trained(layouts, number):
    """Returns a state of a stage whose optimizer state and average are not the initial ones."""
    layout = layouts.of(number)
    make = jax.jit(
        lambda key: stage_state(
            progressive, layouts.run.model, layout.optimizer, key, number, ema=True
        )
    )
    state = make(jax.random.key(0))
    return state.replace(
        step=jnp.int32(layout.stage.end),
        opt_state=jax.tree.map(lambda a: a + 2, state.opt_state),
        ema=jax.tree.map(lambda a: a + 3, state.ema),
    )


def flat(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize("reset", [True, False])
def test_growth_keeps_every_leaf_and_resets_or_keeps_the_optimizers(data, reset):
    layouts = layouts_of(data, reset_optimizer=reset)
    old = trained(layouts, 0)
    new = layouts.before_step(old, 3)
    assert progressive.side(new.variables) == 8
    assert float(new.variables["buffers"]["fade"]["alpha"]) == 0
    for part in ("params", "ema"):
        trees = [s.ema if part == "ema" else s.variables["params"] for s in (old, new)]
        before, after = map(flat, trees)
        chex.assert_trees_all_equal(before, {path: after[path] for path in before})
        assert len(after) > len(before)
    averages, params = flat(new.ema), flat(new.variables["params"])
    for path in set(averages) - set(flat(old.ema)):  # the average of new layers begins with them
        np.testing.assert_array_equal(averages[path], params[path])
    before, after = flat(old.opt_state), flat(new.opt_state)
    kept = {path: after[path] for path in before}
    chex.assert_trees_all_equal(kept, jax.tree.map(jnp.zeros_like, kept) if reset else before)
    new_moments = [after[path] for path in set(after) - set(before)]
    assert new_moments
    assert not any(leaf.any() for leaf in new_moments)


@pytest.mark.parametrize("reset", [True, False])
def test_optimizers_are_reset_at_the_end_of_a_fade_alone(data, reset):
    layouts = layouts_of(data, reset_optimizer=reset)
    state = trained(layouts, 1)
    changed = {step: layouts.before_step(state, step) is not state for step in (4, 5, 6, 7)}
    assert changed == {4: False, 5: False, 6: reset, 7: False}
    new = layouts.before_step(state, 6)
    if reset:
        chex.assert_trees_all_equal(new.opt_state, jax.tree.map(jnp.zeros_like, state.opt_state))
    chex.assert_trees_all_equal(new.replace(opt_state=()), state.replace(opt_state=()))


def test_alpha_rises_with_the_step_and_refreshes_as_configured():
    stage = Stage(config=None, first=10, steps=20, fade=8, batch_size=1, refresh=4)
    alphas = [float(stage.alpha(step)) for step in range(10, 20)]
    assert alphas == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1]
    assert float(dataclasses.replace(stage, fade=0).alpha(10)) == 1
    step = fading(lambda state, batch: (state, {}), stage)
    state = State(step=jnp.int32(14), key=jax.random.key(0), variables={"params": {}}, opt_state=())
    new, metrics = step(state, {})
    assert float(new.variables["buffers"]["fade"]["alpha"]) == float(metrics["alpha"]) == 0.5


def test_a_state_at_the_end_of_a_stage_is_of_that_stage(data):
    layouts = layouts_of(data)
    assert [stage_at(layouts.stages, step) for step in range(7)] == [0, 0, 0, 0, 1, 1, 1]
    assert [layouts.next(step).number for step in range(7)] == [0, 0, 0, 1, 1, 1, 1]


def test_stages_have_rates_and_critic_updates_of_their_own(data):
    layouts = layouts_of(data, rates=(1.0, 0.5), stage_critic_steps=(1, 3))
    assert layouts.learning_rate(3)["generator"] == pytest.approx(0.01)
    assert layouts.learning_rate(4)["generator"] == pytest.approx(0.005)
    assert [layouts.of(n).lead for n in (0, 1)] == [0, 1]
    assert [stage.examples for stage in layouts.stages] == [0, 48]
    assert layouts.stages[1].examples_at(5) == 48 + 2 * 48


@pytest.mark.parametrize("stream", ["no", "yes"])
def test_batches_of_stages_have_their_size_and_repeat_no_example(folder, stream):
    run = small_run("progressive", folder, **EVERY | {"steps": 8})
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, batch_sizes=(16, 8), classes=0),
        data=Data(data=folder, stream=stream, workers=0),
    )
    dataset, stages = genjax_data.load(run.data), Layouts(run).stages
    pipeline = InputPipeline(run, dataset, {"label"}, make_mesh(jax.devices()[:1]), stages[0])
    seen = []
    for step in range(8):
        if step == stages[1].first:
            pipeline.begin(stages[1])
        inputs = pipeline.take(step, 1)
        if pipeline.resident:
            (indices, first), data = inputs
            seen.append(np.asarray(data["label"])[np.asarray(indices)[step - int(first)]])
        else:
            seen.append(np.asarray(inputs[0]["label"]))
    pipeline.close()
    assert pipeline.resident == (stream == "no")
    assert [len(rows) for rows in seen] == [16] * 3 + [8] * 5
    order = Order(TRAIN, run.seed).take(0, 3 * 16 + 5 * 8)  # labels are the rows' numbers
    np.testing.assert_array_equal(np.concatenate(seen), order)


def test_errors_say_what_does_not_fit_a_growing_run(tmp_path, data):
    run = small_run("progressive", data, **EVERY)
    falling = {k: dataclasses.replace(o, schedule="linear") for k, o in run.optimizer.items()}
    with pytest.raises(ValueError, match="repeat the schedule 'linear'") as caught:
        fit(dataclasses.replace(run, optimizer=falling), tmp_path / "a", quiet=True)
    assert_error_message(str(caught.value))


def test_grids_of_every_stage_and_of_the_middle_of_a_fade(whole):
    """Without `sample_every`: at the end of 4x4, in the fade and at the end, all at full size."""
    paths = sample_grids.grids(whole / "samples")
    read = {step: sample_grids.read_grid(path) for step, path in paths.items()}
    assert {step: tiles.label for step, (_, tiles) in read.items()} == {
        3: "4x4",
        4: "8x8, alpha 0.00",
        10: "8x8",
    }
    assert len({page.shape for page, _ in read.values()}) == 1
    samples = {s: sample_grids.cut(page, tiles)[:, ::7, ::7] for s, (page, tiles) in read.items()}
    assert samples[3].shape[1:3] == (8, 8)
    blocks = samples[3][:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(samples[3], blocks)
    assert (samples[10] != samples[10][:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)).any()
    assert (whole / "samples" / "film.gif").exists()
