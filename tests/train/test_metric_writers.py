"""Metrics of interrupted runs as JSON lines, CSV table and TensorBoard."""

import csv
import dataclasses
import importlib.util
import json
import struct
import types

import numpy as np
import pytest
from support.small import small_run, write_data

import genjax
from genjax.train import Hook, fit, progress
from genjax.train.metric_log import Metrics
from genjax.train.metric_writers import (
    add_writers,
    check_writers,
    write_csv,
    write_missing_outputs,
)
from genjax.train.progress import Progress


def opened(workdir, after, writers=(), again=False):
    metrics = Metrics(workdir, after=after, again=again)
    add_writers(metrics, writers)
    return metrics


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_one_json_object_a_line(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(1, {"loss": 0.5})
    metrics.write(2, {"loss": 0.25, "rate": 7})
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "rate": 7}]


def test_non_finite_numbers_become_null(tmp_path):
    # Python would write NaN, which is not valid JSON.
    values = {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.0}
    Metrics(tmp_path, after=0).write(3, values)
    text = (tmp_path / "metrics.jsonl").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"step": 3, "a": None, "b": None, "c": None, "d": 0.0}


def test_lines_after_the_step_are_dropped_and_rewritten(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    for step in (10, 20, 30):
        metrics.write(step, {"loss": step})
    # The checkpoint is of step 20, whose line stays.
    resumed = Metrics(tmp_path, after=20)
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]
    resumed.write(30, {"loss": 31})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (10, 10),
        (20, 20),
        (30, 31),
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_truncated_last_line_is_dropped(tmp_path):
    Metrics(tmp_path, after=0).write(10, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    first = path.read_text()
    second = '{"step": 20, "loss": 2.0}'
    for cut in range(len(second) + 1):
        path.write_text(first + second[:cut])
        Metrics(tmp_path, after=20).write(30, {"loss": 3.0})
        # A line that lacks only its newline is kept; the next must start a new line.
        steps = [10, 20, 30] if cut == len(second) else [10, 30]
        assert [line["step"] for line in lines(tmp_path)] == steps, cut


def test_invalid_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('5\n[1]\n{"loss": 1}\n\n\x00\x00\n{"step": 1}\n')
    Metrics(tmp_path, after=5)
    assert lines(tmp_path) == [{"step": 1}]


# The table.


def table(workdir):
    with (workdir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_per_step_and_all_columns(tmp_path):
    metrics = opened(tmp_path, 0, ("csv",))
    metrics.write(1, {"loss": 0.1 + 0.2, "rate": 7})
    metrics.write(2, {"loss": float("nan")})
    metrics.write(2, {"validation_nll": 3.5})
    metrics.flush()
    text = (tmp_path / "metrics.csv").read_text()
    assert text == (
        "step,loss,rate,validation_nll\n"
        "1,0.30000000000000004,7,\n"  # full precision
        "2,,,3.5\n"
    )
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_removed_lines_are_removed_from_the_table(tmp_path):
    metrics = opened(tmp_path, 0, ("csv",))
    for step in (10, 20, 30):
        metrics.write(step, {"loss": step})
    metrics.flush()
    resumed = opened(tmp_path, 20, ("csv",))
    assert [row["step"] for row in table(tmp_path)] == ["10", "20"]  # immediately
    resumed.write(30, {"loss": 31})
    resumed.close()
    assert [(r["step"], r["loss"]) for r in table(tmp_path)] == [
        *(("10", "10"), ("20", "20"), ("30", "31"))
    ]


def test_the_table_omits_invalid_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "a": 2}\n\xff\xfe\n[1]\n{"step": "3", "a": 1}\n{"step": 4, "a')
    write_csv(path)
    assert table(tmp_path) == [{"step": "1", "a": "2"}]


def test_no_table_is_written_by_default(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(1, {"loss": 1.0})
    metrics.close()
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


# TensorBoard.


def shown(workdir):
    """Returns what TensorBoard shows: `{(tag, step): [values]}` without purged steps."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = {}
    for path in sorted((workdir / "tensorboard").glob("events*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            if event.session_log.status == SessionLog.START:
                found = {key: v for key, v in found.items() if key[1] < event.step}
            for value in event.summary.value:
                kept = value.image if value.HasField("image") else value.simple_value
                found.setdefault((value.tag, event.step), []).append(kept)
    return found


def test_tensorboard_has_every_value_once_after_an_interruption(tmp_path):
    page = np.zeros((6, 9, 3), np.uint8)
    first = opened(tmp_path, 0, ("tensorboard",))
    for step in (10, 20, 21, 30):
        first.write(step, {"loss": step, "bad": float("nan")})
        first.image(step, page)
    first.close()
    # Resumed twice in the same second: each session has its own file.
    for value in (31, 32):
        metrics = opened(tmp_path, 20, ("tensorboard",))
        metrics.write(30, {"loss": value})
        metrics.image(30, page)
        metrics.close()
    found = shown(tmp_path)
    scalars = {key: v for key, v in found.items() if key[0] == "loss"}
    assert scalars == {("loss", 10): [10], ("loss", 20): [20], ("loss", 30): [32]}
    images = {key[1]: v for key, v in found.items() if key[0] == "samples"}
    assert sorted(images) == [10, 20, 30]
    assert [(v[0].height, v[0].width) for v in images.values()] == [(6, 9)] * 3
    assert {key[0] for key in found} == {"loss", "samples"}


def test_tensorboard_enabled_on_resuming_has_all_steps(tmp_path):
    metrics = Metrics(tmp_path, after=0)
    metrics.write(10, {"loss": 1.5, "bad": float("inf")})
    metrics.write(20, {"loss": 2.5})
    metrics = opened(tmp_path, 10, ("tensorboard",))
    metrics.write(20, {"loss": 3.5})
    metrics.close()
    assert shown(tmp_path) == {("loss", 10): [1.5], ("loss", 20): [3.5]}


def test_writers_enabled_later_have_all_steps(tmp_path):
    """Enabled, disabled, and enabled again, while running and after the end."""
    both = ("csv", "tensorboard")
    for after, step, writers in ((0, 10, both), (10, 20, ()), (20, 30, both), (30, 40, ())):
        metrics = opened(tmp_path, after, writers)
        metrics.write(step, {"loss": step})
        metrics.close()
    write_missing_outputs(tmp_path, both)
    write_missing_outputs(tmp_path, both)
    assert shown(tmp_path) == {("loss", step): [step] for step in (10, 20, 30, 40)}
    assert [row["step"] for row in table(tmp_path)] == ["10", "20", "30", "40"]


def test_tensorboard_after_a_kill_and_a_rewritten_line(tmp_path):
    first = opened(tmp_path, 0, ("tensorboard",))
    first.write(3, {"loss": 3})
    first.write(4, {"loss": 4})
    first.write(4, {"validation_nll": 40})
    first.hooks[0].board.close()  # a kill without flush
    again = opened(tmp_path, 4, ("tensorboard",), again=True)
    again.write(4, {"validation_nll": 41})
    again.close()
    # The line of the same step, written without TensorBoard.
    silent = opened(tmp_path, 4, again=True)
    silent.write(4, {"validation_nll": 42})
    silent.close()
    write_missing_outputs(tmp_path, ("tensorboard",))
    expected = {("loss", 3): [3], ("loss", 4): [4], ("validation_nll", 4): [42]}
    assert shown(tmp_path) == expected
    assert [line.get("validation_nll") for line in lines(tmp_path)] == [None, None, 42]


def test_reports_a_missing_package_before_writing_files(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboardX" else find(name)
    )
    check_writers(("csv",))
    run = small_run("nade", write_data(tmp_path), writers=("tensorboard",))
    with pytest.raises(ValueError, match=r"needs tensorboardX.*pip install -e '\.\[tensorboard\]'"):
        fit(run, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_writes_its_writers_files_also_after_the_end(tmp_path):
    data = write_data(tmp_path)
    both = small_run("joint", data, steps=4, writers=("csv", "tensorboard"))
    plain = dataclasses.replace(both, train=dataclasses.replace(both.train, writers=()))
    workdirs = {"both": both, "plain": plain}
    for name, run in workdirs.items():
        fit(run, tmp_path / name, quiet=True)
    assert not (tmp_path / "plain" / "metrics.csv").exists()
    record = (tmp_path / "plain" / "record.json").read_text()
    # The same command with --writers on a finished run trains nothing.
    assert fit(both, tmp_path / "plain", quiet=True).record == json.loads(record)
    assert (tmp_path / "plain" / "record.json").read_text() == record
    for name in workdirs:
        expected = {}
        for line in lines(tmp_path / name):
            expected.setdefault(str(line["step"]), {}).update({k: str(v) for k, v in line.items()})
        rows = {r["step"]: {k: v for k, v in r.items() if v} for r in table(tmp_path / name)}
        assert rows == expected
        scalars = {key: v for key, v in shown(tmp_path / name).items() if key[0] != "samples"}
        assert {tag for tag, _ in scalars} == set().union(*expected.values()) - {"step"}
        assert all(len(v) == 1 for v in scalars.values())
    images = [step for tag, step in shown(tmp_path / "both") if tag == "samples"]
    assert images == [4]


# Hooks.


class Calls(Hook):
    """Notes every call."""

    def __init__(self):
        self.calls = []

    def on_start(self, run, workdir, step):
        self.calls.append(("start", run.family, workdir.name, step))

    def on_log(self, step, metrics):
        self.calls.append(("log", step, metrics["seconds"] > 0))

    def on_evaluate(self, step, metrics, best):
        self.calls.append(("evaluate", step, metrics["validation_nll"] > 0, best))

    def on_sample(self, step, page):
        self.calls.append(("sample", step, page.dtype.name, page.ndim))

    def on_save(self, step):
        self.calls.append(("save", step))

    def on_end(self, record):
        self.calls.append(("end", record and record["steps"]))


def test_hooks_are_called_in_the_order_of_the_loop(tmp_path):
    run = small_run("nade", write_data(tmp_path), steps=4, log_every=2, save_every=4)
    hook, other = Calls(), Calls()
    record = fit(run, tmp_path / "run", quiet=True, hooks=[hook, other]).record
    assert record is not None
    assert hook.calls == other.calls
    assert hook.calls[0] == ("start", "nade", "run", 0)
    assert [c for c in hook.calls if c[0] == "log"] == [("log", 2, True), ("log", 4, True)]
    assert hook.calls[-1] == ("end", 4)
    last = [c for c in hook.calls if c[1] == 4 and c[0] != "end"]
    assert [c[0] for c in last] == ["log", "save", "evaluate", "sample", "save"]
    assert last[2:4] == [("evaluate", 4, True, True), ("sample", 4, "uint8", 3)]
    fit(run, tmp_path / "run", quiet=True, hooks=[hook])
    assert hook.calls == other.calls  # a finished run calls nothing


def test_an_error_in_a_hook_ends_the_run_which_resumes(tmp_path):
    class Fails(Calls):
        def on_log(self, step, metrics):
            super().on_log(step, metrics)
            if step == 4:
                raise RuntimeError("of the hook")

    run = small_run("nade", write_data(tmp_path), steps=6, log_every=2, save_every=2)
    hook, other = Fails(), Calls()
    with pytest.raises(RuntimeError, match="of the hook"):
        fit(run, tmp_path / "run", quiet=True, hooks=[hook, other])
    assert hook.calls[-1] == other.calls[-1] == ("end", None)
    again = Calls()
    assert fit(run, tmp_path / "run", quiet=True, hooks=[again]).finished
    assert (again.calls[0], again.calls[-1]) == (("start", "nade", "run", 2), ("end", 6))


# Weights & Biases.


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")
def test_weights_and_biases_get_every_line_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = small_run("joint", write_data(tmp_path), steps=4, writers=("wandb",))
    record = fit(run, tmp_path / "run", quiet=True).record
    assert record is not None
    found, summary, config = sent(tmp_path / "run")
    expected = {}
    for line in lines(tmp_path / "run"):
        expected.setdefault(line.pop("step"), {}).update(line)
    for step, values in expected.items():
        assert values.items() <= found[step].items()
    assert "samples" in {name.partition(".")[0] for name in found[4]}
    assert summary["obtained"] == record["obtained"]
    assert config["family"] == "joint"


def sent(workdir):
    """Returns the history by step, the summary and the settings in the offline files."""
    from wandb.proto.wandb_internal_pb2 import Record

    def read(items):
        return {
            item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items
        }

    history, summary, config = {}, {}, {}
    for path in sorted((workdir / "wandb").glob("offline-run-*/run-*.wandb")):
        for record in map(Record.FromString, log_records(path.read_bytes())):
            if items := read(record.history.item):
                history.setdefault(record.history.step.num, {}).update(items)
            summary |= read(record.summary.update)
            config |= read(record.run.config.update)
    return history, summary, config


def log_records(data):
    """Returns the records of a LevelDB log, in blocks of 32 KiB, of which W&B has the first 7."""
    found, place, block = [b""], 7, 2**15
    while place < len(data):
        if block - place % block < 7:  # too short for a header
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        found[-1] += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the last part of a record
            found.append(b"")
    return found[:-1]


# Progress.


def test_progress_prints_step_metrics_rate_and_time_left(capsys):
    progress = Progress("nade", 2000)
    progress.begin(500)
    progress.began -= 60.0  # a minute per 500 steps, so two minutes for the remaining 1,000
    progress.log(1000, {"loss": 123.456}, 2500.0)
    progress.close()
    assert capsys.readouterr().err == (
        "nade  step 1,000/2,000  loss 123.5  2,500 examples/s  2:00 left\n"
    )


def test_a_run_says_at_once_what_it_is_and_on_what(tmp_path, capsys):
    run = small_run("joint", write_data(tmp_path), steps=2)
    fit(run, tmp_path / "run")
    first, second, third, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{run.experiment}  genjax {genjax.__version__}, jax ")
    assert first.endswith(f"2 steps of {run.train.batch_size} examples, seed 0, in {tmp_path}/run")
    assert second.startswith(f"{run.experiment}  examples of bars: train 240, valid")
    assert third == f"{run.experiment}  compiling the step"


def test_a_long_evaluation_prints_its_progress(monkeypatch):
    now = iter([100.0, 110.0, 131.0, 140.0, 162.0, 400.0])
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    lines_printed = []
    report = progress.progress_callback("nade  evaluating test", lines_printed.append)
    for done in (1000, 2000, 3000, 4000, 8000):
        report(done, 8000)
    # Nothing within 30 seconds of the start or of the previous line, nor at the end.
    assert lines_printed == [
        "nade  evaluating test 2,000/8,000 examples  1:33 left",
        "nade  evaluating test 4,000/8,000 examples  1:02 left",
    ]


def test_quiet_progress_is_silent(capsys):
    progress = Progress("nade", 10, quiet=True)
    progress.log(5, {"loss": 1.0}, 1.0)
    progress.say("a line")
    progress.close()
    assert capsys.readouterr() == ("", "")
