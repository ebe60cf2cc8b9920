"""Evaluations by epochs, and the warning where the first of them is the best."""

import dataclasses
import json

import numpy as np
import pytest
from support.small import small_run, write_data

from genjax import families
from genjax.cli import train as command
from genjax.core import GanObjective
from genjax.families import gan
from genjax.train import fit
from genjax.train.run_config import evaluated_by_steps
from genjax.train.status import RunStatus


def steps_of(workdir, name):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if name in line]


@pytest.mark.parametrize(
    ("epochs", "examples", "every"),
    [(1.0, 240, 15), (0.5, 240, 8), (2.0, 40, 5), (0.01, 240, 1), (3.0, 5, 1)],
)
def test_epochs_become_steps(epochs, examples, every):
    run = small_run("nade", "digits", eval_epochs=epochs, steps_per_call=100)
    train = evaluated_by_steps(run, examples).train
    assert (train.eval_every, train.eval_epochs) == (every, 0.0)
    assert train.steps_per_call == every  # a call is not longer
    critics = dataclasses.replace(
        small_run("gan", "digits", eval_epochs=epochs),
        model=gan.Config(objective=GanObjective(critic_steps=5)),
    )  # each critic update has a batch of its own
    assert evaluated_by_steps(critics, 5 * examples).train.eval_every == every
    assert evaluated_by_steps(small_run("nade", "digits"), examples).train.eval_every == 4


def test_a_run_is_evaluated_by_epochs(tmp_path):
    data = write_data(tmp_path, n=48)  # three steps per epoch
    run = small_run("nade", data, eval_epochs=2.0, steps=14, patience=5)
    fit(run, tmp_path / "run", quiet=True)
    assert steps_of(tmp_path / "run", "validation_nll") == [6, 12, 14]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["train"]["eval_epochs"], config["train"]["eval_every"]) == (2.0, 4)


def test_small_data_is_evaluated_more_often():
    # 360 examples: 4 steps per epoch, of which 1,000 would be 278 epochs.
    assert command.default_train("nade", 360).eval_every == 72
    assert command.default_train("nade", 50_000).eval_every == 1000
    assert command.default_train("nade", 3).eval_every == 20


def test_a_first_evaluation_that_is_the_best_is_reported(tmp_path, capsys):
    rng = np.random.default_rng(0)
    bits = {s: rng.integers(0, 2, (n, 9), np.uint8) for s, n in (("train", 8), ("test", 8))}
    np.savez(tmp_path / "noise.npz", **bits, validation=rng.integers(0, 2, (200, 9), np.uint8))
    run = small_run("nade", str(tmp_path / "noise.npz"), steps=40, batch_size=8, ema=0.0)
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(families.get("nade").tiny(), shape=(9,), hidden=20),
        optimizer=dataclasses.replace(run.optimizer, learning_rate=0.3, decay_steps=400),
    )
    record = fit(run, tmp_path / "run").record
    (warning,) = record["warnings"]
    assert warning["step"] == 40
    assert warning["words"].startswith(
        "the first of 10 evaluations, after step 4 (4 epochs), is the best"
    )
    for fix in ("--eval-epochs 0.4", "--steps", "--weight-decay", "dropout", "--learning-rate"):
        assert fix in warning["words"]
    assert "the first of 10 evaluations" in capsys.readouterr().err


def test_a_later_best_or_a_single_evaluation_is_not_reported(tmp_path):
    data = write_data(tmp_path)
    assert "warnings" not in fit(small_run("nade", data), tmp_path / "later", quiet=True).record
    once = small_run("nade", data, eval_every=0)
    assert "warnings" not in fit(once, tmp_path / "once", quiet=True).record
    status = RunStatus().evaluated(10, 3.0)
    assert not status.overfits()
    assert status.evaluated(20, 4.0).overfits()
    # Shares, as of wrong pieces, are often equal: a run that solves everything does not overfit.
    assert not status.evaluated(20, 4.0).evaluated(30, 3.0).overfits()
    assert not status.evaluated(20, 2.0).evaluated(30, 4.0).overfits()
    # A best checkpoint that was lost is evaluated again, and is not the first evaluation.
    assert not status.without_best().evaluated(20, 4.0).evaluated(30, 5.0).overfits()
