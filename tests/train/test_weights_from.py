"""Resumed runs, whose record covers all sessions, and runs initialised from other weights."""

import dataclasses
import os
import pathlib
import shlex
import shutil
import signal
import sys
import time
import types

import chex
import jax
import pytest
from support.small import small_run, write_data

from genjax.cli import experiment, main
from genjax.cli.experiment import recipe_differences
from genjax.core import Optimizer
from genjax.train import fit, trainer
from genjax.train.load_run import load_state
from genjax.train.signals import Signals


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_a_run_resumed_under_a_shorter_schedule_is_not_the_recipe(tmp_path, data):
    """The recipe's command then resumes with a rate that reaches 0 long before the end."""
    falling = Optimizer(learning_rate=1e-2, schedule="linear")
    recipe = dataclasses.replace(small_run("nade", data, steps=12), optimizer=falling)
    short = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, steps=4))
    fit(short, tmp_path / "begun", quiet=True)
    begun = fit(recipe, tmp_path / "begun", quiet=True).record
    assert recipe_differences(recipe, recipe, begun) == ["optimizer.decay_steps"]
    whole = fit(recipe, tmp_path / "whole", quiet=True).record
    assert recipe_differences(recipe, recipe, whole) == []
    assert whole["obtained"] != begun["obtained"]


@pytest.mark.parametrize(("name", "why"), [("nade", []), ("vae", ["train.eval_batch"])])
def test_eval_batch_changes_the_noise_of_a_bound(name, why):
    recipe = small_run(name, "digits")
    other = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, eval_batch=10))
    assert recipe_differences(recipe, other, {}) == why


def test_minutes_cover_all_sessions_and_all_work(tmp_path, data, monkeypatch):
    """Including samples and evaluations before an interruption."""
    hours = [0.0]
    clock = time.monotonic
    monkeypatch.setattr(trainer.time, "monotonic", lambda: clock() + 3600 * hours[0])
    sample = trainer.Trainer.sample

    def slow(self, state, step):
        hours[0] += 1
        sample(self, state, step)

    monkeypatch.setattr(trainer.Trainer, "sample", slow)
    run = small_run("nade", data, steps=4, sample_every=2, log_every=2)
    fit(run, tmp_path, quiet=True)
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=8))
    record = fit(longer, tmp_path, quiet=True).record
    assert hours == [4]  # after steps 2, 4, 6 and 8
    assert record["minutes"] == pytest.approx(4 * 60, abs=5)


def test_queued_steps_count_as_training_time(tmp_path, data, monkeypatch):
    """A sample grid waits for queued steps, and its time starts after them."""
    waited, block = [], jax.block_until_ready
    monkeypatch.setattr(trainer.jax, "block_until_ready", lambda x: waited.append(1) or block(x))
    times = []
    took = trainer.Trainer.took
    monkeypatch.setattr(
        trainer.Trainer,
        "took",
        lambda self, started: times.append(len(waited)) or took(self, started),
    )
    fit(small_run("nade", data, steps=3, sample_every=1, eval_every=0), tmp_path, quiet=True)
    assert times[:2] == [1, 2]


FROZEN = Optimizer(optimizer="sgd", learning_rate=1e-30)  # changes no weight


def begun(name, data, source, **train):
    """A run of another seed and rate that is initialised with the weights of `source`."""
    run = small_run(name, data, weights_from=str(source), **train)
    return dataclasses.replace(run, optimizer=FROZEN, seed=3)


def test_a_run_is_initialised_with_the_weights_of_another(tmp_path, data):
    """Without updates its result is the other's best; it resumes without the other's folder."""
    source = tmp_path / "small_nade-seed3"
    wild = Optimizer(schedule="piecewise", boundaries=(4,), factors=(3000.0,))
    found = fit(dataclasses.replace(small_run("nade", data), optimizer=wild), source, quiet=True)
    assert found.record["chosen_step"] < 10  # the best is not the last
    expected = load_state(source)[1].eval_variables()  # averaged
    for place, named in (("next", source), ("named", "small_nade")):
        run = begun("nade", data, named, steps=2)
        fit(run, tmp_path / place, quiet=True)
        state = load_state(tmp_path / place)[1]
        assert int(state.step) == 2
        for kept in (state.variables, state.eval_variables()):
            chex.assert_trees_all_close(kept, expected, rtol=1e-6)
    shutil.rmtree(source)
    longer = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=3))
    assert fit(longer, tmp_path / "named", quiet=True).finished
    with pytest.raises(
        ValueError, match=r"small_nade-seed3 holds no finished run to load weights from"
    ):
        fit(run, tmp_path / "third", quiet=True)
    other = dataclasses.replace(run, train=dataclasses.replace(run.train, weights_from=""))
    with pytest.raises(ValueError, match=r"other settings: train\.weights_from was "):
        fit(other, tmp_path / "named", quiet=True)


def test_weights_of_an_unfinished_run_are_its_newest(tmp_path, data):
    """Given by its folder; the best of this run is of step 4."""
    wild = Optimizer(schedule="piecewise", boundaries=(4,), factors=(3000.0,))
    fit(dataclasses.replace(small_run("nade", data), optimizer=wild), tmp_path / "a", quiet=True)
    (tmp_path / "a" / "record.json").unlink()
    newest = load_state(tmp_path / "a", newest=True)[1]
    assert (int(newest.step), int(load_state(tmp_path / "a")[1].step)) == (10, 4)
    fit(begun("nade", data, tmp_path / "a", steps=1), tmp_path / "b", quiet=True)
    found = load_state(tmp_path / "b")[1].variables
    chex.assert_trees_all_close(found, newest.eval_variables(), rtol=1e-6)


def test_the_command_that_a_diverged_run_prints_trains(tmp_path, data, monkeypatch, capsys):
    """At a tenth of its rate, from its newest checkpoint, in a new folder."""
    log, workdir = trainer.Trainer.log, tmp_path / "a run"

    def diverges(self, step, **settings):
        log(self, step, **settings)
        if step == 6 and self.context.workdir == workdir:
            raise self.diverged("loss is nan at step 6", "lower the learning rate")

    monkeypatch.setattr(trainer.Trainer, "log", diverges)
    spec = types.SimpleNamespace(name="genjax.__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    options = ["--data", data, "--workdir", str(workdir), "--steps=8", "--hidden", "8"]
    options += ["--save-every", "2", "--log-every", "2", "--learning_rate=0.03", "--no-resume"]
    assert main.main(["train", "nade", *options]) == 1
    message, command = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "the checkpoint of step 4 is from before it" in message
    words = shlex.split(command)
    assert shutil.which(words[0])
    assert words[1:5] == ["-m", "genjax", "train", "nade"]
    assert main.main(words[3:]) == 0
    found, _ = load_state(tmp_path / "a run-2")
    assert (found.train.weights_from, found.optimizer.learning_rate) == (str(workdir), 0.003)
    assert (found.model.hidden, found.train.steps) == (8, 8)


def test_the_command_of_a_run_without_checkpoints_keeps_its_folder(monkeypatch):
    """The program is named as it was started."""
    run = small_run("gan", "digits")
    argv = ["--workdir", "runs/a", "--optimizer.generator.learning-rate", "1"]
    words = experiment.lower_rate(run, ["python"], argv, pathlib.Path("runs/a"), None)
    kept, changed = words.splitlines()[1].split(" --optimizer", 1)
    assert kept == "python --workdir runs/a"
    names = [f"--optimizer.{name}.learning-rate" for name in run.optimizer]
    assert sorted(("--optimizer" + changed).split()) == sorted([*names, "0.001", "0.001"])
    started = sys.modules["__main__"]
    monkeypatch.setattr(started, "__spec__", types.SimpleNamespace(name="experiments.nade_mnist"))
    assert experiment.program()[1:] == ["-m", "experiments.nade_mnist"]
    monkeypatch.setattr(started, "__spec__", None)
    monkeypatch.setattr(sys, "argv", [sys.executable])
    assert shutil.which(experiment.program()[0])


@pytest.mark.parametrize("given", [".", "below/.."])
def test_the_command_of_a_run_in_the_current_folder(tmp_path, monkeypatch, given):
    workdir = tmp_path / "a run"
    (workdir / "below").mkdir(parents=True)
    (tmp_path / "a run-2").mkdir()
    monkeypatch.chdir(workdir)
    argv = ["--workdir", given, "--learning-rate=0.5"]
    run = small_run("nade", "digits")
    words = experiment.lower_rate(run, ["python"], argv, pathlib.Path(given), 4)
    rate = f"{run.optimizer.learning_rate / 10:g}"
    expected = ["python", "--learning-rate", rate, "--workdir", f"{workdir}-3"]
    assert shlex.split(words.splitlines()[1]) == [*expected, "--weights-from", str(workdir)]


def test_counters_are_reset_with_weights_from(tmp_path, data):
    """Warm-up steps, which are variables."""
    warm = small_run("vae", data, steps=3)
    warm = dataclasses.replace(warm, model=dataclasses.replace(warm.model, kl_warmup=5))
    fit(warm, tmp_path / "first", quiet=True)
    more = begun("vae", data, tmp_path / "first", steps=1)
    fit(dataclasses.replace(more, model=warm.model), tmp_path / "next", quiet=True)
    one, other = (load_state(tmp_path / name)[1].variables for name in ("first", "next"))
    assert [int(v["buffers"]["steps"]) for v in (one, other)] == [3, 1]


def test_rejects_weights_that_do_not_fit(tmp_path, data):
    for name in ("nade", "markov"):
        fit(small_run(name, data, steps=1), tmp_path / name, quiet=True)
    nade = begun("nade", data, tmp_path / "nade", steps=1)
    wider = dataclasses.replace(nade, model=dataclasses.replace(nade.model, hidden=9))
    words = r"weights of small_nade in .*nade do not fit this"
    for run in (wider, begun("orderless_nade", data, tmp_path / "nade", steps=1)):
        with pytest.raises(ValueError, match=words):
            fit(run, tmp_path / "next", quiet=True)
    counts = dataclasses.replace(begun("markov", data, tmp_path / "markov"), optimizer=None)
    counts = dataclasses.replace(counts, train=dataclasses.replace(counts.train, steps=1))
    with pytest.raises(ValueError, match=r"would add its counts to those of the run in .*markov"):
        fit(counts, tmp_path / "next", quiet=True)
    (tmp_path / "made-seed3").mkdir()
    shutil.copytree(tmp_path / "nade", tmp_path / "made-seed3", dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"made-seed3 is a run of small_nade, not of made"):
        fit(begun("nade", data, "made"), tmp_path / "next", quiet=True)
    (tmp_path / "nade" / "record.json").unlink()
    (tmp_path / "nade").rename(tmp_path / "small_nade-seed3")
    with pytest.raises(ValueError, match="holds no finished run"):  # given by its experiment
        fit(begun("nade", data, "small_nade"), tmp_path / "next", quiet=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no run"):
        fit(begun("nade", data, tmp_path / "empty"), tmp_path / "next", quiet=True)


def test_rejects_checkpoints_without_settings(tmp_path, data):
    run = small_run("nade", data, steps=4)
    fit(run, tmp_path, quiet=True)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has checkpoints but no config\.json"):
        fit(dataclasses.replace(run, seed=5), tmp_path, quiet=True)


def test_a_signal_before_training_is_not_lost(tmp_path, data):
    """A queue of runs may be terminated while the next one reads its data."""
    with Signals() as queue:
        os.kill(os.getpid(), signal.SIGTERM)
        result = fit(small_run("nade", data, steps=40), tmp_path, quiet=True)
    assert (result.signalled, result.finished, result.step) == (True, False, 1)
    with Signals() as queue:
        with Signals() as run:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (run.caught, queue.caught) == ("SIGTERM", "SIGTERM")


def test_a_profile_ends_with_its_run(tmp_path, data):
    """After an interruption within a profile the next run of the process can start another."""
    run = small_run("nade", data, steps=16)
    wild = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd", learning_rate=1e30))
    with pytest.raises(FloatingPointError):
        fit(wild, tmp_path / "wild", profile=True, quiet=True)
    fit(dataclasses.replace(run, seed=1), tmp_path / "next", profile=True, quiet=True)
    for folder in ("wild", "next"):
        assert list((tmp_path / folder / "profile").rglob("*.xplane.pb"))


def test_an_older_best_is_not_used_where_the_newest_is_missing(tmp_path, data):
    """Record and loaded weights are then those of the last step, evaluated again."""
    run = small_run("nade", data, steps=20)
    fit(run, tmp_path, quiet=True)
    best = sorted((tmp_path / "checkpoints" / "best").glob("[0-9]*"), key=lambda p: int(p.name))
    if len(best) == 1:  # as after a kill before the previous one was removed
        shutil.copytree(best[0], best[0].with_name("4"))
    shutil.rmtree(best[-1])
    (tmp_path / "record.json").unlink()
    record = fit(run, tmp_path, quiet=True).record
    assert (record["chosen_by"], record["chosen_step"]) == ("validation", 20)
    assert int(load_state(tmp_path)[1].step) == 20
