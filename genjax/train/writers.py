"""What a run leaves to look at: lines of metrics, grids of samples, progress on the terminal."""

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


class Metrics:
    """`metrics.jsonl`: one JSON object a line, each with its `step`."""

    def __init__(self, workdir: pathlib.Path, *, after: int):
        """Open for appending; lines later than step `after` are dropped: they will come again."""
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= after]
            part = self.path.with_name("metrics.jsonl.part")
            part.write_text("".join(line + "\n" for line in kept))
            part.replace(self.path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; numbers that are not finite become null."""
        clean = {k: (v if math.isfinite(v) else None) for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **clean}) + "\n")


def _step(line: str) -> float:
    """The step of a line; infinity for a line cut in the middle, which is dropped."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def grid(images: np.ndarray, low: float = 0.0, high: float = 1.0, scale: int = 0) -> np.ndarray:
    """Images side by side, as square as it gets: `[N, ...]` in [low, high] -> uint8 `[H, W, 3]`.

    Events `(D,)` are drawn as one row each, or as a square where D is one. `scale` repeats
    pixels; 0 takes the scale that makes an image about 56 pixels high.
    """
    x = np.asarray(images, np.float32)
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        x = x.reshape(len(x), side, side) if side**2 == x.shape[1] else x[:, None, :]
    if x.ndim == 3:
        x = x[..., None]
    x = np.clip((x - low) / (high - low), 0, 1)
    if x.shape[-1] == 2:  # two channels are shown as red and green
        x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
    x = np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x[..., :3]
    scale = scale or max(1, 56 // max(x.shape[1], 2))
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    columns = math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    gap = 2
    height, width = x.shape[1] + gap, x.shape[2] + gap
    page = np.full((rows * height + gap, columns * width + gap, 3), 0.5, np.float32)
    for i, image in enumerate(x):
        top, left = gap + (i // columns) * height, gap + (i % columns) * width
        page[top : top + image.shape[0], left : left + image.shape[1]] = image
    return (page * 255 + 0.5).astype(np.uint8)


def save_grid(path: pathlib.Path, images: Any, low: float = 0.0, high: float = 1.0) -> None:
    """Write a grid as PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid(np.asarray(images), low, high)).save(path)


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
        left = seconds / max(1, step - self.start) * (self.total - step)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        line = (
            f"{self.name}  step {step:,}/{self.total:,}  {shown}  {rate:,.0f} examples/s"
            f"  {int(left) // 60}:{int(left) % 60:02d} left"
        )
        self.say(line)

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
