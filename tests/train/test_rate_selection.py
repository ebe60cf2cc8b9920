"""Learning rates by several runs in one program: each is the run it is alone."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from support.small import small_run, write_data

from experiments import select as command
from genjax.core import Optimizer
from genjax.data import Data, Dataset, load, save_npz
from genjax.train import Trial, best, fit, select

RATES = [3e-2, 3e-3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bars, without a test split: selecting must not miss it."""
    folder = tmp_path_factory.mktemp("select")
    whole = load(Data(data=write_data(folder)))
    splits = {k: v for k, v in whole.splits.items() if k != "test"}
    path = folder / "no_test.npz"
    save_npz(Dataset("no_test", splits, 2), path)
    return str(path)


def validations(workdir):
    """What `fit` saw along the way: `[(step, nats, std_error)]`."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "validation_nll", "validation_std_error")
    return [tuple(found[n] for n in names) for found in lines if "validation_nll" in found]


@pytest.mark.parametrize(
    ("name", "ema", "steps_per_call"),
    [("nade", 0.9, 1), ("made", 0.0, 4), ("orderless_nade", 0.9, 1)],
)
def test_each_trial_equals_a_single_run(tmp_path, data, name, ema, steps_per_call):
    """Same parameters at first, same order of data, same masks and dropout, own learning rate."""
    run = small_run(name, data, steps=12, ema=ema, steps_per_call=steps_per_call, sample_every=0)
    if name == "orderless_nade":  # validation sees fewer orders than test
        model = dataclasses.replace(run.model, orders=6, validation_orders=1)
        run = dataclasses.replace(run, model=model)
    trials = select(run, RATES)
    assert [t.learning_rate for t in trials] == RATES
    assert len({round(t.validation, 3) for t in trials}) == 2
    for rate, trial in zip(RATES, trials, strict=True):
        optimizer = dataclasses.replace(run.optimizer, learning_rate=rate)
        workdir = tmp_path / f"{rate}"
        fit(dataclasses.replace(run, optimizer=optimizer), workdir, quiet=True)
        step, nats, error = min(validations(workdir), key=lambda v: v[1])
        assert trial.validation == pytest.approx(nats, rel=1e-4)
        assert trial.std_error == pytest.approx(error, rel=1e-3)
        assert trial.step == step


def test_selects_among_a_single_rate(data):
    run = small_run("nade", data, steps=8)
    (alone,) = select(run, [1e-2])
    together = select(run, [1e-2, 1e-3])
    assert len(together) == 2
    assert alone.validation == pytest.approx(together[0].validation, rel=1e-5)


def test_a_diverged_run_is_reported_and_not_selected(data):
    run = small_run("nade", data, steps=12)
    run = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd"))
    trials = select(run, [1e30, 1e-1])
    assert trials[0].validation == math.inf
    assert math.isnan(trials[0].std_error)
    assert trials[0].step == 4  # the first evaluation after it
    # And it does not take the other run along.
    assert math.isfinite(trials[1].validation)
    assert best(trials) is trials[1]
    with pytest.raises(FloatingPointError, match=r"all learning rates diverged \(1e\+30"):
        best(trials[:1])


def test_a_run_that_diverges_late_is_not_selected(data, monkeypatch):
    """`fit` stops at a non-finite loss; earlier values are no result."""
    run = small_run("nade", data, steps=12)
    from genjax.train.rate_selection import Trials

    original, calls = Trials.call, []

    def poisoned(self, length):
        def call(*given):
            state, metrics = original(self, length)(*given)
            calls.append(length)
            if len(calls) == 6:  # the evaluations are after 4 and 8
                metrics = {k: v.at[..., 0].set(np.nan) for k, v in metrics.items()}
            return state, metrics

        return call

    monkeypatch.setattr(Trials, "call", poisoned)
    trials = select(run, [1e-2, 1e-4])
    assert trials[0] == Trial(1e-2, math.inf, pytest.approx(math.nan, nan_ok=True), 8)
    assert best(trials) is trials[1]


def test_patience_closes_a_run(data):
    """A rate of almost nothing finds no better validation: its best stays where it was."""
    run = small_run("nade", data, steps=40, eval_every=1, patience=2, ema=0.0)
    run = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd"))
    (trial,) = select(run, [1e-30])
    assert trial.step == 1


def test_rejects_runs_without_a_rate_to_select(data, tmp_path):
    with pytest.raises(ValueError, match="joint has no single optimizer"):
        select(small_run("joint", data), RATES)
    with pytest.raises(ValueError, match="gan has no single optimizer"):
        select(small_run("gan", data), RATES)
    with pytest.raises(ValueError, match="`learning_rates` must be positive"):
        select(small_run("nade", data), [0.1, 0.0])
    with pytest.raises(ValueError, match="`steps` must be a positive integer, got 0"):
        select(small_run("nade", data), RATES, steps=0)
    floor = Optimizer(schedule="exponential", decrease=0.01, floor=1e-4)
    with pytest.raises(ValueError, match="`floor` is not scaled with the learning rates"):
        select(dataclasses.replace(small_run("nade", data), optimizer=floor), RATES)
    train = load(Data(data=data)).splits["train"]
    save_npz(Dataset("bare", {"train": train}, 2), tmp_path / "bare.npz")
    with pytest.raises(ValueError, match=r"has no validation split in memory .* --validation N"):
        select(small_run("nade", str(tmp_path / "bare.npz")), RATES)


def test_the_command_prints_a_table_and_json(data, monkeypatch, capsys):
    run = small_run("nade", data, steps=8)
    run = dataclasses.replace(run, optimizer=Optimizer(optimizer="sgd"))
    monkeypatch.setattr(command, "rows", lambda: {"small_nade": run})
    monkeypatch.setattr(command, "set_up_process", lambda: None)
    line = ["small_nade", "--learning-rates", "1e30", "0.1", "--steps", "4"]
    assert command.main(line) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [f["validation"] is None for f in found] == [True, False]
    assert [f["chosen"] for f in found] == [False, True]
    assert found[1]["step"] == 4
    assert "diverged" in err
    # What was trained for is out before the table, and the table needs nothing.
    monkeypatch.setitem(sys.modules, "rich.console", None)
    when = []
    shown = command.show

    def show(*given):
        when.append(json.loads(capsys.readouterr().out))
        shown(*given)

    monkeypatch.setattr(command, "show", show)
    assert command.main(["small_nade", "--learning-rates", "1e30"]) == 1
    assert capsys.readouterr().err.startswith("error: all learning rates diverged")
    # --steps and --data work without tyro; other options need it.
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert command.main([*line[:2], "0.1", "--steps", "3", "--data", data]) == 0
    assert when[0][0]["step"] == 3
    assert "learning rate 0.1, validation" in capsys.readouterr().err
    for unused in ("--workdir=here", "--metric", "--no-resume", "--learning_rate"):
        assert command.main([*line, unused]) == 2
        assert "trials are neither saved nor evaluated" in capsys.readouterr().err
    assert command.main([*line, "--clip", "1.0"]) == 2
    assert "tyro is not installed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["other", "--learning-rates", "0.1"])
    assert "there is no row 'other'; there are small_nade" in capsys.readouterr().err
