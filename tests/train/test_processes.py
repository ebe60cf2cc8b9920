"""Two processes, four devices each: one run, cut and resumed, with the numbers of one process."""

import json

import numpy as np
from support.helpers import run_two_processes
from support.small import small_run, write_data

from genjax.train import fit


def together(data, root, steps):
    """Both processes to their end; what each printed."""
    return run_two_processes("two.py", data, str(root), "PORT", "PROCESS", str(steps))


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
