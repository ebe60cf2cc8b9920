"""What a run leaves in numbers: lines, a table, TensorBoard, progress on the terminal."""

import csv
import importlib.util
import io
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def check_writers(names: Sequence[str]) -> None:
    """Refuse a writer whose package is missing, before anything is computed.

    Raises:
      ValueError: tensorboard is asked for and tensorboardX is not installed.
    """
    if "tensorboard" in names and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "--writers tensorboard needs tensorboardX, which is not installed; run"
            " pip install -e '.[tensorboard]', or leave tensorboard out."
        )


EVERY = 30.0
"""Seconds between two lines of a long pass over examples."""


class Metrics:
    """`metrics.jsonl`: one JSON object a line, each with its `step`; the rest is made of it.

    Also keeps what `Train.writers` asks for: `metrics.csv`, the same as a table, and
    `tensorboard/`, with the grids of samples beside the numbers.
    """

    def __init__(self, workdir: pathlib.Path, *, after: int, writers: Sequence[str] = ()):
        """Open for appending; lines later than step `after` are dropped: they will come again."""
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(errors="replace").splitlines()
            kept = [line for line in lines if _step(line) <= after]
            part = self.path.with_name("metrics.jsonl.part")
            part.write_text("".join(line + "\n" for line in kept))
            part.replace(self.path)
        self.last = after
        self.table = "csv" in writers
        self.board = _board(self.path, after) if "tensorboard" in writers else None
        if self.table:
            write_csv(self.path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; numbers that are not finite become null."""
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")
        self.last = max(self.last, step)
        _add(self.board, step, clean)

    def image(self, step: int, page: np.ndarray) -> None:
        """A grid of samples, uint8 `[H, W, 3]`, for TensorBoard."""
        if self.board:
            self.board.add_image("samples", page, step, dataformats="HWC")

    def flush(self) -> None:
        """Bring the table and TensorBoard up to the last line."""
        if self.table:
            write_csv(self.path)
        if self.board:
            self.board.flush()
            _written(self.path).write_text(f"{self.last}\n")

    def close(self) -> None:
        """Flush, and end TensorBoard's thread."""
        self.flush()
        if self.board:
            self.board.close()
            self.board = None


def write_csv(path: pathlib.Path) -> pathlib.Path:
    """Write `metrics.jsonl` as `metrics.csv` beside it: a row a step, a column a metric.

    Columns are in the order in which metrics first appear; what a step has not, or what is not
    finite, is empty. Lines that cannot be read are left out.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        if _step(line) < math.inf:
            values = json.loads(line)
            rows.setdefault(values["step"], {}).update(values)
    columns = dict.fromkeys(["step", *(name for row in rows.values() for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    out = path.with_name("metrics.csv")
    part = out.with_name("metrics.csv.part")
    part.write_text(text.getvalue())
    part.replace(out)
    return out


def catch_up(workdir: pathlib.Path, writers: Sequence[str]) -> None:
    """What the writers would have left of a run that has finished without them."""
    path = workdir / "metrics.jsonl"
    if "csv" in writers:
        write_csv(path)
    if "tensorboard" in writers:
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        last = max((int(_step(line)) for line in lines if _step(line) < math.inf), default=0)
        if not any(_events(path)) or last > _shown(path, last):
            _board(path, last).close()
            _written(path).write_text(f"{last}\n")


def _board(path: pathlib.Path, after: int) -> Any:
    """A TensorBoard writer that hides what was written later than step `after`."""
    from tensorboardX import SummaryWriter

    earlier = len(list(_events(path)))
    shown = _shown(path, after) if earlier else -1
    board = SummaryWriter(
        str(path.with_name("tensorboard")),
        # Steps up to `after` stay; those from the next on are hidden, and come again.
        purge_step=after + 1,
        # Files have the second in their names: without a number, a run cut at once and resumed
        # would write over its own.
        filename_suffix=f".{earlier:04d}",
    )
    # What was written while TensorBoard was not asked for.
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        if shown < _step(line) <= after:
            values = json.loads(line)
            _add(board, values.pop("step"), values)
    return board


def _written(path: pathlib.Path) -> pathlib.Path:
    """The file that says up to which step TensorBoard has been told."""
    return path.with_name("tensorboard") / ".written"


def _shown(path: pathlib.Path, otherwise: int) -> int:
    """What that file says; a folder from before there was one has all steps of its run."""
    try:
        return int(_written(path).read_text())
    except (OSError, ValueError):
        return otherwise


def _events(path: pathlib.Path) -> Iterator[pathlib.Path]:
    return path.with_name("tensorboard").glob("events.out.tfevents.*")


def _add(board: Any, step: int, values: Mapping[str, Any]) -> None:
    for name, value in values.items() if board else ():
        if isinstance(value, (int, float)):
            board.add_scalar(name, value, step)


def _step(line: str) -> float:
    """The step of a line; infinity for a line cut in the middle, which is dropped."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return step if type(step) is int else math.inf


class Progress:
    """One line a log with rate and time left; a moving bar where the output is a terminal."""

    def __init__(self, name: str, total: int, *, quiet: bool = False):
        """For a run of `total` steps."""
        self.name, self.total, self.quiet = name, total, quiet
        self._bar: Any = None
        self.begin(0)

    def begin(self, start: int) -> None:
        """Begin to count time and steps, at step `start`."""
        self.began, self.start = time.monotonic(), start
        if start or self._bar is None:
            self.close()
            terminal = not self.quiet and sys.stderr.isatty()
            self._bar = _bar(self.name, start, self.total) if terminal else None

    def advance(self, step: int) -> None:
        """Move the bar; dispatch is asynchronous, so it runs a little ahead of the device."""
        if self._bar:
            self._bar[0].update(self._bar[1], completed=step)

    def log(self, step: int, values: Mapping[str, float], rate: float) -> None:
        """Print a line of metrics: `rate` is examples a second."""
        if self.quiet:
            return
        seconds = time.monotonic() - self.began
        left = clock(seconds / max(1, step - self.start) * (self.total - step))
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        line = (
            f"{self.name}  step {step:,}/{self.total:,}  {shown}  {rate:,.0f} examples/s"
            f"  {left} left"
        )
        self.say(line)

    def passing(self, what: str) -> Callable[[int, int], None]:
        """What tells how far a pass over many examples is. See `passing`."""
        return passing(f"{self.name}  {what}", self.say)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.quiet:
            return
        if self._bar:
            self._bar[0].console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar down."""
        if self._bar:
            self._bar[0].stop()


def passing(what: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """`told(done, total)` of a pass over examples: a line every 30 seconds, with the time left.

    A pass that ends sooner says nothing.

    Args:
      what: the pass, in words.
      say: prints a line.
    """
    began = said = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= EVERY and done < total:
            said = now
            left = clock((now - began) / done * (total - done))
            say(f"{what} {done:,}/{total:,} examples  {left} left")

    return told


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(83.9)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _bar(name: str, start: int, total: int) -> Any:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:  # plain lines do on machines with JAX's own packages only
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
