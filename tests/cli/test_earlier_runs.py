"""One command trains the runs of parts before the run that names them."""

import dataclasses
import json
import os
import signal

import pytest
from support import composed_bars
from support.small import write_data

from experiments import reproduce
from genjax import families
from genjax.cli import experiment
from genjax.cli.earlier_runs import earlier_runs
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import nade
from genjax.train import Run, Train
from genjax.train.metric_log import Metrics
from genjax.train.run_config import run_from_json

TRAIN = Train(steps=4, batch_size=16, log_every=1, eval_every=2, eval_batch=80, samples=4)
FIRST = "prior_bars:small"


def runs_of(data):
    first = Run(
        experiment=FIRST,
        family="nade",
        model=composed_bars.PART,
        data=Data(data=data),
        optimizer=Optimizer(learning_rate=0.01),
        train=dataclasses.replace(TRAIN, steps=8),
    )
    second = Run(
        experiment="bars:nade",
        family="composed_bars",
        model=composed_bars.Config(),
        data=Data(data=data),
        optimizer=Optimizer(learning_rate=0.1),
        train=dataclasses.replace(TRAIN, parts_from=(FIRST,)),
    )
    return first, second


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`main` of an experiment with one run before it: exit status, and the folders trained."""
    monkeypatch.setitem(families.FAMILIES, "composed_bars", "support.composed_bars")
    monkeypatch.setattr(experiment.cli_options, "set_up_process", lambda: None)
    monkeypatch.setattr(experiment, "RUNS", tmp_path / "runs")
    first, second = runs_of(write_data(tmp_path))
    trained, fit = [], experiment.fit

    def noted(run, workdir, **options):
        trained.append(str(workdir.relative_to(tmp_path / "runs")))
        return fit(run, workdir, quiet=True, **options)

    def needs(run):
        # Data and Config as the options say, and one that is not named.
        prior = dataclasses.replace(first, data=run.data, model=run.model.prior)
        return [dataclasses.replace(prior, experiment="other"), prior]

    monkeypatch.setattr(experiment, "fit", noted)

    def run(line):
        trained.clear()
        argv = [*line.split(), "--records", str(tmp_path / "records")]
        status = experiment.main({"nade": second}, "Doc.", argv, needs=needs)
        return status, list(trained)

    return run


def record_of(tmp_path, name):
    return json.loads((tmp_path / "runs" / name / "record.json").read_text())


def test_one_command_trains_both_stages_and_stores_both_records(command, tmp_path):
    """Again, it does not train the first stage; with other data, no record is stored."""
    folders = ["prior_bars-small-seed3", "bars-nade-seed3"]
    assert command("--seed 3") == (0, folders)
    stored = sorted(path.stem for path in (tmp_path / "records").iterdir())
    assert stored == sorted(folders)
    assert record_of(tmp_path, folders[0])["seed"] == 3
    assert record_of(tmp_path, folders[1])["sessions"][0]["parts"]["prior"]["run"] == FIRST
    assert command("--seed 3") == (0, folders[1:])
    other = tmp_path / "other"
    other.mkdir()
    assert command(f"--data {write_data(other, 160)} --prior.hidden 5")[0] == 0
    for name in ("prior_bars-small-seed0", "bars-nade-seed0"):
        assert record_of(tmp_path, name)["config"]["data"]["data"] == str(other / "bars.npz")
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_smoke_trains_smoke_runs_of_both_stages(command, tmp_path, capsys):
    folders = ["prior_bars-small-smoke-seed0", "bars-nade-smoke-seed0"]
    assert command("--smoke --prior.hidden 5") == (0, folders)
    assert f"{FIRST} is trained first, in" in capsys.readouterr().err
    config = run_from_json(record_of(tmp_path, folders[0])["config"])
    assert (config.train.steps, config.model.hidden) == (experiment.SMOKE["steps"], 5)
    config = run_from_json(record_of(tmp_path, folders[1])["config"])
    assert config.train.parts_from == (str(tmp_path / "runs" / folders[0]),)
    assert not (tmp_path / "records").exists()
    assert command("--smoke --prior.hidden 5") == (0, folders[1:])


def test_an_interrupted_first_stage_is_resumed(command, tmp_path, monkeypatch):
    write = Metrics.write

    def interrupt(self, step, values, *best):
        write(self, step, values, *best)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    folders = ["prior_bars-small-seed0", "bars-nade-seed0"]
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", interrupt)
        assert command("") == (0, folders[:1])
    assert not (tmp_path / "runs" / folders[1]).exists()
    assert command("") == (0, folders)
    sessions = record_of(tmp_path, folders[0])["sessions"]
    assert len(sessions) == 2
    assert sessions[1]["from_step"] in (3, 4)  # of two calls in flight


def test_a_part_that_is_given_by_its_folder_is_not_trained(command, tmp_path):
    assert command("")[0] == 0
    folder = tmp_path / "runs" / "prior_bars-small-seed0"
    assert command(f"--parts-from {folder} --seed 1") == (0, ["bars-nade-seed1"])
    status, trained = command("--parts-from nothing --seed 2")
    assert (status, trained) == (2, ["bars-nade-seed2"])


def test_runs_that_earlier_ones_name_come_before_them():
    first, second = runs_of("digits")
    third = dataclasses.replace(second, experiment="last")
    train = dataclasses.replace(TRAIN, parts_from=("bars:nade",), ranker="other")
    third = dataclasses.replace(third, train=train, seed=4)
    other = dataclasses.replace(first, experiment="other")
    unused = dataclasses.replace(first, experiment="unused")
    found = earlier_runs(third, lambda run: [first, unused, other, second])
    assert [run.experiment for run in found] == [FIRST, "other", "bars:nade"]
    assert {run.seed for run in found} == {4}


def test_options_of_a_part_have_its_name_before_them(command):
    _, second = runs_of("digits")
    line = "--prior.hidden 7 --prior.shape 4 4 1 --shape 4 4 1"
    run = experiment.parse({"nade": second}, "Doc.", line.split())[1]
    assert run.model == composed_bars.Config(
        shape=(4, 4, 1), prior=nade.Config(shape=(4, 4, 1), hidden=7)
    )
    assert type(run.model) is composed_bars.Config
    small = dataclasses.replace(second, data=Data(data="bars.npz"))
    words = ["--shape", "8", "8", "1", "--prior.shape", "8", "8", "1"]
    assert experiment.shape_options(small, ["--data", "digits"]) == words


def test_a_queue_trains_parts_before_the_runs_that_name_them(tmp_path):
    first, second = runs_of("digits")
    options = reproduce.parse({second.experiment: second, FIRST: first}, ["--seeds", "0", "1"])
    found = reproduce.queue({second.experiment: second, FIRST: first}, options)
    names = [(run.experiment, run.seed) for run in found]
    assert names.index((FIRST, 1)) < names.index(("bars:nade", 1))
    assert names.index((FIRST, 0)) < names.index(("bars:nade", 0))


def test_rejects_a_finished_run_with_other_settings_or_data(command, tmp_path, capsys):
    assert command("")[0] == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = write_data(elsewhere, 160)
    for line, what in (("--prior.hidden 5", "model.hidden"), (f"--data {other}", "the data")):
        status, trained = command(f"{line} --workdir {tmp_path / 'runs' / 'second'}")
        assert (status, trained) == (2, [])
        message = capsys.readouterr().err
        assert f"holds a finished run that differs in {what} from the one" in message
