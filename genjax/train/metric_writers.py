"""Further writers of metrics, as hooks: metrics.csv, TensorBoard, Weights & Biases."""

import abc
import csv
import importlib
import importlib.util
import io
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from genjax.data.file_writing import write_file
from genjax.data.json_files import parse_json
from genjax.train.hooks import Hook
from genjax.train.metric_log import Line, Metrics, read_lines

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check_writers(names: Sequence[str]) -> None:
    """Checks that the packages of the writers are installed, before anything is computed.

    Raises:
      ValueError: a writer's package is not installed.
    """
    for name, package in PACKAGES.items():
        if name in names and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--writers {name} needs {package}, which is not installed; run"
                f" pip install -e '.[{name}]', or leave {name} out."
            )


def add_writers(metrics: Metrics, names: Sequence[str]) -> None:
    """Adds the named writers to the hooks; lines that were written without them are added to them.

    Args:
      metrics: the log of a run that begins or resumes.
      names: "csv", "tensorboard", "wandb".
    """
    path, kept = metrics.path, metrics.kept
    for name in PACKAGES:
        if _count(path, name, 0) > len(kept):  # it has lines that were removed
            _write_count(path, name, len(kept))
    if "csv" in names:
        metrics.hooks.append(Table(path))
    if "tensorboard" in names:
        metrics.hooks.append(TensorBoard(path, kept, metrics.after, metrics.again))
    if "wandb" in names:
        metrics.hooks.append(WeightsAndBiases(path, kept))


def write_missing_outputs(workdir: pathlib.Path, names: Sequence[str]) -> None:
    """Writes the outputs of writers that a finished run was trained without."""
    path = workdir / "metrics.jsonl"
    lines = read_lines(path)
    last = max((line.step for line in lines), default=0)
    if "csv" in names:
        write_csv(path)
    if "tensorboard" in names and (
        not any(_events(path)) or _count(path, "tensorboard", len(lines)) < len(lines)
    ):
        TensorBoard(path, lines, last).on_end(None)
    if "wandb" in names and _count(path, "wandb", 0) < len(lines):
        WeightsAndBiases(path, lines).on_end(None)


class Table(Hook):
    """Writes `metrics.csv`, the same as metrics.jsonl as a table."""

    def __init__(self, path: pathlib.Path):
        """Writes the table of a metrics.jsonl."""
        self.path = path
        write_csv(path)

    def on_save(self, step: int) -> None:
        """Writes the table."""
        write_csv(self.path)

    def on_end(self, record: Mapping[str, Any] | None) -> None:
        """Writes the table."""
        write_csv(self.path)


def write_csv(path: pathlib.Path) -> pathlib.Path:
    """Writes `metrics.csv` beside `metrics.jsonl`: one row per step, one column per metric.

    Columns are in the order in which metrics first appear. Missing and non-finite values are empty;
    lines that cannot be read are left out.
    """
    rows: dict[int, dict[str, Any]] = {}
    for line in read_lines(path):
        rows.setdefault(line.step, {"step": line.step}).update(line.values)
    columns = dict.fromkeys(["step", *(name for row in rows.values() for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    out = path.with_name("metrics.csv")
    write_file(out, text.getvalue().encode())
    return out


class _Board(Hook, abc.ABC):
    """A writer that counts its lines, so that those written without it can be added later."""

    name = ""

    def __init__(self, path: pathlib.Path, lines: Sequence[Line], written: int):
        """Counts the lines of metrics.jsonl, of which some are written."""
        self.path, self.lines = path, len(lines)
        for line in lines[written:]:
            self.add(line.step, line.values)

    @abc.abstractmethod
    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds the finite values of a step."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Writes what is pending, and ends threads."""

    def on_log(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Adds a line."""
        self.lines += 1
        self.add(step, metrics)

    def on_evaluate(self, step: int, metrics: Mapping[str, float | None], best: bool) -> None:
        """Adds a line."""
        self.on_log(step, metrics)

    def on_end(self, record: Mapping[str, Any] | None) -> None:
        """Writes what is pending, and its number of lines."""
        self.finish()
        _write_count(self.path, self.name, self.lines)


class TensorBoard(_Board):
    """Writes metrics and grids of samples to `tensorboard/`."""

    name = "tensorboard"

    def __init__(self, path: pathlib.Path, lines: Sequence[Line], after: int, again: bool = False):
        """Opens a file that holds the lines and hides those of later steps.

        Lines that were written while TensorBoard was not a writer are added.

        Args:
          path: of metrics.jsonl.
          lines: of metrics.jsonl.
          after: step to resume from.
          again: hide that step's lines too.
        """
        from tensorboardX import SummaryWriter

        earlier = len(list(_events(path)))
        written = _count(path, self.name, len(lines)) if earlier else 0
        # Everything from there on is hidden, and written again.
        since = min([after + (not again), *(line.step for line in lines[written:])])
        self.board = SummaryWriter(
            str(path.with_name(self.name)),
            purge_step=since,
            # File names hold the second: without a number, a run that is resumed within a second
            # would overwrite its own file.
            filename_suffix=f".{earlier:04d}",
        )
        if not earlier:  # before the first flush nothing is certain to be on disk
            _write_count(path, self.name, 0)
        super().__init__(path, lines, len(lines))
        for line in lines:
            if line.step >= since:
                self.add(line.step, line.values)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds scalars."""
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self.board.add_scalar(name, value, step)

    def on_sample(self, step: int, page: np.ndarray) -> None:
        """Adds the grid of samples."""
        self.board.add_image("samples", page, step, dataformats="HWC")

    def on_save(self, step: int) -> None:
        """Writes what is pending."""
        self.board.flush()
        _write_count(self.path, self.name, self.lines)

    def finish(self) -> None:
        """Closes the file."""
        self.board.close()


class WeightsAndBiases(_Board):
    """Sends metrics, grids of samples, the settings and the record to Weights & Biases.

    Its environment variables apply: `WANDB_PROJECT` is genjax by default, and `WANDB_MODE=offline`
    sends nothing and writes to `wandb/`. A resumed run continues the same run there, which keeps
    the first values of steps that are repeated.
    """

    name = "wandb"

    def __init__(self, path: pathlib.Path, lines: Sequence[Line]):
        """Begins or continues a run, and adds the lines that it lacks."""
        wandb = importlib.import_module("wandb")
        settings = parse_json(path.with_name("config.json").read_bytes())
        identity = path.with_name(self.name) / ".run"
        identity.parent.mkdir(exist_ok=True)
        if not identity.exists():
            write_file(identity, uuid.uuid4().hex[:8].encode())
        self.wandb = wandb
        self.run = wandb.init(
            id=identity.read_text(),
            resume="allow",
            dir=path.parent,
            config=settings,
            name=f"{settings['experiment']}-seed{settings['seed']}",
            project=None if "WANDB_PROJECT" in os.environ else "genjax",
        )
        super().__init__(path, lines, _count(path, self.name, 0))

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds numbers."""
        self.run.log({k: v for k, v in values.items() if v is not None}, step=step)

    def on_sample(self, step: int, page: np.ndarray) -> None:
        """Adds the grid of samples."""
        self.run.log({"samples": self.wandb.Image(page)}, step=step)

    def on_save(self, step: int) -> None:
        """Notes how many lines were passed on."""
        _write_count(self.path, self.name, self.lines)

    def on_end(self, record: Mapping[str, Any] | None) -> None:
        """Adds the figure, and waits until everything is sent or written."""
        if record is not None:
            self.run.summary.update({k: record[k] for k in ("metric", "obtained", "std_error")})
        super().on_end(record)

    def finish(self) -> None:
        """Ends the run there."""
        self.run.finish()


def _events(path: pathlib.Path) -> Iterator[pathlib.Path]:
    return path.with_name("tensorboard").glob("events.out.tfevents.*")


def _count_file(path: pathlib.Path, name: str) -> pathlib.Path:
    """The file that holds how many lines a writer has."""
    return path.with_name(name) / ".lines"


def _write_count(path: pathlib.Path, name: str, lines: int) -> None:
    write_file(_count_file(path, name), f"{lines}\n".encode())


def _count(path: pathlib.Path, name: str, otherwise: int) -> int:
    """The number in that file, or `otherwise` without one."""
    try:
        return int(_count_file(path, name).read_text())
    except (OSError, ValueError):
        return otherwise
