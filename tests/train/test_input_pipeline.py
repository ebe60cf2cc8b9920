"""Batches are the same from memory and from disk, from any first step and any process."""

import dataclasses
import json
import os
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.feeding import (
    CASES,
    PAIR_CASES,
    TRAIN,
    MinimalState,
    batch_checksums,
    collect_batches,
    make_run,
    replace_row,
    write_folder,
)
from support.helpers import run_program, run_two_processes
from support.reading import assert_error_message
from support.small import small_run

from genjax.cli import experiment
from genjax.data import Data, Order, load
from genjax.train import compile_step, fit
from genjax.train.input_pipeline import InputPipeline
from genjax.train.layouts import Layouts
from genjax.train.load_run import load_state


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("feed")


@pytest.fixture(scope="module")
def folder(root):
    return write_folder(root / "levels")


@pytest.fixture(scope="module")
def pairs(root):
    """A folder of pairs with attributes."""
    return write_folder(root / "pairs", pairs=True)


@pytest.fixture(scope="module")
def bits(root):
    """A folder of binary images with all splits."""
    return write_folder(root / "bits", 2, ("train", "validation", "test"))


def both(folder, first=0, workers=0, **options):
    """Returns streamed batches after comparing them with resident ones."""
    run = make_run(folder, stream="yes", workers=workers, **options)
    streamed = collect_batches(run, first)
    resident = collect_batches(make_run(folder, stream="no", **options), first)
    assert len(streamed) == len(resident) == run.train.steps - first
    for a, b in zip(streamed, resident, strict=True):
        chex.assert_trees_all_equal(a, b)
    return streamed


@pytest.mark.parametrize(
    ("critics", "per_call", "transform"),
    [
        *(
            (3, 3, name)
            for name in ("", "binarize('threshold')", "binarize('static')", "binarize('dynamic')")
        ),
        *((3, 1, "binarize('dynamic')"), (0, 3, "dequantize()"), (0, 1, "binarize('static')")),
    ],
)
def test_streamed_is_resident(folder, critics, per_call, transform):
    """Nine steps of 8 or 24 rows are one or three epochs of 61."""
    batches = both(folder, critics=critics, per_call=per_call, transform=transform)
    x = batches[0]["x"]
    assert x.shape == ((3,) if critics else ()) + (8, 3, 3, 1)
    assert x.dtype == np.float32
    rows = Order(TRAIN, 3).take(0, 8 * max(critics, 1))
    np.testing.assert_array_equal(batches[0]["label"].reshape(-1), rows)  # a row's own number
    drawn = any(b["x"].tobytes() == x.tobytes() for b in batches[1:])
    assert not drawn
    assert set(np.unique(x)) == {0, 1} or transform in ("", "dequantize()")


def test_resumes_in_the_middle_of_an_epoch(folder):
    options = dict(critics=2, transform="binarize('dynamic')", limit=37, validation=11)
    whole = batch_checksums(both(folder, **options))
    assert batch_checksums(both(folder, 4, **options)) == whole[4:]


def test_worker_processes_give_the_same_batches(folder):
    options = dict(critics=3, per_call=3, transform="binarize('threshold')", validation=20)
    both(folder, 4, workers=2, **options)


def test_other_step_restarts_the_stream(folder):
    run = make_run(folder, stream="yes", workers=0)
    whole = collect_batches(make_run(folder, stream="no"))
    mesh, stage = jax.make_mesh((1,), ("data",)), Layouts(run).stages[0]
    pipeline = InputPipeline(run, load(run.data), {"x", "label"}, mesh, stage)
    for step in (0, 1, 5, 2, 3):
        (batch,) = pipeline.take(step, 1)
        np.testing.assert_array_equal(batch["label"], whole[step]["label"])
    pipeline.close()


def test_window_of_indices_equals_indices_per_call():
    data = {"x": jnp.arange(40.0)}

    def step(state, batch):
        return state._replace(step=state.step + 1), batch

    indices = np.random.default_rng(0).integers(0, 40, (12, 2, 4)).astype(np.int32)
    for per_call in (1, 3):
        options = dict(steps_per_call=per_call, lead=1, resident=True, donate=False)
        by_hand, call = (compile_step(step, window=w, **options) for w in (False, True))
        for first in (0, 6):  # of the window
            for at in (6, 9):
                state = MinimalState(jax.random.key(0), jnp.int32(at))
                own = indices[at - first : at - first + per_call]
                a = by_hand(state, jnp.asarray(own if per_call > 1 else own[0]), data)
                window = jnp.asarray(indices), jnp.int32(first)
                chex.assert_trees_all_equal(a[1], call(state, window, data)[1])


@pytest.mark.parametrize("options", [{"runs": 2, "resident": True}, {"resident": False}])
def test_rejects_window_for_several_runs_or_streams(options):
    with pytest.raises(ValueError, match="a window of indices needs resident data") as error:
        compile_step(lambda state, batch: (state, {}), window=True, **options)
    assert_error_message(str(error.value))


@pytest.fixture(scope="module")
def eight(folder, pairs):
    output = run_program("input_pipelines.py", folder, pairs, devices=8).stdout
    return json.loads(output.splitlines()[-1])


def test_eight_devices_get_the_same_batches(folder, eight):
    for name, options in CASES.items():
        alone = collect_batches(make_run(folder, stream="no", batch=16, steps=7, **options), 2)
        assert eight[name]["crcs"] == batch_checksums(alone)
        assert eight[name]["rows"] == sum(b["label"].size for b in alone)


def test_eight_devices_get_the_same_domains_and_attributes(pairs, eight):
    for name, (options, entries) in PAIR_CASES.items():
        settings = dict(workers=0, batch=16, steps=7, **options)
        alone = [
            collect_batches(make_run(pairs, stream=stream, **settings), 2, None, entries)
            for stream in ("yes", "no")
        ]
        assert {tuple(batch_checksums(b)) for b in alone} == {tuple(eight[name]["crcs"])}
        assert set(alone[0][0]) == set(entries)


def test_two_processes_read_half_of_each_batch(folder, pairs, eight):
    for output in run_two_processes("input_pipelines.py", folder, pairs, "PORT", "PROCESS"):
        for name, found in json.loads(output).items():
            assert found["crcs"] == eight[name]["crcs"]
            assert found["rows"] == eight[name]["rows"] // 2


def a_run(bits, stream, **train):
    """Returns settings of a small NADE; 16 rows per step do not divide an epoch of 61."""
    settings = dict(sample_every=0, eval_every=5, save_every=4, log_every=1) | train
    run = small_run("nade", bits, **settings)
    return dataclasses.replace(run, data=Data(data=bits, stream=stream, workers=0))


def collect_inputs(patch):
    """Returns a list that collects (step, checksum of the batches) of every call."""
    taken, take = [], InputPipeline.take

    def spy(self, step, length):
        inputs = take(self, step, length)
        assert not self.resident
        taken.append((step, batch_checksums([{k: np.asarray(v) for k, v in inputs[0].items()}])[0]))
        return inputs

    patch.setattr(InputPipeline, "take", spy)
    return taken


@pytest.fixture(scope="module")
def whole(bits, root):
    """A streamed run of ten steps: workdir, record and batches."""
    with pytest.MonkeyPatch.context() as patch:
        batches = collect_inputs(patch)
        record = fit(a_run(bits, "yes"), root / "whole", quiet=True).record
    return root / "whole", record, batches


def test_interrupted_run_resumes_with_the_same_batches(bits, whole, tmp_path, monkeypatch):
    assert [step for step, _ in whole[2]] == list(range(10))
    batches = collect_inputs(monkeypatch)
    spied = InputPipeline.take

    def interrupted(self, step, length):
        if step == 7:
            raise KeyboardInterrupt
        return spied(self, step, length)

    with monkeypatch.context() as patch:
        patch.setattr(InputPipeline, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(a_run(bits, "yes"), tmp_path, quiet=True)
    assert batches == whole[2][:7]
    batches.clear()
    fit(a_run(bits, "yes"), tmp_path, quiet=True)
    assert batches[0][0] in (4, 5)
    assert batches == whole[2][batches[0][0] :]  # from the last save on
    a, b = (load_state(w)[1] for w in (whole[0], tmp_path))
    chex.assert_trees_all_equal(a.variables, b.variables)


def metrics(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    slow = ("examples_per_second", "input_wait", "seconds")
    return [{k: v for k, v in line.items() if k not in slow} for line in found]


def test_streamed_and_resident_runs_are_interchangeable(bits, whole, tmp_path):
    resident = fit(a_run(bits, "no"), tmp_path / "resident", quiet=True).record
    fit(a_run(bits, "yes", steps=6), tmp_path / "moved", quiet=True)
    moved = fit(a_run(bits, "no"), tmp_path / "moved", quiet=True).record
    state = load_state(tmp_path / "resident")[1]
    for folder, record in ((whole[0], whole[1]), (tmp_path / "moved", moved)):
        other = load_state(folder)[1]
        chex.assert_trees_all_close(other.variables, state.variables, rtol=1e-5, atol=1e-6)
        assert record["data_checksum"] == resident["data_checksum"]
        assert record["obtained"] == pytest.approx(resident["obtained"], rel=1e-5)
    lines = metrics(tmp_path / "resident")
    assert len(lines) >= 10
    for a, b in zip(lines, metrics(whole[0]), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def command(bits, workdir, *options):
    """Returns the exit status of the command of `a_run`."""
    run = a_run(bits, "yes")
    argv = ["--workdir", str(workdir), "--records", str(workdir / "records"), *options]
    return experiment.main({"small": run}, "Doc.", argv)


def test_damaged_record_ends_the_run_with_one_line(bits, whole, tmp_path, capsys):
    copy = str(shutil.copytree(bits, tmp_path / "copy"))
    rows = Order(TRAIN, 0).take(6 * 16, 16)  # of step 6, in the second epoch
    seen = Order(TRAIN, 0).take(0, 6 * 16)
    assert set(rows) <= set(seen)  # so damage it once the run has passed its first six steps
    assert command(copy, tmp_path / "run", "--steps", "6") == 0
    kept = load_state(tmp_path / "run")[1]
    capsys.readouterr()
    row = next(int(r) for r in rows if r % 16)
    pristine = {p: p.read_bytes() for p in (tmp_path / "copy").iterdir()}
    times = {p: p.stat().st_mtime_ns for p in pristine}
    replace_row(copy, row)
    assert command(copy, tmp_path / "run", "--steps", "10", "--workers", "0") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: row ")
    assert_error_message(message, copy, "has changed since it was prepared")
    chex.assert_trees_all_equal(load_state(tmp_path / "run")[1].variables, kept.variables)
    for path, data in pristine.items():
        path.write_bytes(data)
        os.utime(path, ns=(times[path], times[path]))
    assert command(copy, tmp_path / "run", "--steps", "10") == 0
    a, b = (load_state(w)[1] for w in (tmp_path / "run", whole[0]))
    chex.assert_trees_all_equal(a.variables, b.variables)


@pytest.mark.parametrize("source", ["digits", "npz"])
def test_rejects_streaming_of_arrays_on_the_command_line(root, bits, tmp_path, capsys, source):
    path = str(root / "bits" / "small.npz") if source == "npz" else source
    options = ["--data", path, "--stream", "yes", "--transform", "binarize('threshold')"]
    assert command(bits, tmp_path / "run", *options) == 2
    message = assert_error_message(capsys.readouterr().err.strip(), path)
    assert "cannot be streamed" in message
    assert not (tmp_path / "run").exists()


def test_rejects_streamed_labels_out_of_range(bits, tmp_path):
    """Labels in memory are checked before training, streamed ones when read."""
    run = small_run("vae", bits, steps=9)  # of 61 rows on disk each has its own number
    on_disk = dataclasses.replace(run.data, stream="yes")
    model = dataclasses.replace(run.model, classes=60)
    lines = dataclasses.replace(run, model=model, data=on_disk)
    with pytest.raises(
        ValueError, match=r"training examples have labels from \d+ to 60, and .* 0 to 59;"
    ):
        fit(lines, tmp_path / "run", quiet=True)
    enough = dataclasses.replace(lines, model=dataclasses.replace(model, classes=61))
    assert fit(enough, tmp_path / "enough", quiet=True).finished


def test_density_needs_a_split_in_memory(root, tmp_path, capsys):
    folder = write_folder(root / "alone", 2, ("train",))
    assert command(folder, tmp_path / "run") == 2
    message = assert_error_message(capsys.readouterr().err.strip(), folder)
    assert "has no test split to evaluate on; prepare it with --test N" in message
    assert command(folder, tmp_path / "run", "--stream", "no") == 0
