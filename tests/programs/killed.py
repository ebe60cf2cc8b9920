"""`killed.py DATA WORKDIR MOMENT`: a small run that kills itself (SIGKILL) at a chosen moment.

`save`: while a checkpoint is being written, seen by its temporary folder; `step-N`: as soon as
the metrics of step N are on disk; `never`: runs to its end.
"""

import os
import pathlib
import signal
import sys
import threading
import warnings

from support.small import small_run

from genjax.train import fit
from genjax.train.metric_writers import Metrics

warnings.simplefilter("error")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def watch_for_a_save(folder: pathlib.Path) -> None:
    """Die when a save has begun and not ended: its folder still has a temporary name."""
    while True:
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            continue
        # Not the first save: there must be an earlier checkpoint to fall back on.
        if any("tmp" in name for name in names) and any(name.isdigit() for name in names):
            die()


def main() -> None:
    data, workdir, moment = sys.argv[1:]
    if moment == "save":
        folder = pathlib.Path(workdir) / "checkpoints" / "latest"
        threading.Thread(target=watch_for_a_save, args=(folder,), daemon=True).start()
    elif moment != "never":
        write, last = Metrics.write, int(moment.removeprefix("step-"))

        def write_and_die(self, step, values):
            write(self, step, values)
            if step >= last:
                die()

        Metrics.write = write_and_die
    fit(small_run("nade", data, steps=40), workdir, quiet=True)


if __name__ == "__main__":
    main()
