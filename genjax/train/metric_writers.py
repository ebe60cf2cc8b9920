"""Writers of metrics: metrics.jsonl, metrics.csv, TensorBoard, and progress on the terminal."""

import contextlib
import csv
import importlib.util
import io
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax.data.file_io import read_bytes
from genjax.data.file_writing import no_follow, write_file
from genjax.data.json_files import parse_json


def check_writers(names: Sequence[str]) -> None:
    """Checks that the packages of the writers are installed, before anything is computed.

    Raises:
      ValueError: tensorboard is requested and tensorboardX is not installed.
    """
    if "tensorboard" in names and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "--writers tensorboard needs tensorboardX, which is not installed; run"
            " pip install -e '.[tensorboard]', or leave tensorboard out."
        )


EVERY = 30.0
"""Seconds between two progress lines of a long evaluation."""


class Metrics:
    """Writes `metrics.jsonl`, one JSON object with its `step` per line.

    With `Train.writers` also `metrics.csv`, the same as a table, and `tensorboard/`, which holds
    the grids of samples too.
    """

    def __init__(
        self, workdir: pathlib.Path, *, after: int, writers: Sequence[str] = (), again: bool = False
    ):
        """Opens the file for appending.

        Args:
          workdir: folder of the run.
          after: step to resume from; later lines are removed.
          writers: "csv", "tensorboard".
          again: remove that step's validation too, since it is computed again.
        """
        self.path = workdir / "metrics.jsonl"
        kept = [line for line in _lines(self.path) if line.step <= after]
        if again:
            kept = [line for line in kept if line.step < after or not line.validation()]
        if self.path.exists():
            write_file(self.path, b"".join(line.text + b"\n" for line in kept))
        self.lines = len(kept)
        if _count(self.path, 0) > len(kept):  # TensorBoard has lines that were removed
            _write_count(self.path, len(kept))
        self.table = "csv" in writers
        self.board = _board(self.path, kept, after, again) if "tensorboard" in writers else None
        if self.table:
            write_csv(self.path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line; non-finite numbers become null."""
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with open(self.path, "a", opener=no_follow) as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")
        self.lines += 1
        _add(self.board, step, clean)

    def image(self, step: int, page: np.ndarray) -> None:
        """Writes a grid of samples, uint8 `[H, W, 3]`, to TensorBoard."""
        if self.board:
            self.board.add_image("samples", page, step, dataformats="HWC")

    def flush(self) -> None:
        """Writes the table and TensorBoard up to the last line."""
        if self.table:
            write_csv(self.path)
        if self.board:
            self.board.flush()
            _write_count(self.path, self.lines)

    def close(self) -> None:
        """Flushes, and ends TensorBoard's thread."""
        self.flush()
        if self.board:
            self.board.close()
            self.board = None


def write_csv(path: pathlib.Path) -> pathlib.Path:
    """Writes `metrics.csv` beside `metrics.jsonl`: one row per step, one column per metric.

    Columns are in the order in which metrics first appear. Missing and non-finite values are empty;
    lines that cannot be read are left out.
    """
    rows: dict[int, dict[str, Any]] = {}
    for line in _lines(path):
        rows.setdefault(line.step, {"step": line.step}).update(line.values)
    columns = dict.fromkeys(["step", *(name for row in rows.values() for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    out = path.with_name("metrics.csv")
    write_file(out, text.getvalue().encode())
    return out


def write_missing_outputs(workdir: pathlib.Path, writers: Sequence[str]) -> None:
    """Writes the outputs of writers that a finished run was trained without."""
    path = workdir / "metrics.jsonl"
    if "csv" in writers:
        write_csv(path)
    if "tensorboard" in writers:
        lines = _lines(path)
        if not any(_events(path)) or _count(path, len(lines)) < len(lines):
            last = max((line.step for line in lines), default=0)
            _board(path, lines, last).close()
            _write_count(path, len(lines))


class Line(NamedTuple):
    """One line of metrics.jsonl."""

    text: bytes
    step: int
    values: dict[str, float | int | None]
    """Without the step; None for non-finite numbers."""

    def validation(self) -> bool:
        """Returns whether it holds metrics of the validation split."""
        return any(name.startswith("validation_") for name in self.values)


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


def _board(path: pathlib.Path, lines: Sequence[Line], after: int, again: bool = False) -> Any:
    """Returns a TensorBoard writer that holds these lines and hides those of later steps.

    Lines that were written while TensorBoard was not a writer are added.
    """
    from tensorboardX import SummaryWriter

    earlier = len(list(_events(path)))
    written = _count(path, len(lines)) if earlier else 0
    missing = [line.step for line in lines[written:]]
    # Everything from there on is hidden, and written again.
    since = min([after + (not again), *missing])
    board = SummaryWriter(
        str(path.with_name("tensorboard")),
        purge_step=since,
        # File names hold the second: without a number, a run that is resumed within a second would
        # overwrite its own file.
        filename_suffix=f".{earlier:04d}",
    )
    if not earlier:  # before the first flush nothing is certain to be on disk
        _write_count(path, 0)
    for line in lines:
        if line.step >= since:
            _add(board, line.step, line.values)
    return board


def _count_file(path: pathlib.Path) -> pathlib.Path:
    """The file that holds how many lines TensorBoard has."""
    return path.with_name("tensorboard") / ".lines"


def _write_count(path: pathlib.Path, lines: int) -> None:
    write_file(_count_file(path), f"{lines}\n".encode())


def _count(path: pathlib.Path, otherwise: int) -> int:
    """The number in that file, or `otherwise` without one."""
    try:
        return int(_count_file(path).read_text())
    except (OSError, ValueError):
        return otherwise


def _lines(path: pathlib.Path) -> list[Line]:
    """Returns the lines that can be read; the others are removed when the file is next written."""
    found = map(read_line, read_bytes(path).split(b"\n") if path.exists() else [])
    return [line for line in found if line is not None]


def _events(path: pathlib.Path) -> Iterator[pathlib.Path]:
    return path.with_name("tensorboard").glob("events.out.tfevents.*")


def _add(board: Any, step: int, values: Mapping[str, Any]) -> None:
    for name, value in values.items() if board else ():
        if isinstance(value, (int, float)):
            board.add_scalar(name, value, step)


class Progress:
    """Prints a line per log with rate and remaining time, and a bar if the output is a terminal."""

    def __init__(self, name: str, total: int, *, quiet: bool = False):
        """For a run of `total` steps."""
        self.name, self.total, self.quiet = name, total, quiet
        self._bar: Any = None
        self.begin(0)

    def begin(self, start: int) -> None:
        """Starts to count time and steps, from step `start`."""
        self.began, self.start = time.monotonic(), start
        if start or self._bar is None:
            self.close()
            terminal = not self.quiet and sys.stderr.isatty()
            self._bar = _bar(self.name, start, self.total) if terminal else None

    def advance(self, step: int) -> None:
        """Moves the bar to a step that is done."""
        if self._bar:
            self._bar[0].update(self._bar[1], completed=step)

    def log(self, step: int, values: Mapping[str, float], rate: float) -> None:
        """Prints a line of metrics; `rate` is examples per second."""
        if self.quiet:
            return
        seconds = time.monotonic() - self.began
        left = format_duration(seconds / max(1, step - self.start) * (self.total - step))
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        line = (
            f"{self.name}  step {step:,}/{self.total:,}  {shown}  {rate:,.0f} examples/s"
            f"  {left} left"
        )
        self.say(line)

    def passing(self, what: str) -> Callable[[int, int], None]:
        """Returns a `progress_callback` that prints with the name of the run."""
        return progress_callback(f"{self.name}  {what}", self.say)

    def say(self, line: str) -> None:
        """Prints a line above the bar; nothing where the terminal or the pipe is closed."""
        if self.quiet:
            return
        with contextlib.suppress(OSError):
            if self._bar:
                self._bar[0].console.print(line, highlight=False, markup=False)
            else:
                print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._bar[0].stop()


def progress_callback(
    what: str, say: Callable[[str], None], unit: str = "examples"
) -> Callable[[int, int], None]:
    """Returns `report(done, total)`, which prints a line every 30 seconds with the remaining time.

    Args:
      what: name of the operation over many examples.
      say: prints a line.
      unit: of what is counted.
    """
    began = printed = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= EVERY and done < total:
            printed = now
            left = format_duration((now - began) / done * (total - done))
            say(f"{what} {done:,}/{total:,} {unit}  {left} left")

    return report


def format_duration(seconds: float) -> str:
    """Returns minutes and seconds.

    >>> format_duration(83.9)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _bar(name: str, start: int, total: int) -> Any:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:  # an optional package: without it there are lines only
        return None
    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(name, total=total, completed=start)
    bar.start()
    return bar, task
