"""The log of a run, metrics.jsonl, which calls the hooks and the further writers."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from genjax.data.file_io import read_bytes
from genjax.data.file_writing import no_follow, write_file
from genjax.data.json_files import parse_json
from genjax.train.hooks import Hook
from genjax.train.run_config import Run


class Line(NamedTuple):
    """One line of metrics.jsonl."""

    text: bytes
    step: int
    values: dict[str, float | int | None]
    """Without the step; None for non-finite numbers."""

    def validation(self) -> bool:
        """Returns whether it holds metrics of the validation split."""
        return any(name.startswith("validation_") for name in self.values)


class Metrics:
    """Writes `metrics.jsonl`, one JSON object with its `step` per line, and calls hooks."""

    def __init__(self, workdir: pathlib.Path, *, after: int, again: bool = False):
        """Opens the file for appending.

        Args:
          workdir: folder of the run.
          after: step to resume from; later lines are removed.
          again: remove that step's validation too, since it is computed again.
        """
        self.path, self.after, self.again = workdir / "metrics.jsonl", after, again
        self.kept = [line for line in read_lines(self.path) if line.step <= after]
        if again:
            self.kept = [line for line in self.kept if line.step < after or not line.validation()]
        if self.path.exists():
            write_file(self.path, b"".join(line.text + b"\n" for line in self.kept))
        self.hooks: list[Hook] = []
        self.step = after
        self.record: Mapping[str, Any] | None = None

    def start(self, run: Run, workdir: pathlib.Path) -> None:
        """Tells the hooks that the run begins or resumes."""
        for hook in self.hooks:
            hook.on_start(run, workdir, self.after)

    def write(self, step: int, values: Mapping[str, float], best: bool | None = None) -> None:
        """Appends one line; non-finite numbers become null.

        Args:
          step: number of completed steps.
          values: metrics by name.
          best: of metrics of the validation split, whether no earlier step is better.
        """
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with open(self.path, "a", opener=no_follow) as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")
        self.step = step
        for hook in self.hooks:
            if best is None:
                hook.on_log(step, clean)
            else:
                hook.on_evaluate(step, clean, best)

    def image(self, step: int, page: np.ndarray) -> None:
        """Passes a grid of samples, uint8 `[H, W, 3]`, to the hooks."""
        for hook in self.hooks:
            hook.on_sample(step, page)

    def flush(self) -> None:
        """Tells the hooks that a checkpoint is written."""
        for hook in self.hooks:
            hook.on_save(self.step)

    def close(self) -> None:
        """Tells every hook that the run has ended, once, also where one of them fails.

        They get `record`, or None if the run has not finished.
        """
        if self.hooks:
            hook = self.hooks.pop()
            try:
                hook.on_end(self.record)
            finally:
                self.close()


def read_lines(path: pathlib.Path) -> list[Line]:
    """Returns the lines that can be read; the others are removed when the file is next written."""
    found = map(read_line, read_bytes(path).split(b"\n") if path.exists() else [])
    return [line for line in found if line is not None]


def read_line(text: bytes) -> Line | None:
    """Reads one line of metrics.jsonl; None if it is incomplete or damaged.

    Entries other than numbers are left out.
    """
    try:
        values = parse_json(text, non_finite=True)
    except ValueError:
        return None
    step = values.pop("step", None)
    if type(step) is not int or abs(step) >= 2**53:  # larger integers are not exact as floats
        return None
    numbers = {k: v for k, v in values.items() if v is None or type(v) in (int, float)}
    return Line(text, step, numbers)
