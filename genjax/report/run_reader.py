"""Reads runs for a page, finished or not, whole or damaged."""

import collections
import dataclasses
import os
import pathlib
from typing import Any

from genjax import checks, families
from genjax.data.file_io import file_size, read_bytes, safe
from genjax.data.image_grid import GridLayout
from genjax.data.json_files import MAX_BYTES, parse_json
from genjax.train import sample_grids
from genjax.train.metric_log import read_line
from genjax.train.named_weights import find_weights
from genjax.train.run_config import Optimizer, Run, to_json
from genjax.train.solved_puzzles import FILE, SolvedPuzzles, read_puzzles
from genjax.train.weights_file import WeightsFile

DEPTH = 4  # levels of folders that are searched for runs
MISSING = object()
POINTS = 2000  # per curve, at most
FRAME_BYTES = 6 * 2**20  # of the grids of a run, at most


@dataclasses.dataclass
class Shown:
    """Everything of a run that can be read from its folder."""

    folder: pathlib.Path
    name: str
    """Path of the folder relative to the one given."""
    label: str = ""
    """Unique name on the page."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings by dotted name."""
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Empty until the run has finished."""
    curves: dict[str, tuple[list[int], list[float | None]]] = dataclasses.field(
        default_factory=dict
    )
    """Steps and values by metric; None for non-finite values."""
    frames: list[tuple[int, bytes]] = dataclasses.field(default_factory=list)
    """Step and PNG of the grids."""
    stages: list[str] = dataclasses.field(default_factory=list)
    """Stage of each grid; empty texts if the networks do not grow."""
    real: bytes | None = None
    """PNG of real images."""
    sheet: GridLayout | None = None
    """Layout that all grids have if their columns have titles."""
    captions: GridLayout | None = None
    """Layout that all grids have if their samples have captions."""
    wrong: list[list[int] | None] = dataclasses.field(default_factory=list)
    """Samples of each grid that do not show what their caption says, where that is known."""
    puzzles: SolvedPuzzles | None = None
    """Puzzles that the run has solved."""
    puzzle_images: bytes = b""
    """PNG of their images, beside one another."""
    strip: sample_grids.Strip | None = None
    film: bytes | None = None
    last_step: int | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    """Messages about what is missing or damaged."""

    @property
    def experiment(self) -> str:
        """Name of the experiment, or of the folder without settings."""
        return str(self.config.get("experiment") or self.name)

    @property
    def family(self) -> str:
        """Name of the family, or empty."""
        return str(self.config.get("family") or "")

    @property
    def pixels(self) -> int | None:
        """Number of pixels of an image, by which nats per example are compared."""
        shape = self.config.get("model.shape")
        if isinstance(shape, list) and len(shape) == 3 and all(map(number, shape)):
            return int(shape[0] * shape[1])
        return None

    def changed(self) -> set[str]:
        """Returns the settings that differ from the defaults of its family."""
        if self.family not in families.FAMILIES:
            return set()
        networks = {name.split(".")[1] for name in self.config if name.startswith("optimizer.")}
        fields = {field.name for field in dataclasses.fields(Optimizer)}
        optimizer: Any = {name: Optimizer() for name in networks - fields} or Optimizer()
        default = Run(
            experiment="default",
            family=self.family,
            model=families.get(self.family).Config(),
            optimizer=optimizer,
        )
        values = _flat(to_json(default))
        same = {"experiment", "family"}
        return {n for n, v in self.config.items() if n not in same and values.get(n, MISSING) != v}

    @property
    def density(self) -> str:
        """`exact`, `bound` or `none`; empty for an unknown family."""
        if self.family not in families.FAMILIES:
            return ""
        family = families.get(self.family)
        return str(family.traits(family.Config()).density)


def find_runs(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders with a `config.json`: this one, or those up to four levels below.

    Of a weights file, or a name of weights, it returns the file.

    Raises:
      ValueError: there is none.
    """
    if (root / "config.json").is_file():
        return [root]
    if not root.is_dir() and (weights := find_weights(str(root))):
        return [weights]
    found = []
    for folder, inside, files in os.walk(root):
        path = pathlib.Path(folder)
        if "config.json" in files:
            found.append(path)
            inside.clear()  # a run contains no other runs
        elif len(path.relative_to(root).parts) >= DEPTH:
            inside.clear()
        inside[:] = sorted(name for name in inside if not name.startswith("."))
    if not found:
        raise ValueError(
            f"{root} holds no run: there is no config.json in it or up to {DEPTH} folders below;"
            f" give the folder of a run, or a folder of runs."
        )
    return found


def read_run(folder: pathlib.Path, name: str) -> Shown:
    """Reads a run; `notes` list what cannot be read.

    Raises:
      ValueError: `folder` is a file, and no whole weights file.
    """
    run = Shown(folder, name)
    if folder.is_file():
        weights = WeightsFile(folder)
        run.record, run.config = weights.record(), _flat(to_json(weights.settings()))
        run.notes.append("Read from a weights file, which has no curves and samples.")
        return run
    config = _json(folder / "config.json", run)
    if (folder / "record.json").exists():
        run.record = _json(folder / "record.json", run)
    else:
        run.notes.append("Not finished: no record and no figure yet.")
    if not config and isinstance(run.record.get("config"), dict):
        config = run.record["config"]
    run.config = _flat(config)
    _read_metrics(run)
    read_samples(run, folder / "samples")
    return run


def named(runs: list[Shown]) -> list[Shown]:
    """Sets unique labels: the experiment, with seed or folder if that is not unique."""
    seeded = [f"{run.experiment}, seed {run.config.get('seed', '?')}" for run in runs]
    for options in ([run.experiment for run in runs], seeded, [run.name for run in runs]):
        times = collections.Counter(options)
        for run, option in zip(runs, options, strict=True):
            run.label = run.label or (option if times[option] == 1 else "")
    seen: collections.Counter[str] = collections.Counter()
    for run in runs:
        run.label = run.label or str(run.folder)
        seen[run.label] += 1
        if seen[run.label] > 1:
            run.label = f"{run.label} ({seen[run.label]})"
    return runs


def number(value: Any) -> float | int | None:
    """Returns a finite number, or None for any other JSON value."""
    return value if checks.matches(float, value) else None


def _json(path: pathlib.Path, run: Shown) -> dict[str, Any]:
    try:
        return parse_json(read_bytes(path, MAX_BYTES))
    except ValueError as error:
        run.notes.append(f"{path.name} cannot be read ({safe(str(error).rstrip('.'), 300)}).")
        return {}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value
    return out


def _read_metrics(run: Shown) -> None:
    path = run.folder / "metrics.jsonl"
    try:
        lines = read_bytes(path).split(b"\n")
    except ValueError:
        run.notes.append("No metrics.jsonl, so no curves.")
        return
    found: dict[str, dict[int, float | None]] = {}
    damaged = 0
    for text in filter(bytes.strip, lines):
        line = read_line(text)
        if line is None:
            damaged += 1
            continue
        for name, value in line.values.items():
            found.setdefault(name, {})[line.step] = value
        run.last_step = max(line.step, run.last_step or 0)
    if damaged:
        lines_are = "1 line is" if damaged == 1 else f"{damaged} lines are"
        run.notes.append(f"metrics.jsonl: {lines_are} damaged and omitted.")
    if not found:
        run.notes.append("metrics.jsonl has no metrics yet, so no curves.")
    for name, values in found.items():
        kept = sample_grids.thin(sorted(values.items()), POINTS)
        run.curves[name] = ([step for step, _ in kept], [value for _, value in kept])
        if len(values) > POINTS:
            run.notes.append(f"{name}: {POINTS:,} of {len(values):,} values are shown.")


def read_samples(run: Shown, folder: pathlib.Path) -> None:
    """Reads the grids, the real images and the solved puzzles of a run's `samples/`."""
    _read_grids(run, folder)
    real, puzzles = folder / sample_grids.REAL, folder / FILE
    try:
        if real.exists():
            sample_grids.read_grid(real)
            run.real = read_bytes(real, FRAME_BYTES)
    except ValueError:
        run.notes.append(f"{real.name} cannot be read.")
    try:
        if puzzles.exists():
            run.puzzles, run.puzzle_images = read_puzzles(puzzles), read_bytes(puzzles, FRAME_BYTES)
    except ValueError:
        run.notes.append(f"{puzzles.name} cannot be read.")


def _read_grids(run: Shown, folder: pathlib.Path) -> None:
    paths = sample_grids.grids(folder)
    whole, damaged, layouts = [], [], dict[int, GridLayout | None]()
    for step, path in sample_grids.thin(list(paths.items()), sample_grids.FRAMES):
        try:
            layouts[step] = sample_grids.read_grid(path)[1]
            whole.append((step, path, file_size(path)))
        except ValueError:
            damaged.append(path.name)
    if damaged:
        run.notes.append(f"{', '.join(damaged)} cannot be read.")
    while len(whole) > 2 and sum(size for _, _, size in whole) > FRAME_BYTES:
        whole = sample_grids.thin(whole, len(whole) // 2 + 1)
    run.frames = [(step, read_bytes(path)) for step, path, _ in whole]
    if not run.frames:
        run.notes.append("No samples yet.")
        return
    run.stages = [tiles.stage if (tiles := layouts[step]) else "" for step, _ in run.frames]
    layout, *others = set(layouts.values())
    if layout and not others and len(layout.titles) == layout.columns > 1:
        run.sheet = layout
    if layout and not others and layout.captions:
        run.captions = layout
        wrong = [tiles.wrong if (tiles := layouts[step]) else None for step, _ in run.frames]
        run.wrong = [None if numbers is None else list(numbers) for numbers in wrong]
    run.strip, run.film = sample_grids.strip(paths), sample_grids.write_gif(paths)
