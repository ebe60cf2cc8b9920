"""Worker processes of a process that is killed end with it, and their shared memory too."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from support.feeding import write_folder
from support.helpers import ROOT

from genjax.data.worker import end_with_parent

STREAM = """
import sys, time
from genjax.data import Data, load
from genjax.data.streaming import Batches, batches
rows = load(Data(data=sys.argv[1], stream="yes")).streams["train"]
stream = batches(Batches(rows, seed=0, start=0, steps=10_000, size=12), workers=2)
next(stream)
print("started", flush=True)
time.sleep(300)
"""
PREPARE = """
import functools, os, time, types
from genjax.data.shards import write_shards
writes = [os.getpid, *[functools.partial(time.sleep, 300)] * 2]
shards = [types.SimpleNamespace(is_complete=lambda: False, write=write) for write in writes]
write_shards(shards, 2, functools.partial(print, flush=True))
"""


def blocks():
    """Names of the shared memory that `multiprocessing` has made."""
    return {path.name for path in pathlib.Path("/dev/shm").glob("psm_*")}


@pytest.mark.parametrize(("code", "line"), [(STREAM, "started"), (PREPARE, "1 of 3 files")])
def test_workers_of_a_killed_process_end(tmp_path, code, line):
    folder = write_folder(tmp_path) if code == STREAM else ""
    before = blocks()
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == f"{line}\n", process.stderr.read()
        shared = blocks() - before
        assert shared or code == PREPARE
        process.send_signal(signal.SIGKILL)
        # The workers hold the other ends of both pipes: they are read to their ends.
        process.communicate(timeout=20)
        until = time.monotonic() + 20
        while shared & blocks() and time.monotonic() < until:
            time.sleep(0.1)
        assert not shared & blocks()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_only_a_worker_ends_with_its_parent():
    with pytest.raises(RuntimeError, match="processes that multiprocessing has started"):
        end_with_parent()
