"""Two processes, four devices each: one run, cut and resumed, with the numbers of one process."""

import json
import socket
import subprocess
import sys

import numpy as np
from helpers import ROOT, environment
from small import small_run, write_data

from genjax.train import fit


def together(data, root, steps):
    """Both processes to their end; what each printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(ROOT / "tests" / "programs" / "two.py")
    both = [
        subprocess.Popen(
            [sys.executable, program, data, str(root), str(port), str(i), str(steps)],
            env=environment(devices=4),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        said = [process.communicate(timeout=240) for process in both]
    finally:
        for process in both:
            process.kill()
    for process, (_, error) in zip(both, said, strict=True):
        assert process.returncode == 0, error[-3000:]
    return [output.splitlines()[-1] for output, _ in said]


def test_two_processes_train_resume_and_agree(tmp_path):
    data = write_data(tmp_path)
    together(data, tmp_path / "two", 6)
    said = together(data, tmp_path / "two", 10)
    assert said[0] == said[1]
    assert said[0].startswith("True 10 ")
    alone = fit(small_run("nade", data), tmp_path / "one", quiet=True)
    np.testing.assert_allclose(float(said[0].split()[2]), alone.record["obtained"], rtol=2e-3)
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["device"] == "cpu x8"
    assert [s["from_step"] for s in record["sessions"]] == [0, 6]
