"""`killed.py DATA WORKDIR MOMENT FAMILY STEPS`: a small run that kills itself at a moment.

`save`: while a checkpoint is being written, seen by its temporary folder; `save-N`: N ms later;
`step-N`: as soon as the metrics of step N are on disk; `growth`: while the networks grow;
`operation-N`: before the Nth time that Python opens, makes, renames or removes a file of the run.
It kills itself by SIGKILL.
"""

import itertools
import os
import pathlib
import signal
import sys
import threading
import time
import warnings

from support.small import small_run

from genjax.families import progressive
from genjax.train import fit
from genjax.train.metric_log import Metrics

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def watch_for_a_save(folder: pathlib.Path, delay: float) -> None:
    """Die when a save has begun and not ended: its folder still has a temporary name."""
    while True:
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            continue
        # Not the first save: there must be an earlier checkpoint to fall back on.
        if any("tmp" in name for name in names) and any(name.isdigit() for name in names):
            time.sleep(delay)
            die()


def die_at_operation(workdir: pathlib.Path, number: int) -> None:
    """Die before the operation of that number on a file of the run."""
    count, root = itertools.count(1), str(workdir)

    def hook(event, args):
        if event not in OPERATIONS or not isinstance(args[0], (str, os.PathLike)):
            return
        if os.fspath(args[0]).startswith(root) and next(count) == number:
            die()

    sys.addaudithook(hook)


def die_after_step(last: int) -> None:
    """Die when the metrics of this step, or of the first later one with metrics, are written."""
    write = Metrics.write

    def write_and_die(self, step, values, *best):
        write(self, step, values, *best)
        if step >= last:
            die()

    Metrics.write = write_and_die


def arm(workdir: pathlib.Path, moment: str) -> None:
    """Makes this process kill itself at the moment."""
    kind, _, number = moment.partition("-")
    if kind == "save":
        folder = workdir / "checkpoints" / "latest"
        arguments = (folder, int(number or 0) / 1000)
        threading.Thread(target=watch_for_a_save, args=arguments, daemon=True).start()
    elif kind == "operation":
        die_at_operation(workdir, int(number))
    elif kind == "step":
        die_after_step(int(number))
    elif kind == "growth":
        progressive.grow = lambda *arguments: die()


def main() -> None:
    data, workdir, moment, name, steps = sys.argv[1:]
    arm(pathlib.Path(workdir), moment)
    fit(small_run(name, data, steps=int(steps)), workdir, quiet=True)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
