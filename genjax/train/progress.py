"""Progress of a run on the terminal: lines, and a bar."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

EVERY = 30.0
"""Seconds between two progress lines of a long evaluation."""


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
