"""Two processes with four devices each: an interrupted and resumed run equals one process."""

import json

import numpy as np
from support.helpers import run_two_processes
from support.small import small_run, write_data

from genjax.train import fit


def run_both(data, root, steps):
    """Runs both processes and returns what each printed."""
    return run_two_processes("two.py", data, str(root), "PORT", "PROCESS", str(steps))


def test_two_processes_train_resume_and_agree(tmp_path):
    data = write_data(tmp_path)
    run_both(data, tmp_path / "two", 6)
    output = run_both(data, tmp_path / "two", 10)
    assert output[0] == output[1]
    assert output[0].startswith("True 10 ")
    alone = fit(small_run("nade", data), tmp_path / "one", quiet=True)
    np.testing.assert_allclose(float(output[0].split()[2]), alone.record["obtained"], rtol=2e-3)
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["device"] == "cpu x8"
    assert [s["from_step"] for s in record["sessions"]] == [0, 6]
