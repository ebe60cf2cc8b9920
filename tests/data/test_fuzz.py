"""A short run of the fuzzer: damaged files are read, or rejected with a one-line message."""

import pathlib
import subprocess
import sys

FUZZ = pathlib.Path(__file__).parents[1] / "programs" / "fuzz.py"


def test_damaged_files_are_read_or_rejected():
    command = [sys.executable, str(FUZZ), "--inputs", "2800", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout
