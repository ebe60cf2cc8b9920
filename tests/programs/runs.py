"""`runs.py DATA ROOT STEPS NAME...`: small runs of families in ROOT, resumed where they exist."""

import pathlib
import sys
import warnings

from small import small_run

from genjax.train import fit

warnings.simplefilter("error")

if __name__ == "__main__":
    data, root, steps, *names = sys.argv[1:]
    for name in names:
        result = fit(small_run(name, data, steps=int(steps)), pathlib.Path(root) / name, quiet=True)
        print(f"{name} {result.step} {result.reason}")
