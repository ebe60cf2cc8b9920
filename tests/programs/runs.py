"""`runs.py DATA ROOT STEPS NAME...`: small runs of families in ROOT, resumed where they exist."""

import gc
import pathlib
import sys
import warnings

from support.small import small_run

from genjax.train import fit

warnings.simplefilter("error")
gc.set_threshold(100_000, 20, 20)  # as in conftest.py

if __name__ == "__main__":
    data, root, steps, *names = sys.argv[1:]
    for name in names:
        result = fit(small_run(name, data, steps=int(steps)), pathlib.Path(root) / name, quiet=True)
        print(f"{name} {result.step} {result.reason}")
