"""`two.py DATA ROOT PORT PROCESS STEPS`: one of two that train together, 4 devices each."""

import pathlib
import sys
import warnings

import jax
from support.small import small_run

from genjax.train import fit

warnings.simplefilter("error")

if __name__ == "__main__":
    data, root, port, process, steps = sys.argv[1:]
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(process))
    assert jax.device_count() == 8
    assert jax.local_device_count() == 4
    result = fit(small_run("nade", data, steps=int(steps)), pathlib.Path(root), quiet=True)
    print(result.finished, result.step, result.record["obtained"])
