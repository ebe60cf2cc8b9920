"""A short run of the fuzzer: damaged files are read, or rejected with a one-line message."""

import pathlib
import random
import subprocess
import sys

import pytest

PROGRAMS = pathlib.Path(__file__).parents[1] / "programs"
FUZZ = PROGRAMS / "fuzz.py"


def test_damaged_files_are_read_or_rejected():
    command = [sys.executable, str(FUZZ), "--inputs", "800", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout


@pytest.mark.parametrize("data", [b'{"a": "\xff"}', b"\x80", b"", b'{"a": ', b"3", b'{"a": [1]}'])
def test_every_text_can_be_mutated_as_json(monkeypatch, data):
    """Damaged text too, since files are mutated several times."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    import mutate

    for name in ("a.json", "a.jsonl"):
        found = {mutate.mutate_file(data, b"", random.Random(seed), name) for seed in range(100)}
        assert len(found) > 10


def test_a_line_of_metrics_may_hold_a_long_number(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PROGRAMS))
    import run_targets

    target = next(target for target in run_targets.TARGETS if target.name == "metrics")
    target.make(tmp_path)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": ' + "1" * 5000 + "}\n" + path.read_text())
    target.open(tmp_path, path)
