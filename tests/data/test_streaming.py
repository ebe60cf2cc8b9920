"""Streams of prepared folders equal data in memory; error messages of damaged folders."""

import multiprocessing
import os
import pathlib
import pickle
import shutil
import signal
import time

import numpy as np
import pytest
from support.feeding import TRAIN, replace_row, write_folder
from support.reading import assert_error_message

from genjax.data import Data, Order, load
from genjax.data.streaming import Batches, batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("stream"))


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the folder, to be damaged."""
    return str(shutil.copytree(folder, tmp_path / "copy"))


def source(
    folder, start=0, steps=8, size=12, names=("x", "label"), local_rows=None, offset=0, **settings
):
    rows = load(Data(data=folder, stream="yes", **settings)).streams["train"]
    place = {"start": start, "steps": steps, "size": size, "offset": offset}
    return Batches(rows, seed=5, local_rows=local_rows, names=names, **place)


def same(found, folder, start=0, steps=8, size=12, local_rows=None, **settings):
    """Compares batches with those from memory in the same order."""
    split = load(Data(data=folder, stream="no", **settings)).splits["train"]
    order = Order(len(split["x"]), 5)
    assert len(found) == steps
    for i, batch in enumerate(found):
        rows = order.take((start + i) * size, size)
        rows = rows if local_rows is None else rows[list(local_rows)]
        for name, array in batch.items():
            assert array.dtype == split[name].dtype
            np.testing.assert_array_equal(array, split[name][rows])


# 61 rows, 12 a step: the eight steps run through one epoch and into the next.
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit": 25},
        {"validation": 20},
        {"limit": 30, "validation": 9, "transform": "binarize('static')"},
    ],
)
def test_streams_equal_memory(folder, start, settings):
    found = list(batches(source(folder, start, **settings), workers=0))
    same(found, folder, start, **settings)
    assert set(found[0]) == {"x", "label"}


def test_each_row_once_per_epoch(folder):
    found = np.concatenate([b["label"] for b in batches(source(folder, 0, 10), workers=0)])
    assert sorted(found[:TRAIN]) == list(range(TRAIN))  # labels are the numbers of rows
    assert (found[:59] != found[TRAIN:]).any()  # another order in the next


# The second batch size is larger and then smaller: its offset is negative and then positive.
@pytest.mark.parametrize(("size", "then"), [(3, 8), (12, 5)])
def test_each_row_once_per_epoch_if_the_batch_size_changes(folder, size, then):
    first, seen = 4, 4 * size  # steps and examples of the first stage
    steps = -(-2 * TRAIN // then)
    offset = seen - first * then
    stages = [
        source(folder, 0, first, size),
        source(folder, first, steps, then, offset=offset),
    ]
    found = np.concatenate([b["label"] for stage in stages for b in batches(stage, workers=0)])
    np.testing.assert_array_equal(found, Order(TRAIN, 5).take(0, seen + steps * then))
    for epoch in found[: 2 * TRAIN].reshape(2, TRAIN):
        assert sorted(epoch) == list(range(TRAIN))
    resumed = source(folder, first + 2, 1, then, offset=offset)[0]["label"]
    np.testing.assert_array_equal(resumed, found[seen + 2 * then : seen + 3 * then])


def test_rejects_an_offset_before_the_first_example(folder):
    with pytest.raises(ValueError, match=r"at position -1; use at least -24") as error:
        source(folder, start=2, offset=-25)
    assert_error_message(str(error.value), "-25")


def test_reads_local_rows_of_each_batch(folder):
    local_rows = (0, 1, 2, 6, 7, 8)
    found = list(batches(source(folder, 2, local_rows=local_rows), workers=0))
    same(found, folder, 2, local_rows=local_rows)
    assert len(found[0]["x"]) == 6


def test_worker_processes_read_the_same(folder):
    settings = {"limit": 40, "validation": 5, "transform": "binarize('static')"}
    start = 2
    found = list(batches(source(folder, start, **settings), workers=2))
    same(found, folder, start, **settings)
    assert all(array.flags.owndata for batch in found for array in batch.values())
    assert not multiprocessing.active_children()


def test_batches_are_small_when_pickled(folder):
    assert len(pickle.dumps(source(folder))) < 1000


def test_static_draws_depend_on_the_row(folder):
    rows = source(folder, transform="binarize('static')").rows
    split = load(Data(data=folder, transform="binarize('static')")).splits["train"]["x"]
    np.testing.assert_array_equal(rows.read([60, 2, 3, 3])["x"], split[[60, 2, 3, 3]])


def test_invalid_row_raises_at_its_batch(copy):
    row = 21
    place = int(np.flatnonzero(Order(TRAIN, 5).take(0, TRAIN) == row)[0]) // 12
    rows = source(copy)
    replace_row(copy, row)
    stream = batches(rows, workers=0)
    for _ in range(place):
        next(stream)
    with pytest.raises(ValueError, match=rf"row {row} of split train") as error:
        next(stream)
    assert_error_message(str(error.value), copy)


def test_errors_of_workers_are_one_line(copy):
    path = sorted(pathlib.Path(copy).glob("*-train.array_record-*"))[1]
    rows, whole = source(copy), path.stat()
    data = bytearray(path.read_bytes())
    middle = len(bytes(data).rstrip(b"\0")[:65536].rstrip(b"\0")) // 2
    data[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(data)
    os.utime(path, ns=(whole.st_atime_ns, whole.st_mtime_ns))
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"split train of .* cannot be read") as error:
            list(batches(rows, workers=workers))
        assert_error_message(str(error.value), copy)


def test_killed_worker_raises(folder):
    stream = batches(source(folder, steps=10_000), workers=1)
    next(stream)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(OSError, match="a worker process that reads the data ended") as error:
        list(stream)
    assert_error_message(str(error.value), "--workers 0")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", ["digits", "small.npz"])
def test_rejects_streaming_of_arrays(folder, name):
    path = str(pathlib.Path(folder).parents[1] / name) if name.endswith("npz") else name
    with pytest.raises(ValueError, match="is read whole and cannot be streamed") as error:
        load(Data(data=path, stream="yes"))
    assert_error_message(str(error.value), path, "genjax prepare")
