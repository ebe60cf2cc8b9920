"""Runs interrupted by errors and kills: no step is lost, and the same command resumes them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.small import small_run, write_data

from genjax.core import Optimizer
from genjax.train import finish, fit, sample_drawing, sample_grids, trainer
from genjax.train.metric_log import Metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Settings and record of an uninterrupted NADE run."""
    run = small_run("nade", data, steps=12)
    return run, fit(run, tmp_path_factory.mktemp("whole"), quiet=True).record


def steps_of(workdir, which):
    return sorted(p.name for p in (workdir / "checkpoints" / which).glob("*"))


def lines_of(workdir):
    """Returns the metrics without times."""
    clock = {"seconds", "examples_per_second", "input_wait"}
    read = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in clock} for line in read]


def same_figures(record, expected):
    for name in ("obtained", "std_error", "validation", "chosen_step", "chosen_by", "steps"):
        assert record[name] == expected[name], name


def broken(monkeypatch, place, name, error, run, workdir):
    """Runs with an error raised by a patched function."""

    def raises(*args, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(place, name, raises)
        with pytest.raises(type(error)):
            fit(run, workdir, quiet=True)


FULL = OSError(28, "No space left on device")


class Killed(BaseException):
    """An error that no handler catches."""


def test_killed_between_the_first_best_and_the_first_latest(tmp_path, whole, monkeypatch):
    run, expected = whole
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, save_every=0))
    broken(monkeypatch, trainer.Trainer, "save", Killed(), run, tmp_path)
    assert steps_of(tmp_path, "best") == ["4"]
    assert steps_of(tmp_path, "latest") == []
    record = fit(run, tmp_path, quiet=True).record
    assert record["sessions"][0]["from_step"] == 0
    assert record["sessions"][1]["from_step"] == 4
    same_figures(record, expected)


def longer(run, steps):
    return dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps))


@pytest.mark.parametrize("what", ["evaluate", "sample"])
def test_killed_in_an_evaluation_after_a_step_that_was_due(tmp_path, whole, monkeypatch, what):
    """The state is on disk before the evaluation begins, also where it is the first one."""
    run, expected = whole
    step = "4" if what == "evaluate" else "12"
    if what == "sample":  # everything at the end only
        rare = dict(eval_every=0, sample_every=0, save_every=0)
        run = dataclasses.replace(run, train=dataclasses.replace(run.train, **rare))
    broken(monkeypatch, trainer.Trainer, what, Killed(), run, tmp_path)
    assert steps_of(tmp_path, "latest") == [step]
    record = fit(run, tmp_path, quiet=True).record
    assert record["sessions"][-1]["from_step"] == int(step)
    if what == "evaluate":
        same_figures(record, expected)
    validated = [line["step"] for line in lines_of(tmp_path) if "validation_nll" in line]
    assert validated == ([4, 8, 12] if what == "evaluate" else [12])


def test_a_finished_run_is_resumed_from_its_best_checkpoint_on_request(tmp_path, whole):
    """Where latest is missing; the steps after the best are repeated, with the same result."""
    run, _ = whole
    wild = Optimizer(schedule="piecewise", boundaries=(4,), factors=(3000.0,))
    run = dataclasses.replace(run, optimizer=wild)
    expected = fit(longer(run, 20), tmp_path / "whole", quiet=True).record
    best = fit(run, tmp_path / "cut", quiet=True).record["chosen_step"]
    assert best < 12
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "latest")
    words = rf"no whole checkpoint in latest .* add --from-best to repeat .* the best, {best};"
    with pytest.raises(ValueError, match=words):
        fit(longer(run, 20), tmp_path / "cut", quiet=True)
    record = fit(longer(run, 20), tmp_path / "cut", from_best=True, quiet=True).record
    assert record["sessions"][-1]["from_step"] == best
    same_figures(record, expected)
    assert lines_of(tmp_path / "cut") == lines_of(tmp_path / "whole")


def test_extending_a_run_keeps_its_record_until_a_later_state_is_saved(
    tmp_path, whole, monkeypatch
):
    run, _ = whole
    record = fit(run, tmp_path, quiet=True).record
    broken(monkeypatch, trainer.Trainer, "program", Killed(), longer(run, 20), tmp_path)
    assert json.loads((tmp_path / "record.json").read_text()) == record
    assert fit(run, tmp_path, quiet=True).record == record
    broken(monkeypatch, trainer.Trainer, "evaluate", Killed(), longer(run, 20), tmp_path)
    assert "16" in steps_of(tmp_path, "latest")
    assert json.loads((tmp_path / "record.json").read_text()) == record  # not evaluated yet
    broken(monkeypatch, trainer.Trainer, "program", Killed(), longer(run, 20), tmp_path)
    assert not (tmp_path / "record.json").exists()


def validation_means(monkeypatch, *means):
    """Replaces the validation means in their order."""
    left = iter(means)
    monkeypatch.setattr(trainer.evals, "mean_and_error", lambda nats: (next(left), 0.0))


@pytest.mark.parametrize("keep", [1, 2])
def test_extending_a_run_keeps_its_record_and_state_if_the_next_diverges(
    tmp_path, whole, monkeypatch, keep
):
    run = dataclasses.replace(whole[0], train=dataclasses.replace(whole[0].train, keep=keep))
    record = fit(run, tmp_path, quiet=True).record
    assert set(steps_of(tmp_path, "latest")) == set(["8", "12"][-keep:])
    validation_means(monkeypatch, float("nan"))
    with pytest.raises(FloatingPointError, match="the checkpoint of step 12 is from before it"):
        fit(longer(run, 20), tmp_path, quiet=True)
    assert "12" in steps_of(tmp_path, "latest")
    assert json.loads((tmp_path / "record.json").read_text()) == record


@pytest.mark.parametrize(("eval_every", "means"), [(4, (1.0, 2.0, np.nan)), (12, (np.nan,))])
def test_one_latest_checkpoint_is_kept_until_the_next_is_evaluated(
    tmp_path, whole, monkeypatch, eval_every, means
):
    train = dataclasses.replace(whole[0].train, keep=1, save_every=4, eval_every=eval_every)
    validation_means(monkeypatch, *means)
    with pytest.raises(FloatingPointError, match="the checkpoint of step 8 is from before it"):
        fit(dataclasses.replace(whole[0], train=train), tmp_path, quiet=True)
    assert steps_of(tmp_path, "latest") == ["8"]


def test_a_state_without_finite_validation_is_not_kept(tmp_path, whole, monkeypatch):
    run, _ = whole
    validate = trainer.evals.mean_and_error
    means = iter([validate, lambda nats: (float("nan"), 0.0)])
    monkeypatch.setattr(trainer.evals, "mean_and_error", lambda nats: next(means)(nats))
    words = r"validation loss is nan at step 8; the checkpoint of step 4 is from before it"
    with pytest.raises(FloatingPointError, match=words):
        fit(run, tmp_path, quiet=True)
    assert steps_of(tmp_path, "latest") == ["4"]


@pytest.mark.parametrize("what", ["evaluate", "save_grid"])
@pytest.mark.parametrize("at", ["first", "last"])
def test_an_error_outside_of_training_loses_no_step(tmp_path, whole, monkeypatch, what, at):
    run, expected = whole
    if at == "last":  # evaluated, drawn and saved at the end only
        train = dataclasses.replace(run.train, eval_every=0, sample_every=0, save_every=0)
        run = dataclasses.replace(run, train=train)
        expected = fit(run, tmp_path / "whole", quiet=True).record
    workdir = tmp_path / "run"

    place = trainer.Trainer if what == "evaluate" else sample_drawing
    broken(monkeypatch, place, what, FULL, run, workdir)
    stood = {("last", "evaluate"): 12, ("last", "save_grid"): 12, ("first", "evaluate"): 4}
    step = stood.get((at, what), 5)  # samples are every 5 steps
    assert steps_of(workdir, "latest")[-1] == str(step)
    record = fit(run, workdir, quiet=True).record
    assert record["sessions"][-1]["from_step"] == step
    same_figures(record, expected)
    # Pending work is done: all sample grids, and one line per validation.
    pages = {p.name for p in (workdir / "samples").glob("step_*.png")}
    drawn = ("00000012",) if at == "last" else ("00000005", "00000010", "00000012")
    assert pages == {f"step_{name}.png" for name in drawn}
    validated = [line["step"] for line in lines_of(workdir) if "validation_nll" in line]
    assert validated == ([12] if at == "last" else [4, 8, 12])


def test_an_interrupted_evaluation_counts_once_for_patience_and_in_the_lines(
    tmp_path, data, monkeypatch
):
    """Interrupted twice between the count and its line."""
    run = small_run("nade", data, steps=60, eval_every=2, patience=3, ema=0.0, sample_every=0)
    run = dataclasses.replace(run, optimizer=Optimizer(learning_rate=1e-9))
    expected = fit(run, tmp_path / "whole", quiet=True).record
    write, broken_at = Metrics.write, []

    def fails(self, step, values, *best):
        if "validation_nll" in values and step == 6 and len(broken_at) < 2:
            broken_at.append(step)
            raise FULL
        write(self, step, values, *best)

    monkeypatch.setattr(Metrics, "write", fails)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            fit(run, tmp_path / "run", quiet=True)
    record = fit(run, tmp_path / "run", quiet=True).record
    same_figures(record, expected)
    assert record["ended"] == expected["ended"]
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")


@pytest.mark.parametrize("writers", [(), ("tensorboard",)])
def test_lines_and_values_equal_those_of_an_uninterrupted_run(tmp_path, data, monkeypatch, writers):
    """With an error in a sample grid at a step that is neither logged nor saved."""
    run = small_run("nade", data, steps=12, log_every=10, eval_every=0, save_every=0)
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, writers=writers))
    fit(run, tmp_path / "whole", quiet=True)
    broken(monkeypatch, sample_drawing, "save_grid", FULL, run, tmp_path / "run")
    assert steps_of(tmp_path / "run", "latest") == ["5"]
    fit(run, tmp_path / "run", quiet=True)
    whole, cut = lines_of(tmp_path / "whole"), lines_of(tmp_path / "run")
    # An interruption adds a line; every step belongs to a line.
    assert [line["step"] for line in cut] == [5, 10, 12, 12]
    assert cut[2:] == whole[1:]
    halves = (cut[0]["loss"] + cut[1]["loss"]) / 2
    assert halves == pytest.approx(whole[0]["loss"], rel=1e-6)


def test_a_non_finite_state_is_not_saved_after_another_error(tmp_path, data, monkeypatch):
    run = small_run("nade", data, steps=40, log_every=20, eval_every=0, save_every=0)
    wild = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd", learning_rate=1e30))

    def raises(*args, **options):
        raise MemoryError

    monkeypatch.setattr(sample_drawing, "save_grid", raises)
    with pytest.raises(FloatingPointError, match=r"at step .* nothing was saved"):
        fit(wild, tmp_path, quiet=True)
    assert steps_of(tmp_path, "latest") == []


def test_a_table_that_cannot_be_written_does_not_prevent_checkpoints(tmp_path, data, monkeypatch):
    run = small_run("nade", data, steps=8, eval_every=0, sample_every=0)

    broken(monkeypatch, Metrics, "flush", FULL, run, tmp_path)
    assert steps_of(tmp_path, "latest") == ["4"]  # complete, beside a leftover temporary folder
    assert fit(run, tmp_path, quiet=True).record["sessions"][-1]["from_step"] == 4


def test_a_record_is_kept_until_the_next_is_written(tmp_path, data, monkeypatch):
    run = small_run("gan", data, metric="parzen", metric_samples=50)
    record = fit(run, tmp_path, quiet=True).record

    other = dataclasses.replace(run, train=dataclasses.replace(run.train, metric_samples=60))
    broken(monkeypatch, finish, "final_metrics", MemoryError(), other, tmp_path)
    assert json.loads((tmp_path / "record.json").read_text()) == json.loads(json.dumps(record))
    again = fit(other, tmp_path, quiet=True).record
    assert again["config"]["train"]["metric_samples"] == 60
    assert again["steps"] == record["steps"]


def test_a_missing_best_checkpoint_is_recomputed_without_steps_left(tmp_path, whole):
    run, expected = whole
    fit(run, tmp_path, quiet=True)
    (tmp_path / "record.json").unlink()
    for folder in (tmp_path / "checkpoints" / "best").glob("[0-9]*"):
        shutil.rmtree(folder)
    record = fit(run, tmp_path, quiet=True).record
    assert record["chosen_by"] == "validation"
    assert record["chosen_step"] == 12
    assert np.isfinite(record["validation"])
    assert expected["validation"] <= record["validation"]


def test_an_interrupted_first_save_is_not_a_run(tmp_path, data):
    """Orbax leaves a folder with a temporary name; other settings are still accepted."""
    run = small_run("nade", data)
    fit(run, tmp_path, quiet=True)
    for which in ("latest", "best"):
        for folder in (tmp_path / "checkpoints" / which).glob("[0-9]*"):
            shutil.rmtree(folder)
    (tmp_path / "checkpoints" / "latest" / "4.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "record.json").unlink()
    other = dataclasses.replace(run, seed=3)
    assert fit(other, tmp_path, quiet=True).record["seed"] == 3


def test_sample_grids_are_written_by_the_patched_function():
    assert sample_drawing.save_grid is sample_grids.save_grid
