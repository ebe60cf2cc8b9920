"""The table and the queue that fills it: rows, figures, budget, and what is never written."""

import argparse
import dataclasses
import json
import pathlib
import types

import jax
import pytest

from experiments import __main__ as command
from experiments import reproduce
from experiments.table import COLUMNS, RECORDS, rows, table
from genjax.cli.experiment import recipe_differences
from genjax.data import Data
from genjax.families import nade
from genjax.train import Figure, Result, Run, Train
from genjax.train.archive import create_archive
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


def test_every_row_has_the_name_it_is_found_under():
    found = rows()
    assert "nade_binarized_mnist:cpu" in found
    for name, run in found.items():
        file, _, recipe = name.partition(":")
        assert run.experiment == name
        assert recipe != "" or ":" not in name
        assert (pathlib.Path(reproduce.__file__).parent / f"{file}.py").is_file(), name


def test_every_row_states_its_figure_and_how_sure_it_is():
    tags = {"seen", "seen-code", "seen-2nd", "figure", "calc", "memory"}
    for name, run in rows().items():
        if run.figure.paper is not None:
            assert run.figure.tag in tags, name
            assert run.figure.source, name


def test_every_record_is_of_its_recipe():
    """A recipe that was changed since is another one: run it again, or take the record out."""
    known = rows()
    for record in read_records(RECORDS):
        run = run_from_json(record["config"])
        if run.data.folds:  # left open by the recipe, and the seed's
            assert run.data.fold == run.seed % run.data.folds
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, fold=None))
        if run.data.labels_per_class:  # so are the labels that are told
            assert run.data.labels_seed == run.seed
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, labels_seed=None))
        assert recipe_differences(known[record["experiment"]], run, record) == [], record[
            "experiment"
        ]


def test_json_has_every_row_and_every_key(tmp_path, capsys):
    run = rows()["nade_binarized_mnist:cpu"]
    for seed, obtained in ((0, 88.0), (1, 89.0)):
        write_record(tmp_path, finish(dataclasses.replace(run, seed=seed), obtained))
    assert command.main(["--json", "--records", str(tmp_path)]) == 0
    found = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(found) == list(rows())
    for name, row in found.items():
        assert list(row) == list(COLUMNS), name
        if name != "nade_binarized_mnist:cpu":
            # Not run yet: the paper's figure is there, and ours is not made up.
            assert (row["obtained"], row["std_error"], row["seeds"]) == (None, None, [])
            assert row["paper"] == rows()[name].figure.paper
            assert row["parameters"] > 0
    # 2HD + H + D of NADE without a record; D(D - 1)/2 + D of the logistic regressions.
    assert found["nade_binarized_mnist:paper"]["parameters"] == 785_284
    assert found["fvsbn_binarized_mnist:cpu"]["parameters"] == 307_720
    row = found["nade_binarized_mnist:cpu"]
    assert (row["obtained"], row["seeds"], row["metric"]) == (88.5, [0, 1], "test NLL")
    assert (row["family"], row["dataset"], row["unit"]) == ("nade", "binarized_mnist", "nats")
    assert (row["paper"], row["paper_tag"]) == (run.figure.paper, run.figure.tag)
    assert (row["minutes"], row["commit"]) == (1.0, "abc")


def test_a_record_counts_only_for_its_own_row(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.table.rows", lambda: RUNS)
    write_record(tmp_path, finish(RUNS["a_mnist:sgd"]))
    obtained = {row["experiment"]: row["obtained"] for row in table(tmp_path)}
    # a_mnist is the beginning of a_mnist:sgd, and another row.
    assert obtained == {"a_mnist": None, "a_mnist:sgd": 90.0, "b_mnist": None}


def test_the_table_for_a_person(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.table.rows", lambda: RUNS)
    write_record(tmp_path, finish(RUNS["b_mnist"], 90.126))
    assert command.main(["--records", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (done,) = [line for line in lines if "b_mnist" in line]
    (open_row,) = [line for line in lines if "a_mnist:sgd" in line]
    assert "90.13" in done
    assert "88.33" in done
    assert "88.33" in open_row
    assert "90.13" not in open_row
    assert "None" not in open_row


def test_a_bad_record_is_one_line_and_2(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{")
    assert command.main(["--json", "--records", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "x.json" in err
    assert err.count("\n") == 1


def test_a_folder_that_is_not_there_is_no_empty_table(tmp_path, capsys):
    assert command.main(["--json", "--records", str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: there is no folder ")
    assert "nowhere" in err


# Lengths of time, and NAME=FILE.


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
def test_what_is_no_length_of_time_is_refused(text):
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
    """`reproduce.main` with a clock and a training of our own, on three rows."""

    def __init__(self, tmp_path):
        self.workdir, self.records = tmp_path / "runs", tmp_path / "records"
        self.now, self.calls = 1000.0, []
        self.takes, self.cut, self.error = 60.0, {}, {}

    def fit(self, run, workdir, *, deadline=None, commit=None):
        """Runs for `takes` seconds, or to the deadline, or as `cut` and `error` say."""
        done = workdir / "record.json"
        if done.exists():  # as the real one: a finished run gives its record back
            return Result(True, 100, "end of schedule", json.loads(done.read_text()))
        self.calls.append((workdir.name, run, deadline, commit))
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text("{}")
        if workdir.name in self.error:
            raise self.error[workdir.name]
        if workdir.name in self.cut:
            return Result(False, 7, self.cut[workdir.name])
        if deadline is not None and self.now + self.takes > deadline:
            # A real run leaves a margin; what is left is too short for another, and not nothing.
            self.now = deadline - 1
            return Result(False, 7, "the time is used up")
        self.now += self.takes
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
    monkeypatch.setattr(reproduce, "use_compilation_cache", lambda: None)
    clock = types.SimpleNamespace(monotonic=lambda: machine.now)
    monkeypatch.setattr(reproduce, "time", clock)
    return machine


ALL = ["a_mnist-seed0", "a_mnist-sgd-seed0", "b_mnist-seed0"]


def test_all_rows_in_order_and_their_records(machine, capsys):
    assert machine.main("--commit abc") == 0
    assert machine.names == ALL
    assert machine.written == [f"{name}.json" for name in ALL]
    assert [(deadline, commit) for *_, deadline, commit in machine.calls] == [(None, "abc")] * 3
    assert "180 s; left to run: nothing" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["records", "pack"])
def test_folders_are_looked_at_before_anything_runs(machine, tmp_path, capsys, which):
    file = machine.records if which == "records" else tmp_path / "file"
    file.write_text("")
    assert machine.main(f"--pack {tmp_path / 'file'}") == 2
    assert machine.names == []
    assert f"{file} is no folder; name another." in capsys.readouterr().err


def test_finished_runs_are_not_run_again(machine):
    machine.main()
    assert machine.main() == 0
    assert machine.names == []


def test_seeds_and_only(machine):
    # An experiment's name takes all of its recipes, a row's name that row alone.
    assert machine.main("--only a_mnist --seeds 0 1") == 0
    assert machine.names == [f"{row}-seed{s}" for row in ("a_mnist", "a_mnist-sgd") for s in (0, 1)]
    assert [run.seed for _, run, *_ in machine.calls] == [0, 1, 0, 1]
    assert machine.main("--only a_mnist:sgd b_mnist --seeds 5") == 0
    assert machine.names == ["a_mnist-sgd-seed5", "b_mnist-seed5"]


@pytest.mark.parametrize("name", ["c_mnist", "a_mnist:adam", "a", "sgd"])
def test_only_what_there_is(machine, capsys, name):
    with pytest.raises(SystemExit) as stop:
        machine.main(f"--only b_mnist {name}")
    assert stop.value.code == 2
    assert machine.names == []
    said = capsys.readouterr().err
    assert f"there is no experiment '{name}'; there are a_mnist, a_mnist:sgd, b_mnist" in said


def test_carried_data_take_the_place_of_a_name(machine):
    assert machine.main("--data mnist=carried/mnist.npz") == 0
    assert {run.data.data for _, run, *_ in machine.calls} == {"carried/mnist.npz"}
    # Where a file lies makes no other numbers: the rows count.
    assert len(machine.written) == 3


def test_a_name_that_no_row_takes_is_a_mistake(machine, capsys):
    assert machine.main("--data mnist=carried/mnist.npz minst=other.npz") == 2
    assert machine.names == []
    assert "error: no run takes the data 'minst'; they take mnist." in capsys.readouterr().err
    assert machine.main("--fid-weights there.pth") == 2
    assert machine.names == []
    assert "no run asks for the standard network" in capsys.readouterr().err


def test_the_standard_network_goes_to_the_rows_that_ask_for_it(machine, monkeypatch):
    row = RUNS["b_mnist"]
    scored = dataclasses.replace(row, train=dataclasses.replace(row.train, metric="fid"))
    monkeypatch.setattr(reproduce, "rows", lambda: {**RUNS, "b_mnist": scored})
    assert machine.main("--fid-weights there.pth") == 0
    found = {run.experiment: run.train.fid_weights for _, run, *_ in machine.calls}
    assert found == {"a_mnist": "", "a_mnist:sgd": "", "b_mnist": "there.pth"}
    assert len(machine.written) == 3


def test_shortened_runs_make_no_row(machine):
    assert machine.main("--steps 5") == 0
    assert {run.train.steps for _, run, *_ in machine.calls} == {5}
    assert machine.written == []


# The budget: three runs of 60 s each.


def test_a_budget_cuts_the_queue_and_says_what_is_left(machine, capsys):
    assert machine.main("--budget 100s") == 3
    # Five seconds are kept back for the end of the process.
    assert machine.calls[0][2] == 1000 + 100 - 5
    assert machine.written == ["a_mnist-seed0.json"]
    assert machine.now <= 1100
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("left to run: a_mnist-sgd-seed0, b_mnist-seed0")


def test_the_same_command_goes_on_until_nothing_is_left(machine):
    statuses = []
    for _ in range(4):
        statuses.append(machine.main("--budget 100s"))
        machine.now += 500
    # One run a call: the first, then the cut one before the next.
    assert statuses == [3, 3, 0, 0]
    assert machine.written == [f"{name}.json" for name in ALL]


def test_nothing_is_begun_once_a_run_was_cut_by_the_time(machine):
    # What the cut run left over is its margin for saving, not time for another start: data,
    # compilation and a first call would run past the deadline, and a borrowed machine is gone.
    machine.main("--budget 100s")
    assert machine.names == ALL[:2]


def test_a_signal_ends_the_queue_and_not_only_its_run(machine):
    # Ctrl-C would otherwise have to be pressed once a row.
    machine.cut = {"a_mnist-seed0": "SIGTERM; the same command goes on from here"}
    assert machine.main() == 3
    assert machine.names == ALL[:1]


def test_a_budget_that_is_used_up_begins_nothing(machine, capsys):
    assert machine.main("--budget 3s") == 3
    assert machine.names == []
    assert f"left to run: {', '.join(ALL)}" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_2_and_what_is_done_is_packed(machine, tmp_path, capsys):
    machine.error = {"a_mnist-sgd-seed0": ValueError("no such data.")}
    assert machine.main(f"--pack {tmp_path}/pack") == 2
    assert "error: a_mnist-sgd-seed0: no such data.\n" in capsys.readouterr().err
    # The others are not to blame for it.
    assert machine.written == ["a_mnist-seed0.json", "b_mnist-seed0.json"]
    assert (tmp_path / "pack" / "pack.json").is_file()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "error: a_mnist-sgd-seed0: memory ran out; take fewer"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9"), "a_mnist-sgd-seed0: memory ran out"),
        # What no sentence explains is there whole.
        (jax.errors.JaxRuntimeError("INTERNAL: 9"), "JaxRuntimeError: INTERNAL: 9"),
        (ValueError("RESOURCE_EXHAUSTED: no space left on device"), "no space left on device"),
    ],
    ids=["host", "device", "broken", "disk"],
)
def test_a_run_that_finds_no_memory_does_not_take_the_others_along(machine, capsys, error, said):
    machine.error = {"a_mnist-sgd-seed0": error}
    assert machine.main() == 2
    assert said in capsys.readouterr().err
    assert machine.written == ["a_mnist-seed0.json", "b_mnist-seed0.json"]


def test_a_run_that_diverges_does_not_take_the_others_along(machine, capsys):
    machine.error = {"a_mnist-sgd-seed0": FloatingPointError("loss is nan.")}
    assert machine.main("") == 1
    assert "error: a_mnist-sgd-seed0: loss is nan.\n" in capsys.readouterr().err
    assert machine.names == ALL


# Packs between machines.


def test_a_cut_queue_goes_on_on_another_machine(machine, tmp_path, capsys):
    # The second run is cut; its folder travels with the first.
    machine.cut = {"a_mnist-sgd-seed0": "the time is used up"}
    assert machine.main(f"--pack {tmp_path}/pack --only a_mnist") == 3
    machine.workdir, machine.cut = tmp_path / "elsewhere", {}
    assert machine.main(f"--start-from {tmp_path}/pack") == 0
    assert machine.names == ALL[1:]
    assert "going on from a_mnist-seed0, a_mnist-sgd-seed0" in capsys.readouterr().err


def test_packing_has_its_share_of_the_budget(machine, tmp_path):
    machine.main(f"--budget 100s --pack {tmp_path}/pack")
    assert machine.calls[0][2] == 1000 + 100 - 20


def test_a_run_that_came_finished_in_a_pack_gets_its_row(machine, tmp_path):
    # It ran on a borrowed machine, whose folder of records is gone; the record is in the run.
    machine.main(f"--pack {tmp_path}/pack")
    machine.workdir, machine.records = tmp_path / "home", tmp_path / "home records"
    assert machine.main(f"--start-from {tmp_path}/pack") == 0
    assert machine.names == []
    assert machine.written == [f"{name}.json" for name in ALL]


def test_a_damaged_pack_is_one_line_and_2(machine, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    first, _ = create_archive([tmp_path / "run"], tmp_path / "pack")
    first.write_bytes(b"damaged")
    assert machine.main(f"--start-from {tmp_path}/pack") == 2
    assert machine.names == []
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "damaged" in err
    assert err.count("\n") == 1
