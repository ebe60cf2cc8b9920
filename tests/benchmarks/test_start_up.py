"""Start-up is timed in processes of its own."""

import subprocess

import pytest

from experiments.benchmarks import start_up


def test_prints_the_shortest_time_of_each_line_and_its_excess(monkeypatch, capsys):
    seconds = {"import jax": [2.0, 1.0], "import genjax": [1.25, 3.0]}
    commands = {f"`{code}`": ["-c", code] for code in seconds}
    starts = [
        {"cold_seconds": 4.0, "warm_seconds": 3.0},
        {"cold_seconds": 5.0, "warm_seconds": 2.0},
    ]
    monkeypatch.setattr(start_up, "COMMANDS", commands)
    monkeypatch.setattr(start_up, "timed", lambda words: seconds[words[1]].pop(0))
    monkeypatch.setattr(start_up, "cold_start", lambda run, folder: starts.pop(0))
    assert start_up.main(["--repeats", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| `import jax` | 1.00 | 0.00 |",
        "| `import genjax` | 1.25 | 0.25 |",
        "| first step, cold | 4.00 | 3.00 |",
        "| first step, warm | 2.00 | 1.00 |",
    ]


def test_a_process_that_fails_is_no_time():
    assert start_up.timed(["-c", "import time; time.sleep(0.2)"]) > 0.2
    with pytest.raises(subprocess.CalledProcessError):
        start_up.timed(["-c", "raise SystemExit(1)"])
