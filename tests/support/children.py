"""Children of one process that train small runs, and what is compared of a run they leave."""

import dataclasses
import gc
import hashlib
import json
import os
import pathlib
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from genjax.cli.options import run_command
from genjax.core import State
from genjax.train import Run, fit
from genjax.train.checkpoint import leaves
from support.small import small_run, write_data

STEPS = 12
CLOCK = ("seconds", "examples_per_second", "input_wait")
FIGURES = ("obtained", "std_error", "validation", "chosen_step", "chosen_by", "steps", "ended")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended: exit status (minus the number of a signal), text, returned value."""

    status: int
    text: str
    value: Any = None

    def failed_clearly(self, name: str = "") -> bool:
        """Returns whether it ended with one error message, and no more than a few other lines."""
        lines = [line for line in self.text.splitlines() if not (name and line.startswith(name))]
        errors = [line for line in lines if line.startswith("error: ")]
        return self.status in (1, 2) and len(errors) == 1 and self.quiet() and len(lines) <= 8

    def quiet(self) -> bool:
        """Returns whether there is no traceback."""
        return "Traceback" not in self.text

    def last_line(self) -> str:
        """Returns the last line of the text."""
        lines = self.text.strip().splitlines()
        return lines[-1] if lines else f"status {self.status} and no text"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one attack ended; `kept` is None if it could not be made."""

    name: str
    kept: bool | None
    note: str = ""
    count: int = 1


def in_child(action: Callable[..., Any], *arguments: Any, limit: float = 120.0) -> Ended:
    """Runs a function in a fork of this process, which has imported everything but has no backend.

    `limit` is in seconds; a child that reaches it is killed and ends with status 124.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as text, tempfile.TemporaryFile() as value:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            gc.disable()  # a child is short
            os.dup2(text.fileno(), 1)
            os.dup2(text.fileno(), 2)
            os._exit(_result_of(action, arguments, value))
        handle = os.pidfd_open(pid)
        try:
            in_time = bool(select.select([handle], [], [], limit)[0])
            if not in_time:
                os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finally:
            os.close(handle)
        text.seek(0)
        value.seek(0)
        found = value.read()
        return Ended(code if in_time else 124, text.read(), json.loads(found) if found else None)


def _result_of(action: Callable[..., Any], arguments: tuple[Any, ...], file: Any) -> int:
    status = 70
    try:
        file.write(json.dumps(action(*arguments)).encode())
        file.flush()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def train(run: Run, workdir: pathlib.Path, whole: bool = False) -> dict[str, Any]:
    """Trains in this process as a command does; returns the description of a finished run.

    Raises:
      SystemExit: after an error message, with the command's exit status.
    """
    finished = []
    status = run_command(lambda: finished.append(fit(run, workdir, commit="none").finished))
    if status:
        raise SystemExit(status)
    return describe(workdir, whole) if finished[0] else {}


def describe(workdir: pathlib.Path, whole: bool = False) -> dict[str, Any]:
    """Returns what must be equal in an interrupted run and an undisturbed one.

    `states` are digests of the last checkpoint and of the chosen one, or of all of a `whole` run,
    read by Orbax and not by genjax; `resumed` is the step from which the last call resumed, which
    may differ.
    """
    record = json.loads((workdir / "record.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
    return {
        "states": dict(_digests(workdir, record, whole)),
        "figures": {name: record[name] for name in FIGURES},
        "validation": [line for line in lines if any("validation" in name for name in line)],
        "lines": lines,
        "samples": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((workdir / "samples").glob("step_*.png"))
        },
        "resumed": record["sessions"][-1]["from_step"],
    }


def _digests(
    workdir: pathlib.Path, record: dict[str, Any], whole: bool
) -> Iterator[tuple[str, str]]:
    import orbax.checkpoint as ocp

    names = [f"latest/{record['steps']}"]
    if record["chosen_by"] == "validation":
        names.append(f"best/{record['chosen_step']}")
    root = workdir / "checkpoints"
    if whole:
        names = [str(path.relative_to(root)) for path in root.glob("*/[0-9]*")]
    with ocp.StandardCheckpointer() as reader:
        for name in names:
            yield name, digest(reader.restore(root / name / "state"))


def digest(flat: dict[str, Any]) -> str:
    """Returns a hash of a state, `{path: array}`, with shapes and types."""
    import numpy as np

    found = hashlib.sha256()
    for name in sorted(flat):
        array = np.asarray(flat[name])
        found.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return found.hexdigest()


def digest_of_state(state: State) -> str:
    """Returns the digest of a state that genjax has restored."""
    return digest(leaves(state))


def different(expected: dict[str, Any], found: dict[str, Any], parts: str = "") -> list[str]:
    """Returns the parts in which a description differs from that of the undisturbed run."""
    names = parts.split() or ["states", "figures", "validation", "lines", "samples"]
    states = {name: expected["states"].get(name) for name in found["states"]}
    return [name for name in names if found[name] != {**expected, "states": states}[name]]


class World:
    """Data, settings and undisturbed runs that the attacks share, in one temporary folder."""

    def __init__(self, folder: pathlib.Path, seed: int):
        self.folder, self.seed = folder, seed
        self.data = write_data(folder, n=96)
        self._undisturbed: dict[str, dict[str, Any]] = {}
        self._stopped: dict[str, pathlib.Path] = {}

    def rng(self, *names: Any) -> random.Random:
        """Returns the random numbers of one attack, the same whichever others are run."""
        return random.Random(f"{self.seed} {names}")

    def run(self, family: str, **train: Any) -> Run:
        """Returns a small run, with metrics as a table too."""
        return small_run(family, self.data, steps=STEPS, writers=("csv",), **train)

    def undisturbed(self, family: str) -> dict[str, Any]:
        """Returns the description of the family's whole run."""
        if family not in self._undisturbed:
            ended = in_child(train, self.run(family), self.folder / f"whole-{family}", True)
            if ended.status:
                raise SystemExit(f"{family} does not train:\n{ended.text}")
            self._undisturbed[family] = ended.value
        return self._undisturbed[family]

    def stopped(self, family: str, run: Run | None = None, name: str = "own") -> pathlib.Path:
        """Returns a workdir of a run that was stopped by SIGTERM after step 9."""
        key = f"stopped-{family}-{name}"
        if key not in self._stopped:
            workdir = self.folder / key
            ended = in_child(_train_and_stop, run or self.run(family), workdir)
            if ended.status or ended.value:
                raise SystemExit(f"{family} does not stop:\n{ended.text}")
            self._stopped[key] = workdir
        return self._stopped[key]


def _train_and_stop(run: Run, workdir: pathlib.Path) -> dict[str, Any]:
    from genjax.train.metric_log import Metrics

    write = Metrics.write

    def write_and_stop(self: Metrics, step: int, values: Any, *best: Any) -> None:
        write(self, step, values, *best)
        if step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    Metrics.write = write_and_stop  # type: ignore[method-assign]
    return train(run, workdir)
