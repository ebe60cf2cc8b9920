"""`genjax solve RUN INPUT OUT`: restores images from their shuffled pieces.

    genjax solve RUN pieces restored.png             # a folder of pieces, in files of any names
    genjax solve RUN pieces restored.png --missing 1 # one piece is known to be missing
    genjax solve RUN photo.jpg restored.png --grid 3 # an image: cut, shuffled, solved, compared
    genjax solve RUN puzzles restored                # a folder of folders of pieces

OUT is the name of an image, by default PNG, or a folder. The image is made of the pieces' own
pixels; beside it, OUT.json has the row and column found of every piece (from 0, at the top left)
and its probability. Fewer pieces than the run's grid has leave grey positions, transparent where
pieces have opacity. Orientation by EXIF is applied, CMYK becomes RGB, 16 bits become 8.
"""

import argparse
import contextlib
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, families
from genjax.cli.image_jobs import Job, check_targets
from genjax.cli.options import ArgumentParser, command
from genjax.cli.piece_files import (
    CutImage,
    Pieces,
    Puzzle,
    as_size,
    cut_image,
    find_puzzles,
    network_input,
    order_of_contents,
    read_pieces,
    restored_picture,
)
from genjax.core.protocols import PermutationLogits, PuzzleSolver
from genjax.core.puzzle_orders import draw_orders
from genjax.core.puzzles import border_costs
from genjax.data.file_io import safe
from genjax.data.file_writing import write_file
from genjax.data.image_encoding import encode
from genjax.evals.puzzle_solutions import solve
from genjax.train.checkpoint import write_json
from genjax.train.load_run import load
from genjax.train.progress import Progress, progress_callback
from genjax.train.run_config import Run
from genjax.train.run_files import run_files

FEWER = "or smaller pieces"


@command(FEWER)
def main(argv: list[str]) -> None:
    """Solves puzzles and writes the restored images."""
    options = parse(argv)
    puzzles, others = find_puzzles(options.input, options.out)
    written = [path for puzzle in puzzles for path in (puzzle.target, puzzle.order_file)]
    sources = [puzzle.source for puzzle in puzzles for _ in range(2)]
    jobs = [Job(i, *pair) for i, pair in enumerate(zip(sources, written, strict=True))]
    check_targets(jobs, None, options.overwrite)
    run, variables = load(options.workdir)
    family = families.get(run.family)
    if not isinstance(family, PuzzleSolver):
        raise ValueError(
            f"{run.family} in {safe(options.workdir)} solves no puzzles; give the folder of a run"
            f" of {' or '.join(families.implementing(PuzzleSolver))}."
        )
    solver = Solver(options, run, family, variables, len(puzzles))
    # A bar is closed before anything is printed, which it would redirect to stderr.
    if puzzles[0].source == options.input:
        with contextlib.closing(solver.progress):
            found = solver.solve(puzzles[0])
        print(summary(found, puzzles[0]))
    else:
        solve_all(solver, puzzles, others)


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses and checks the command's options."""
    parser = ArgumentParser("solve", __doc__)
    add = parser.add_argument
    path: dict[str, Any] = {"type": pathlib.Path}
    parser.add_run("RUN")
    add("input", **path, metavar="INPUT", help="an image, a folder of pieces, or one of such")
    add("out", **path, metavar="OUT", help="name of the restored image, or folder")
    add("--grid", type=int, nargs="+", metavar="N", help="N, or rows and columns; the run's own")
    add("--missing", type=int, metavar="K", help="missing pieces (as many as files are missing)")
    text = "weight of the border costs beside the network (that of the run's metric `puzzle`, or 0)"
    add("--border-weight", type=float, metavar="W", help=text)
    add("--seed", type=int, default=0, help="seed of the order in which an image is shuffled (0)")
    add("--overwrite", action="store_true", help="replace files that exist")
    options = parser.parse_args(argv)
    if options.grid is not None:
        checks.positive(grid=options.grid)
        if len(options.grid) > 2:
            raise ValueError(f"`grid` must be N, or rows and columns, got {options.grid}.")
    if options.missing is not None:
        checks.not_negative(missing=options.missing)
    if options.border_weight is not None:
        checks.not_negative(border_weight=options.border_weight)
        if not math.isfinite(options.border_weight):
            raise ValueError(f"`border_weight` must be finite, got {options.border_weight}.")
    checks.seed(seed=options.seed)
    return options


def recorded_metric(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the values of the metric `puzzle` in the record of a run, empty without it."""
    metrics = run_files(workdir).record().get("final_metrics")
    metric = metrics.get("puzzle") if isinstance(metrics, dict) else None
    return metric if isinstance(metric, dict) else {}


def recorded_border_weight(metric: dict[str, Any], missing: int) -> float:
    """Returns the weight that the metric `puzzle` chose for this number of missing pieces.

    That of the next smaller number stands in for one that was not measured; without any it is 0.

    >>> recorded_border_weight({"fused_gap_0_border_weight": 4.0}, 1)
    4.0
    """
    for kind in (*(f"missing_{k}" for k in range(missing, 0, -1)), "gap_0"):
        weight = metric.get(f"fused_{kind}_border_weight")
        if isinstance(weight, int | float) and 0 <= weight < math.inf:
            return float(weight)
    return 0.0


class Solver:
    """One call of the command: the run and its options."""

    def __init__(
        self,
        options: argparse.Namespace,
        run: Run,
        family: Any,
        variables: Any,
        total: int,
    ):
        """Checks the options against the run, and begins to show the progress of `total` puzzles.

        Raises:
          ValueError: the grid is another one, or the run has pieces that files cannot have.
        """
        self.options, self.run, self.family, self.variables = options, run, family, variables
        self.config = run.model
        self.grid: tuple[int, int] = family.grid(run.model)
        self.number = math.prod(self.grid)
        height, width, self.channels = run.model.shape
        self.side = height // self.grid[0], width // self.grid[1]
        self.listed = isinstance(family, PermutationLogits)
        given = options.grid and tuple(options.grid) * (3 - len(options.grid))
        if given and given != self.grid:
            raise ValueError(
                f"--grid is {as_size(given)}, and the run in {safe(options.workdir)} solves"
                f" {as_size(self.grid)} pieces; leave out --grid, or give a run of that grid."
            )
        if self.channels not in (1, 3):
            raise ValueError(
                f"this run solves puzzles of {self.channels} channels, and files have 1 or 3; use"
                f" `genjax.evals.puzzle_solutions.solve` on arrays."
            )
        if (options.missing or 0) >= self.number:
            raise ValueError(
                f"--missing must be below {self.number}, the pieces of the run's"
                f" {as_size(self.grid)} grid, got {options.missing}."
            )
        self.recorded = (
            {} if options.border_weight is not None else recorded_metric(options.workdir)
        )
        self.progress = Progress("solve", total)

    def solve(self, puzzle: Puzzle) -> dict[str, Any]:
        """Solves a puzzle, writes image and order, and returns what is in the JSON file."""
        truth = None if puzzle.files else self.cut_image(puzzle)
        pieces = self.read_folder(puzzle) if truth is None else truth.shuffled()
        weight = self.options.border_weight
        if weight is None:
            weight = recorded_border_weight(self.recorded, self.number - len(pieces))
        order, probabilities, confidence = self.find(pieces, weight)
        entries: dict[str, dict[str, Any]] = {
            name: {**self.place(position), "probability": float(probability)}
            for name, position, probability in zip(pieces.names, order, probabilities, strict=True)
        }
        found = {
            "family": self.run.family,
            "experiment": self.run.experiment,
            "input": str(puzzle.source),
            "image": puzzle.target.name,
            "grid": list(self.grid),
            "piece_size": list(pieces.pixels.shape[1:3]),
            "border_weight": weight,
            "confidence": confidence,
            "pieces": entries,
            "missing": [self.place(p) for p in range(self.number) if p not in order],
            "skipped": puzzle.skipped,
        }
        if self.listed:
            found["orders"] = len(self.family.permutations(self.config))
        if truth is not None:
            for entry, position in zip(entries.values(), truth.positions, strict=True):
                entry["true"] = self.place(position)
            right = truth.right(order)
            found["image_size"] = list(truth.size)
            found["pieces_right"], found["right"] = int(right.sum()), bool(right.all())
        puzzle.target.parent.mkdir(parents=True, exist_ok=True)
        image = restored_picture(pieces, order, self.grid)
        write_file(puzzle.target, encode(image, puzzle.target.name))
        write_json(puzzle.order_file, found)
        return found

    def place(self, position: int) -> dict[str, int]:
        """Returns row and column of a position."""
        row, column = divmod(int(position), self.grid[1])
        return {"row": row, "column": column}

    def read_folder(self, puzzle: Puzzle) -> Pieces:
        """Reads the pieces of a folder and checks their number.

        Raises:
          ValueError: there are more than the grid has, or not as many as `--missing` leaves; or one
            cannot be read, and `--missing` does not count it.
        """
        where, grid, count = safe(puzzle.source), as_size(self.grid), len(puzzle.files)
        if count > self.number:
            raise ValueError(
                f"{where} has {count} images, and the run's puzzles have {self.number} pieces"
                f" ({grid}); remove {count - self.number}, or give a run of another grid."
            )
        pieces, errors = read_pieces(puzzle, self.number)
        missing = self.number - len(pieces)
        refused = bool(errors) and self.options.missing != missing
        for error in errors:
            self.progress.say(f"{'error' if refused else 'left out'}: {error}")
        if refused:
            raise ValueError(
                f"{len(errors)} of {count} pieces in {where} cannot be read; replace them, or solve"
                f" the puzzle without them by --missing {missing}."
            )
        if self.options.missing not in (None, missing):
            raise ValueError(
                f"--missing is {self.options.missing}, and {where} has {len(pieces)} of"
                f" {self.number} pieces ({grid}); set --missing {missing}, or leave it out."
            )
        self.check_missing(missing)
        return pieces

    def cut_image(self, puzzle: Puzzle) -> CutImage:
        """Cuts an image, and draws the order of its pieces."""
        missing = self.options.missing or 0
        self.check_missing(missing)
        key = jax.random.key(self.options.seed)
        order = np.asarray(draw_orders(self.family, self.config, key, 1))[0]
        return cut_image(puzzle.source, self.grid, order[: self.number - missing])

    def check_missing(self, missing: int) -> None:
        """Raises ValueError if pieces are missing and the run needs all of them."""
        if missing and self.listed:
            raise ValueError(
                f"{missing} of {self.number} pieces missing, and {self.run.family} takes whole"
                f" puzzles; add the pieces, or give a run of a family that scores positions."
            )

    def find(self, pieces: Pieces, weight: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns the positions of the pieces, their probabilities, and the confidence."""
        count, limits = len(pieces), self.family.traits(self.config).sample_range
        # By contents, so that names decide nothing, not even ties.
        index = np.arange(count) if self.listed else order_of_contents(pieces)
        pieces = pieces.take(index)
        x = network_input(pieces, self.number, self.side, self.channels, limits)[None]
        present = np.arange(self.number)[None] < count
        found = solve(
            self.family,
            self.config,
            self.variables,
            x,
            None if count == self.number else present,
            border_weight=weight,
            costs=self.costs(pieces)[None] if weight else None,
        )
        back = np.argsort(index)
        orders, probabilities = found.orders[0, back], found.probabilities[0, back]
        return orders, probabilities, float(found.confidence[0])

    def costs(self, pieces: Pieces) -> np.ndarray:
        """Returns the border costs at the size of the files, `[2, N, N]`; 0 of missing pieces."""
        x = pieces.on_white()
        ends = [x[:, :, [0, -1]], x[:, [0, -1]]]  # the columns and rows at the borders
        scaled = [jnp.asarray(e, jnp.float32)[None] / 127.5 - 1 for e in ends]
        costs = np.zeros((2, self.number, self.number), np.float32)
        for axis, end in enumerate(scaled):
            costs[axis, : len(x), : len(x)] = border_costs(end)[0, axis]
        return costs


def solve_all(solver: Solver, puzzles: list[Puzzle], others: int) -> None:
    """Solves folders of pieces one after another, and prints an error line for each that fails.

    Raises:
      ValueError: a puzzle could not be solved.
    """
    progress = solver.progress
    report = progress_callback("solve", progress.say, "puzzles")
    confidence = []
    try:
        for done, puzzle in enumerate(puzzles, 1):
            try:
                confidence.append(solver.solve(puzzle)["confidence"])
            except checks.USER_ERRORS as error:
                message = checks.error_message(error, FEWER)
                named = str(safe(puzzle.source)) in message
                progress.say(f"error: {'' if named else f'{safe(puzzle.source)}: '}{message}")
            progress.advance(done)
            report(done, len(puzzles))
    finally:
        progress.close()
    mean = f", mean confidence {np.mean(confidence):.3f}" if confidence else ""
    skipped = f"; {others} other entries skipped" if others else ""
    print(
        f"{len(confidence)} of {len(puzzles)} puzzles in {safe(solver.options.out)}{mean}{skipped}"
    )
    if len(confidence) < len(puzzles):
        raise ValueError(
            f"{len(puzzles) - len(confidence)} of {len(puzzles)} puzzles could not be solved; see"
            f" the lines above."
        )


def summary(found: dict[str, Any], puzzle: Puzzle) -> str:
    """Returns what is printed of a solved puzzle."""
    count, grid = len(found["pieces"]), as_size(found["grid"])
    line = f"{safe(puzzle.target)}: {count} pieces in {grid}, confidence {found['confidence']:.3f}"
    if found["border_weight"]:
        line += f" with border weight {found['border_weight']:g}"
    if found["missing"]:
        places = ", ".join(f"row {p['row']} column {p['column']}" for p in found["missing"])
        line += f"; missing at {places}"
    if "right" in found:
        line += f"; {found['pieces_right']} of {count} right"
        whole = [n * side for n, side in zip(found["grid"], found["piece_size"], strict=True)]
        if whole != found["image_size"]:
            line += f"; cropped from {as_size(found['image_size'])} to {as_size(whole)}"
    if found["skipped"]:
        line += f"; {found['skipped']} other entries skipped"
    total = math.factorial(math.prod(found["grid"]))
    if found.get("orders", total) < total:
        line += f"\nthe run finds only the {found['orders']:,} of {total:,} orders in its list"
    return line
