"""The table of results, its records, and the queue of `experiments.reproduce`."""

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
import types

import jax
import pytest
from support.helpers import ROOT

from experiments import __main__ as command
from experiments import reproduce
from experiments.table import COLUMNS, HIGHER_IS_BETTER, RECORDS, number, rows, status, table
from genjax.cli.experiment import recipe_differences
from genjax.data import Data
from genjax.evals import METRICS
from genjax.families import nade
from genjax.train import Figure, Result, Run, Train
from genjax.train.archive import create_archive
from genjax.train.diverged import Diverged
from genjax.train.record import make_record, read_records, write_record
from genjax.train.run_config import run_from_json


def example(name, **changes):
    return Run(
        experiment=name,
        family="nade",
        model=nade.tiny(),
        data=Data(data="mnist"),
        train=Train(steps=100),
        figure=Figure(paper=88.33, tag="seen", source="table 2"),
        **changes,
    )


RUNS = {name: example(name) for name in ("a_mnist", "a_mnist:sgd", "b_mnist")}


def finish(run, obtained=90.0, seconds=60.0):
    return make_record(
        run,
        metric="test NLL",
        obtained=obtained,
        std_error=0.3,
        details={},
        seconds=seconds,
        sessions=[{"commit": "abc", "device": "cpu x1", "from_step": 0}],
    )


# The table of the repository.


def test_rows_are_named_file_and_recipe():
    recipes = rows()
    assert "nade_binarized_mnist:cpu" in recipes
    for name, run in recipes.items():
        file, _, recipe = name.partition(":")
        module = importlib.import_module(f"experiments.{file}")
        assert module.RECIPES[recipe] == run
        assert run.experiment == name


def test_rows_with_our_settings_are_named_cpu():
    """A file of one row has `paper` or `cpu`, a file of several rows ROW and ROW_cpu."""
    files = {}
    for name in rows():
        file, _, recipe = name.partition(":")
        files.setdefault(file, set()).add(recipe)
    for file, recipes in files.items():
        if recipes & {"paper", "cpu"}:
            # Beside them, only a network for which the paper has no figure.
            others = recipes - {"paper", "cpu"}
            assert [r for r in others if rows()[f"{file}:{r}"].figure.paper is not None] == []


def test_every_figure_has_a_tag_and_a_source():
    tags = {"seen", "seen-code", "seen-2nd", "figure", "calc", "memory"}
    for name, run in rows().items():
        if run.figure.paper is not None:
            assert run.figure.tag in tags, name
            assert run.figure.source, name


def test_figures_that_were_not_read_in_the_paper():
    """A tag changes with new evidence alone, and then here too."""
    by_tag = {}
    for name, run in rows().items():
        if run.figure.paper is not None:
            by_tag.setdefault(run.figure.tag, set()).add(name)
    grey = {f"vae_grey_mnist:z{z}{end}" for z in (3, 5, 10, 20, 200) for end in ("", "_cpu")}
    modes = {name for name in rows() if name.startswith("ring_modes:")}
    assert {tag: names for tag, names in by_tag.items() if tag != "seen"} == {
        "memory": {
            "gan_cls_flowers:paper",
            "m2_mnist:labels_1000",
            "m2_mnist:labels_1000_cpu",
            "r3gan_cifar10:paper",
        },
        "seen-2nd": {
            "cyclegan_horse2zebra:identity",
            "cyclegan_horse2zebra:no_identity",
            "dalle_coco:paper",
            "dcgan_cifar10_features:paper",
            "gan_cls_coco:paper",
            "gan_cls_cub:paper",
            "m2_mnist:labels_100",
            "m2_mnist:labels_100_cpu",
            "made_binarized_mnist:1x500_1mask",
            "progressive_celebahq1024:fid",
            "progressive_celebahq1024:swd",
            "progressive_cifar10:paper",
            "sngan_cifar10:fid",
            "sngan_cifar10:score",
            "stargan_rafd:paper",
            "wgan_gp_cifar10:fid",
        },
        "figure": grey | {"infogan_mnist:bound"},
        "calc": modes,  # as many as the data have
    }


def test_every_record_has_the_settings_of_its_recipe():
    """After a change of a recipe, run it again or remove the record."""
    recipes = rows()
    for record in read_records(RECORDS):
        run = run_from_json(record["config"])
        if run.data.folds:  # None in the recipe: derived from the seed
            assert run.data.fold == run.seed % run.data.folds
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, fold=None))
        if run.data.labels_per_class:  # and so is the choice of labels
            assert run.data.labels_seed == run.seed
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, labels_seed=None))
        assert recipe_differences(recipes[record["experiment"]], run, record) == [], record[
            "experiment"
        ]


PARAMETERS = {
    "nade_binarized_mnist:paper": 785_284,  # 2HD + H + D
    "fvsbn_binarized_mnist:cpu": 307_720,  # logistic regressions: D(D - 1)/2 + D
    # Official networks.
    "cyclegan_maps:paper": 28_285_832,
    "cyclegan_horse2zebra:identity": 28_285_832,
    "cyclegan_cityscapes:cyclegan": 21_204_872,
    "cyclegan_maps:pix2pix": 54_413_955 + 2_768_705,
    "cyclegan_cityscapes:pix2pix": 41_828_995 + 2_768_705,
    "stargan_celeba:paper": 8_430_528 + 44_762_048,
    "stargan_rafd:paper": 53_226_560,
    "progressive_celebahq1024:swd": 23_079_115 + 23_087_249,
    "progressive_ablation:g": 13_629_810 + 13_636_897,
    "progressive_cifar10:paper": 1_296_908 + 1_298_689,
    "puzzle_gan_digits:paper": 23_858_178 + 74_195_969,
}


def test_json_has_all_rows_and_columns(tmp_path, capsys):
    run = rows()["nade_binarized_mnist:cpu"]
    for seed, obtained in ((0, 88.0), (1, 89.0)):
        write_record(tmp_path, finish(dataclasses.replace(run, seed=seed), obtained))
    assert command.main(["--json", "--records", str(tmp_path)]) == 0
    printed = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(printed) == list(rows())
    for name, row in printed.items():
        assert list(row) == list(COLUMNS), name
        if name != "nade_binarized_mnist:cpu":
            assert (row["obtained"], row["std_error"], row["seeds"]) == (None, None, [])
            assert row["paper"] == rows()[name].figure.paper
            assert row["parameters"] > 0
    assert {name: printed[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    row = printed["nade_binarized_mnist:cpu"]
    assert (row["obtained"], row["seeds"], row["metric"]) == (88.5, [0, 1], "test NLL")
    assert (row["family"], row["dataset"], row["unit"]) == ("nade", "binarized_mnist", "nats")
    assert (row["paper"], row["paper_tag"]) == (run.figure.paper, run.figure.tag)
    assert (row["minutes"], row["commit"]) == (1.0, "abc")


def test_a_record_belongs_to_its_row_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.table.rows", lambda: RUNS)
    write_record(tmp_path, finish(RUNS["a_mnist:sgd"]))
    obtained = {row["experiment"]: row["obtained"] for row in table(tmp_path)}
    # a_mnist is a prefix of a_mnist:sgd.
    assert obtained == {"a_mnist": None, "a_mnist:sgd": 90.0, "b_mnist": None}


def test_summary_has_the_figures_and_the_status(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.table.rows", lambda: RUNS)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    write_record(tmp_path, finish(RUNS["b_mnist"], 90.126))
    assert command.main(["--records", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (done,) = [line for line in lines if "b_mnist" in line]
    (not_run,) = [line for line in lines if "a_mnist:sgd" in line]
    assert done.split() == ["b_mnist", "NLL", "88.33", "90.13", "±", "0.30", "1", "not", "reached"]
    assert not_run.split() == ["a_mnist:sgd", "NLL", "88.33", "not", "run"]


@pytest.mark.parametrize(
    ("obtained", "error", "higher", "expected"),
    [
        (88.0, 0.2, False, "reached"),
        (88.7, 0.2, False, "reached"),  # within two standard errors
        (88.8, 0.2, False, "not reached"),
        (88.8, 0.2, True, "reached"),
        (87.9, 0.2, True, "not reached"),
        (88.4, None, False, "not reached"),
        (None, None, False, "diverged"),
    ],
)
def test_status_compares_with_the_paper(obtained, error, higher, expected):
    row = {"seeds": [0], "paper": 88.33, "paper_tag": "seen"}
    row |= {"obtained": obtained, "std_error": error}
    assert status(row, higher=higher) == expected
    unverified = status(row | {"paper_tag": "memory"}, higher=higher)
    assert unverified == ("diverged" if expected == "diverged" else "from memory")
    assert status(row | {"paper": None}, higher=higher) == "no figure"
    assert status(row | {"seeds": []}, higher=higher) == "not run"


def test_metrics_with_a_direction_exist():
    assert set(METRICS) >= HIGHER_IS_BETTER


@pytest.mark.parametrize("columns", [80, 100])
def test_the_summary_fits_a_terminal(columns):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "experiments"],
        env=os.environ | {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    duration = time.monotonic() - start
    print(f"python -m experiments: {duration:.1f} s")
    assert duration < 60
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in done.stdout
    words = done.stdout.split()
    starts = [line[:29].rstrip() for line in lines]
    for row in table(count=False):
        name, _, recipe = row["experiment"].partition(":")
        if columns == 100:
            assert row["experiment"] in words
        else:  # the file's name once, and its recipes below
            assert {name, f" {recipe}"} <= set(starts)
        if row["obtained"] is not None:
            assert number(row["obtained"]) in words
        if row["paper"] is not None:
            assert number(row["paper"]) in words


def test_a_bad_record_exits_with_one_line(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{")
    assert command.main(["--json", "--records", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "x.json" in err
    assert err.count("\n") == 1


def test_rejects_a_missing_folder(tmp_path, capsys):
    assert command.main(["--json", "--records", str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: there is no folder ")
    assert "nowhere" in err


# Durations and NAME=FILE.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("25m", 1500),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h5s", 3605),
        ("45", 45),
        ("0s", 0),
    ],
)
def test_seconds(text, expected):
    assert reproduce.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "25min", "-5m", "1.5h", "30m1h", " 5m", "5m ", "h5"])
def test_rejects_invalid_durations(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s, 25m or 1h30m"):
        reproduce.seconds(text)


def test_replacement():
    # A path may hold another equals sign.
    assert reproduce.replacement("mnist=a/b=c.npz") == ("mnist", "a/b=c.npz")
    for text in ("mnist", "=a.npz", "mnist=", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="NAME=FILE"):
            reproduce.replacement(text)


# The queue.


class Machine:
    """`reproduce.main` with a simulated clock and training, on three rows."""

    def __init__(self, tmp_path):
        self.workdir, self.records = tmp_path / "runs", tmp_path / "records"
        self.now, self.calls = 1000.0, []
        self.duration, self.stopped, self.error = 60.0, {}, {}

    def fit(self, run, workdir, *, deadline=None, commit=None):
        """Runs for `duration` seconds or to the deadline; `stopped` and `error` end it before."""
        done = workdir / "record.json"
        if done.exists():  # `fit` returns the record of a finished run
            return Result(True, 100, "end of schedule", json.loads(done.read_text()))
        self.calls.append((workdir.name, run, deadline, commit))
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text("{}")
        if workdir.name in self.error:
            raise self.error[workdir.name]
        if workdir.name in self.stopped:
            return Result(False, 7, self.stopped[workdir.name])
        if deadline is not None and self.now + self.duration > deadline:
            # A run stops with a margin, too short for another run.
            self.now = deadline - 1
            return Result(False, 7, "out of time")
        self.now += self.duration
        record = finish(run)
        (workdir / "record.json").write_text(json.dumps(record))
        return Result(True, 100, "end of schedule", record)

    def main(self, line=""):
        self.calls.clear()
        fixed = ["--workdir", str(self.workdir), "--records", str(self.records)]
        return reproduce.main([*line.split(), *fixed])

    @property
    def names(self):
        return [name for name, *_ in self.calls]

    @property
    def written(self):
        return sorted(p.name for p in self.records.glob("*")) if self.records.exists() else []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    monkeypatch.setattr(reproduce, "fit", machine.fit)
    monkeypatch.setattr(reproduce, "rows", lambda: RUNS)
    monkeypatch.setattr(reproduce, "set_up_process", lambda: None)
    clock = types.SimpleNamespace(monotonic=lambda: machine.now)
    monkeypatch.setattr(reproduce, "time", clock)
    return machine


ALL = ["a_mnist-seed0", "a_mnist-sgd-seed0", "b_mnist-seed0"]


def test_runs_all_rows_in_order_and_stores_records(machine, capsys):
    assert machine.main("--commit abc") == 0
    assert machine.names == ALL
    assert machine.written == [f"{name}.json" for name in ALL]
    assert [(deadline, commit) for *_, deadline, commit in machine.calls] == [(None, "abc")] * 3
    assert "180 s; left to run: nothing" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["records", "pack"])
def test_checks_folders_before_running(machine, tmp_path, capsys, which):
    file = machine.records if which == "records" else tmp_path / "file"
    file.write_text("")
    assert machine.main(f"--pack {tmp_path / 'file'}") == 2
    assert machine.names == []
    assert f"{file} is not a folder; name another." in capsys.readouterr().err


def test_finished_runs_are_not_run_again(machine):
    machine.main()
    assert machine.main() == 0
    assert machine.names == []


def test_seeds_and_only(machine):
    # A file's name selects all of its recipes, a row's name that row.
    assert machine.main("--only a_mnist --seeds 0 1") == 0
    assert machine.names == [f"{row}-seed{s}" for row in ("a_mnist", "a_mnist-sgd") for s in (0, 1)]
    assert [run.seed for _, run, *_ in machine.calls] == [0, 1, 0, 1]
    assert machine.main("--only a_mnist:sgd b_mnist --seeds 5") == 0
    assert machine.names == ["a_mnist-sgd-seed5", "b_mnist-seed5"]


@pytest.mark.parametrize("name", ["c_mnist", "a_mnist:adam", "a", "sgd"])
def test_rejects_unknown_experiments(machine, capsys, name):
    with pytest.raises(SystemExit) as stop:
        machine.main(f"--only b_mnist {name}")
    assert stop.value.code == 2
    assert machine.names == []
    err = capsys.readouterr().err
    assert f"there is no experiment '{name}'; there are a_mnist, a_mnist:sgd, b_mnist" in err


def test_data_files_replace_data_sets(machine):
    assert machine.main("--data mnist=carried/mnist.npz") == 0
    assert {run.data.data for _, run, *_ in machine.calls} == {"carried/mnist.npz"}
    # The path of the data is not part of the recipe.
    assert len(machine.written) == 3


def test_runs_on_other_data_have_no_figure_and_store_no_record(machine):
    assert machine.main("--data mnist=carried/letters.npz") == 0
    assert {run.figure.paper for _, run, *_ in machine.calls} == {None}
    assert machine.written == []
    run = RUNS["b_mnist"]
    other = dataclasses.replace(run, data=Data(data="carried/letters.npz"))
    assert recipe_differences(run, other, {}) == ["the data"]


def test_rejects_unused_options(machine, capsys):
    assert machine.main("--data mnist=carried/mnist.npz minst=other.npz") == 2
    assert machine.names == []
    assert "error: no run uses the data 'minst'; they use mnist." in capsys.readouterr().err
    assert machine.main("--fid-weights there.pth") == 2
    assert machine.names == []
    assert "no run uses the Inception network" in capsys.readouterr().err


def test_inception_weights_are_set_where_the_metric_needs_them(machine, monkeypatch):
    row = RUNS["b_mnist"]
    scored = dataclasses.replace(row, train=dataclasses.replace(row.train, metric="fid"))
    monkeypatch.setattr(reproduce, "rows", lambda: {**RUNS, "b_mnist": scored})
    assert machine.main("--fid-weights there.pth") == 0
    weights = {run.experiment: run.train.fid_weights for _, run, *_ in machine.calls}
    assert weights == {"a_mnist": "", "a_mnist:sgd": "", "b_mnist": "there.pth"}
    assert len(machine.written) == 3


def test_shortened_runs_store_no_record(machine):
    assert machine.main("--steps 5") == 0
    assert {run.train.steps for _, run, *_ in machine.calls} == {5}
    assert machine.written == []


# The budget: three runs of 60 s each.


def test_a_budget_stops_the_queue_and_lists_what_is_left(machine, capsys):
    assert machine.main("--budget 100s") == 3
    # Five seconds are reserved for the end of the process.
    assert machine.calls[0][2] == 1000 + 100 - 5
    assert machine.written == ["a_mnist-seed0.json"]
    assert machine.now <= 1100
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.endswith("left to run: a_mnist-sgd-seed0, b_mnist-seed0")


def test_repeating_the_command_finishes_the_queue(machine):
    statuses = []
    for _ in range(4):
        statuses.append(machine.main("--budget 100s"))
        machine.now += 500
    # One run per call: the first, then the interrupted one before the next.
    assert statuses == [3, 3, 0, 0]
    assert machine.written == [f"{name}.json" for name in ALL]


def test_starts_nothing_after_a_run_out_of_time(machine):
    # The remaining time is the margin for saving: reading data and compiling would exceed it.
    machine.main("--budget 100s")
    assert machine.names == ALL[:2]


def test_a_signal_ends_the_queue(machine):
    # Otherwise Ctrl-C would have to be pressed once per row.
    machine.stopped = {"a_mnist-seed0": "SIGTERM; the same command resumes here"}
    assert machine.main() == 3
    assert machine.names == ALL[:1]


def test_an_exhausted_budget_starts_nothing(machine, capsys):
    assert machine.main("--budget 3s") == 3
    assert machine.names == []
    assert f"left to run: {', '.join(ALL)}" in capsys.readouterr().err


def test_a_failed_run_is_one_line_and_the_rest_is_archived(machine, tmp_path, capsys):
    machine.error = {"a_mnist-sgd-seed0": ValueError("no such data.")}
    assert machine.main(f"--pack {tmp_path}/pack") == 2
    assert "error: a_mnist-sgd-seed0: no such data.\n" in capsys.readouterr().err
    assert machine.written == ["a_mnist-seed0.json", "b_mnist-seed0.json"]
    assert (tmp_path / "pack" / "pack.json").is_file()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: a_mnist-sgd-seed0: memory ran out; take fewer"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9"), "a_mnist-sgd-seed0: memory ran out"),
        # An unexpected error is printed with its traceback.
        (jax.errors.JaxRuntimeError("INTERNAL: 9"), "JaxRuntimeError: INTERNAL: 9"),
        (ValueError("RESOURCE_EXHAUSTED: no space left on device"), "no space left on device"),
    ],
    ids=["host", "device", "broken", "disk"],
)
def test_exhausted_memory_does_not_stop_the_queue(machine, capsys, error, message):
    machine.error = {"a_mnist-sgd-seed0": error}
    assert machine.main() == 2
    assert message in capsys.readouterr().err
    assert machine.written == ["a_mnist-seed0.json", "b_mnist-seed0.json"]


def test_a_diverged_run_does_not_stop_the_queue(machine, capsys):
    machine.error = {"a_mnist-sgd-seed0": FloatingPointError("loss is nan.")}
    assert machine.main("") == 1
    assert "error: a_mnist-sgd-seed0: loss is nan.\n" in capsys.readouterr().err
    assert machine.names == ALL


def test_a_diverged_run_prints_the_command_that_starts_from_its_weights(machine, capsys):
    machine.error = {"a_mnist-sgd-seed0": Diverged("loss is nan.", 4)}
    assert machine.main("") == 1
    words = capsys.readouterr().err
    assert "python -m experiments.a_mnist --recipe sgd --seed 0 --steps" in words
    assert "a_mnist-sgd-seed0-2 --weights-from" in words
    machine.error = {"a_mnist-sgd-seed0": Diverged("phase 1: loss is nan.", 4, phase=1)}
    assert machine.main("") == 1
    words = capsys.readouterr().err
    assert "error: a_mnist-sgd-seed0: phase 1: loss is nan.\n" in words
    assert "--weights-from" not in words


# Archives between machines.


def test_an_archived_queue_resumes_on_another_machine(machine, tmp_path, capsys):
    # The second run is interrupted; its folder is in the archive with the first.
    machine.stopped = {"a_mnist-sgd-seed0": "out of time"}
    assert machine.main(f"--pack {tmp_path}/pack --only a_mnist") == 3
    machine.workdir, machine.stopped = tmp_path / "elsewhere", {}
    assert machine.main(f"--start-from {tmp_path}/pack") == 0
    assert machine.names == ALL[1:]
    assert "extracted a_mnist-seed0, a_mnist-sgd-seed0" in capsys.readouterr().err


def test_an_archive_stays_where_no_run_was_started(machine, tmp_path, capsys):
    machine.main(f"--pack {tmp_path}/pack")
    before = {path: path.read_bytes() for path in (tmp_path / "pack").iterdir()}
    machine.workdir = tmp_path / "elsewhere"
    assert machine.main(f"--budget 3s --pack {tmp_path}/pack") == 2
    assert "pack is not written: no run has a file to archive" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "pack").iterdir()} == before


def test_runs_that_are_links_are_archived(machine, tmp_path):
    (tmp_path / "disk").mkdir()
    machine.workdir.mkdir(exist_ok=True)
    (machine.workdir / ALL[0]).symlink_to(tmp_path / "disk")
    machine.main(f"--pack {tmp_path}/pack")
    machine.workdir = tmp_path / "home"
    assert machine.main(f"--start-from {tmp_path}/pack") == 0
    assert machine.names == []


def test_archiving_reserves_time(machine, tmp_path):
    machine.main(f"--budget 100s --pack {tmp_path}/pack")
    assert machine.calls[0][2] == 1000 + 100 - 20


def test_records_of_archived_runs_are_stored(machine, tmp_path):
    # The folder of records stayed on the other machine; the record is in the run's folder.
    machine.main(f"--pack {tmp_path}/pack")
    machine.workdir, machine.records = tmp_path / "home", tmp_path / "home records"
    assert machine.main(f"--start-from {tmp_path}/pack") == 0
    assert machine.names == []
    assert machine.written == [f"{name}.json" for name in ALL]


def test_a_damaged_archive_exits_with_one_line(machine, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    first, _ = create_archive([tmp_path / "run"], tmp_path / "pack")
    first.write_bytes(b"damaged")
    assert machine.main(f"--start-from {tmp_path}/pack") == 2
    assert machine.names == []
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "damaged" in err
    assert err.count("\n") == 1
