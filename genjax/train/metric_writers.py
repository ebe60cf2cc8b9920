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

    def __init__(
        self, workdir: pathlib.Path, *, after: int, writers: Sequence[str] = (), again: bool = False
    ):
        """Open for appending; lines later than step `after` are dropped: they will come again.

        With `again` that step's line of validation too, which is about to be computed again.
        """
        self.path = workdir / "metrics.jsonl"
        kept = [line for line in _lines(self.path) if _step(line) <= after]
        if again:
            kept = [line for line in kept if _step(line) < after or '"validation_' not in line]
        if self.path.exists():
            part = self.path.with_name("metrics.jsonl.part")
            part.write_text("".join(line + "\n" for line in kept))
            part.replace(self.path)
        self.lines = len(kept)
        if _count(self.path, 0) > len(kept):  # what it was told since is no longer so
            _told(self.path).write_text(f"{len(kept)}\n")
        self.table = "csv" in writers
        self.board = _board(self.path, kept, after, again) if "tensorboard" in writers else None
        if self.table:
            write_csv(self.path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; numbers that are not finite become null."""
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")
        self.lines += 1
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
            _told(self.path).write_text(f"{self.lines}\n")

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
    for line in _lines(path):
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


def write_missing_outputs(workdir: pathlib.Path, writers: Sequence[str]) -> None:
    """What the writers would have left of a run that has finished without them."""
    path = workdir / "metrics.jsonl"
    if "csv" in writers:
        write_csv(path)
    if "tensorboard" in writers:
        lines = [line for line in _lines(path) if _step(line) < math.inf]
        if not any(_events(path)) or _count(path, len(lines)) < len(lines):
            last = max((int(_step(line)) for line in lines), default=0)
            _board(path, lines, last).close()
            _told(path).write_text(f"{len(lines)}\n")


def _board(path: pathlib.Path, lines: Sequence[str], after: int, again: bool = False) -> Any:
    """A TensorBoard writer that knows these lines, and hides what was written of later steps.

    What it was not told of yet, as it was not asked for then, it is told now.
    """
    from tensorboardX import SummaryWriter

    earlier = len(list(_events(path)))
    told = _count(path, len(lines)) if earlier else 0
    untold = [int(_step(line)) for line in lines[told:]]
    # From there on all is hidden, and comes again.
    since = min([after + (not again), *untold])
    board = SummaryWriter(
        str(path.with_name("tensorboard")),
        purge_step=since,
        # Files have the second in their names: without a number, a run cut at once and resumed
        # would write over its own.
        filename_suffix=f".{earlier:04d}",
    )
    if not earlier:  # until it is flushed, nobody knows what will be there after a kill
        _told(path).write_text("0\n")
    for line in lines:
        if _step(line) >= since:
            values = json.loads(line)
            _add(board, values.pop("step"), values)
    return board


def _told(path: pathlib.Path) -> pathlib.Path:
    """The file that says how many lines TensorBoard has been told."""
    return path.with_name("tensorboard") / ".lines"


def _count(path: pathlib.Path, otherwise: int) -> int:
    """What that file says; a folder from before there was one has all lines of its run."""
    try:
        return int(_told(path).read_text())
    except (OSError, ValueError):
        return otherwise


def _lines(path: pathlib.Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


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
        """Begin to count time and steps, at step `initial_image`."""
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
        left = format_duration(seconds / max(1, step - self.start) * (self.total - step))
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        line = (
            f"{self.name}  step {step:,}/{self.total:,}  {shown}  {rate:,.0f} examples/s"
            f"  {left} left"
        )
        self.say(line)

    def passing(self, what: str) -> Callable[[int, int], None]:
        """What tells how far a pass over many examples is. See `progress_callback`."""
        return progress_callback(f"{self.name}  {what}", self.say)

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


def progress_callback(what: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
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
            left = format_duration((now - began) / done * (total - done))
            say(f"{what} {done:,}/{total:,} examples  {left} left")

    return told


def format_duration(seconds: float) -> str:
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
