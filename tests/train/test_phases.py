"""Runs of several phases: weights, cost, resumption and settings."""

import dataclasses
import json
import time

import chex
import numpy as np
import pytest
from support.small import small_run, write_data

from genjax.cli.experiment import main, recipe_differences, smoke
from genjax.core import Optimizer
from genjax.train import Phase, fit, trainer
from genjax.train.load_run import load_state
from genjax.train.run_config import run_from_json, to_json
from genjax.train.subsets import fit_subsets

FROZEN = Optimizer(optimizer="sgd", learning_rate=1e-30)  # leaves the weights as they are


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two phases before the run: the first learns, and the others change nothing."""
    run = small_run("nade", write_data(tmp_path_factory.mktemp("data")), steps=2)
    short = dataclasses.replace(run.train, steps=3)
    phases = (
        Phase(optimizer=run.optimizer, train=dataclasses.replace(run.train, steps=8)),
        Phase(optimizer=FROZEN, train=short),
    )
    return dataclasses.replace(run, optimizer=FROZEN, phases=phases)


def test_each_phase_begins_with_the_best_weights_of_the_one_before(tmp_path, run):
    record = fit(run, tmp_path, quiet=True).record
    first = tmp_path / "phase2" / "phase1"
    expected = load_state(first)[1].eval_variables()
    chex.assert_trees_all_close(load_state(tmp_path)[1].variables, expected, rtol=1e-6)
    assert [s.get("phase") for s in record["sessions"]] == [1, 2, None]
    records = [json.loads((f / "record.json").read_text()) for f in (first, first.parent)]
    assert [r["steps"] for r in records] == [8, 3]
    assert record["steps"] == 2
    assert record["minutes"] >= records[1]["minutes"] >= records[0]["minutes"]
    assert run_from_json(record["config"]).phases == run.phases
    # The command again computes nothing, also where the folders of the phases are gone.
    first.rename(tmp_path / "elsewhere")
    assert fit(run, tmp_path, quiet=True).record == record


def test_minutes_are_the_sum_over_phases(tmp_path, run):
    fit(run, tmp_path / "whole", quiet=True)
    phase = tmp_path / "whole" / "phase2"
    record = json.loads((phase / "record.json").read_text())
    (phase / "record.json").write_text(json.dumps(record | {"minutes": 90.0}))
    (tmp_path / "next").mkdir()
    phase.rename(tmp_path / "next" / "phase2")
    assert fit(run, tmp_path / "next", quiet=True).record["minutes"] >= 90


def test_a_run_stopped_in_a_phase_resumes_there(tmp_path, run, monkeypatch):
    late = fit(run, tmp_path, quiet=True, deadline=time.monotonic() - 1)
    assert not late.finished
    begun = dataclasses.replace(run, phases=run.phases[:1], train=run.phases[1].train)
    begun = dataclasses.replace(begun, experiment="small_nade-phase2", figure=run.figure)
    fit(begun, tmp_path / "phase2", quiet=True)  # its first phase and itself
    before = (tmp_path / "phase2" / "record.json").stat().st_mtime_ns
    assert fit(run, tmp_path, quiet=True).finished
    assert (tmp_path / "phase2" / "record.json").stat().st_mtime_ns == before


def test_phases_are_part_of_the_recipe(tmp_path, run):
    record = fit(run, tmp_path, quiet=True).record
    assert recipe_differences(run, run, record) == []
    shorter = dataclasses.replace(run, phases=run.phases[1:])
    assert recipe_differences(shorter, shorter, record) == ["phases"]
    with pytest.raises(ValueError, match="other settings: phases was"):
        fit(shorter, tmp_path, quiet=True)


def test_settings_without_phases_are_read(run):
    values = to_json(run)
    del values["phases"]
    assert run_from_json(values) == dataclasses.replace(run, phases=())


def test_a_smoke_run_has_no_phases(run):
    assert smoke(run).phases == ()


def test_rejects_other_initial_weights(run):
    train = dataclasses.replace(run.train, weights_from="there")
    with pytest.raises(ValueError, match="set weights_from in the first phase only"):
        dataclasses.replace(run, train=train)
    dataclasses.replace(run, phases=(Phase(optimizer=FROZEN, train=train),))


@pytest.mark.parametrize(
    ("number", "at", "place"), [(1, 8, " and use another --workdir"), (2, 3, "")]
)
def test_a_diverged_phase_names_the_entry_to_change(
    tmp_path, run, number, at, place, monkeypatch, capsys
):
    """Neither --weights-from nor a learning rate on the command line changes an earlier phase."""
    log = trainer.Trainer.log

    def diverges(self, step, **settings):
        log(self, step, **settings)
        if (len(self.run.phases), step) == (number - 1, at):
            raise self.diverged(f"loss is nan at step {at}", "lower the learning rate")

    monkeypatch.setattr(trainer.Trainer, "log", diverges)
    assert main({"small": run}, "", ["--workdir", str(tmp_path)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.endswith(
        f"phase {number}: loss is nan at step {at}; in `phases` of the recipe, lower the learning"
        f" rate{place}."
    )


def test_a_first_phase_finds_the_weights_of_an_experiment(tmp_path, run):
    learns = dataclasses.replace(run, phases=(), optimizer=run.phases[0].optimizer)
    fit(learns, tmp_path / "small_nade-seed0", quiet=True)
    train = dataclasses.replace(run.train, weights_from="small_nade")
    phases = (Phase(optimizer=FROZEN, train=train), run.phases[1])
    other = dataclasses.replace(run, experiment="other", phases=phases)
    fit(other, tmp_path / "other-seed0", quiet=True)
    expected = load_state(tmp_path / "small_nade-seed0")[1].eval_variables()
    found = load_state(tmp_path / "other-seed0")[1].variables
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-20)


def test_runs_in_memory_reject_phases(run):
    images = [np.zeros((32, 3, 3, 1), np.float32)]
    with pytest.raises(ValueError, match="has phases"):
        fit_subsets(run, images, images)
