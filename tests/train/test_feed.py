"""Streamed batches are those of memory: on one device, on eight, and on two processes."""

import json
import socket
import subprocess
import sys

import pytest
from helpers import ROOT, environment

from genjax.data.shards import Writing
from genjax.data.write import prepare


def feeds(folder, devices, processes):
    """What each process printed of its batches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = str(ROOT / "tests" / "programs" / "feeds.py")
    started = [
        subprocess.Popen(
            [sys.executable, program, str(folder), *([port, str(i)] if processes > 1 else [])],
            env=environment(devices=devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    try:
        said = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, error) in zip(started, said, strict=True):
        assert process.returncode == 0, error[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in said]


@pytest.mark.parametrize(("devices", "processes"), [(1, 1), (8, 1), (4, 2)])
def test_streamed_batches_are_those_of_memory(tmp_path, devices, processes):
    folder = prepare("digits", tmp_path, Writing(name="digits")).folder
    found = feeds(folder, devices, processes)
    for each in found:
        assert each.pop("devices") == [devices, devices * processes]
        for name in [n for n in each if n.endswith("yes")]:
            assert each[name] == each[name.removesuffix("yes") + "no"], name
            assert len(set(each[name])) == 4
    # Each process has its own part.
    parts = [tuple(each["0 critics, 1 steps, yes"]) for each in found]
    assert len(set(parts)) == processes
