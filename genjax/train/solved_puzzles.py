"""Puzzles of a few images, solved by a finished run, for a page on which a visitor shuffles them.

`samples/puzzles.png` has the images beside one another, and as text the solutions. Their pieces
are numbered by their true positions.
"""

import dataclasses
import itertools
import math
import pathlib
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax import data as genjax_data
from genjax.core import named_key
from genjax.core.protocols import PositionScores
from genjax.core.puzzle_orders import draw_orders
from genjax.core.puzzles import cut, erode, shuffle
from genjax.data.file_writing import write_file
from genjax.data.json_files import parse_json
from genjax.evals.puzzle_solutions import solve
from genjax.train.run_config import Run
from genjax.train.sample_grids import TEXT, encode_png, open_png
from genjax.train.sheets import sheet_images, spaced_rows

IMAGES = 6
SHUFFLES = 4  # of each image, where the solution depends on the order or on what is missing
MAX_BYTES = 160 * 2**10  # of the PNG; some of the images are left out
FILE = "puzzles.png"
Share = Annotated[float, checks.Bounds(0, 1)]


@dataclasses.dataclass(frozen=True)
class SolvedPuzzle:
    """One puzzle and its solution."""

    image: checks.NonNegativeInt
    """Number of the image."""
    gap: checks.NonNegativeInt
    """Pixels between the pieces."""
    missing: tuple[checks.NonNegativeInt, ...]
    """Pieces that are missing."""
    order: tuple[checks.NonNegativeInt, ...]
    """Pieces in the order in which they are given."""
    found: tuple[checks.NonNegativeInt, ...]
    """Position found of each piece; missing ones have those left over."""
    probability: tuple[Share, ...]
    """Probability of each piece at that position."""
    same: tuple[checks.NonNegativeInt, ...]
    """First piece with the same pixels as each piece."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolvedPuzzles:
    """Puzzles of some images."""

    grid: tuple[checks.PositiveInt, checks.PositiveInt]
    """Rows and columns of pieces."""
    height: checks.PositiveInt
    """Pixels of an image."""
    width: checks.PositiveInt
    images: checks.PositiveInt
    """Number of images."""
    any_order: bool
    """Whether the solutions are those of every order of the pieces."""
    puzzles: tuple[SolvedPuzzle, ...]

    def __post_init__(self) -> None:
        checks.validate(self)
        n = math.prod(self.grid)
        if self.height % self.grid[0] or self.width % self.grid[1] or not self.puzzles:
            raise ValueError(f"there are no puzzles of {self.grid} pieces.")
        everything = list(range(n))
        for p in self.puzzles:
            checks.validate(p)
            lengths = {len(p.order), len(p.found), len(p.probability), len(p.same)}
            permutations = sorted(p.order) == sorted(p.found) == everything
            if lengths != {n} or not permutations or not {*p.missing, *p.same} <= set(everything):
                raise ValueError(f"a puzzle of {n} pieces has wrong numbers.")
            if p.image >= self.images or 2 * p.gap >= min(self.height, self.width):
                raise ValueError(f"a puzzle has image {p.image} and gap {p.gap}.")


def solve_puzzles(
    run: Run, family: Any, dataset: genjax_data.Dataset, variables: Any, images: int = IMAGES
) -> tuple[np.ndarray, SolvedPuzzles]:
    """Solves puzzles of evenly spaced images of test, else validation, else train.

    There is a puzzle for every gap and number of missing pieces that the family trains with (its
    Config's `gaps` and `missing`, if it has them). Where position scores are of a whole puzzle, one
    shuffle is enough; else there are `SHUFFLES`.

    Args:
      run: settings.
      family: module that implements `PuzzleSolver`.
      dataset: the run's data.
      variables: to solve with, on this process.
      images: number of images, at most.

    Returns:
      the images, uint8 `[n, H, W, 3]`, and the puzzles.
    """
    config, grid = run.model, family.grid(run.model)
    split = next(name for name in ("test", "validation", "train") if name in dataset.counts())
    length = dataset.length(split)
    x = sheet_images(run, dataset, split, {"x": spaced_rows(length, min(images, length))})["x"]
    any_order = isinstance(family, PositionScores)
    gaps = sorted({0, *getattr(config, "gaps", ())})
    most = getattr(config, "missing", 0) if any_order else 0
    wanted = [
        (image, gap, missing)
        for image, gap, missing in itertools.product(range(len(x)), gaps, range(most + 1))
        for _ in range(1 if any_order and not missing else SHUFFLES)
    ]
    key = named_key(jax.random.key(run.seed), 0, "solved puzzles")
    orders = draw_orders(family, config, key, len(wanted))
    which, spaces, missing = np.array(wanted).T
    pieces = erode(cut(jnp.asarray(x), grid)[which], jnp.asarray(spaces))  # [P, N, h, w, C]
    # The order is random, so that the first of the pieces given are any.
    present = np.arange(orders.shape[1]) >= missing[:, None]
    given = np.where(present[..., None, None, None], shuffle(pieces, orders), 0)
    solution = solve(family, config, variables, given, present if most else None)
    puzzles = []
    for i, order in enumerate(np.asarray(orders)):
        back = order.argsort()  # index of each piece in the order given
        puzzles.append(
            SolvedPuzzle(
                image=int(which[i]),
                gap=int(spaces[i]),
                missing=_integers(order[: missing[i]]),
                order=_integers(order),
                found=_integers(solution.orders[i][back]),
                probability=tuple(
                    round(min(float(p), 1.0), 3) for p in solution.probabilities[i][back]
                ),
                same=_same(np.asarray(pieces[i])),
            )
        )
    low, high = family.traits(config).sample_range
    shown = (np.clip((x - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
    shown = shown.repeat(3, axis=-1) if shown.shape[-1] == 1 else shown[..., :3]
    height, width = x.shape[1:3]
    sizes: dict[str, Any] = dict(grid=grid, height=height, width=width, images=len(x))
    return shown, SolvedPuzzles(**sizes, any_order=any_order, puzzles=tuple(puzzles))


def write_puzzles(folder: pathlib.Path, images: np.ndarray, solved: SolvedPuzzles) -> None:
    """Writes `puzzles.png` to a run's `samples/`, with as many images as fit `MAX_BYTES`."""
    for n in range(len(images), 0, -1):
        kept = tuple(puzzle for puzzle in solved.puzzles if puzzle.image < n)
        values = dataclasses.asdict(dataclasses.replace(solved, images=n, puzzles=kept))
        values["puzzles"] = [list(puzzle.values()) for puzzle in values["puzzles"]]
        png = encode_png(np.concatenate(images[:n], axis=1), values)
        if len(png) <= MAX_BYTES:
            break
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / FILE, png)


def read_puzzles(path: pathlib.Path) -> SolvedPuzzles:
    """Reads the solutions in a `puzzles.png`.

    Raises:
      ValueError: the file is damaged, or not of a run.
    """
    with open_png(path) as image:
        image.load()
        text, size = image.info.get(TEXT, ""), image.size
    try:
        values = _tuples(parse_json(text))
        puzzles = tuple(SolvedPuzzle(*puzzle) for puzzle in values.pop("puzzles"))
        solved = SolvedPuzzles(**values, puzzles=puzzles)
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f"{path.name} has no solutions of puzzles.") from None
    if size != (solved.images * solved.width, solved.height):
        raise ValueError(f"{path.name} is of {size[0]}x{size[1]} pixels, unlike its puzzles.")
    return solved


def _integers(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _same(pieces: np.ndarray) -> tuple[int, ...]:
    """Returns the first of the pieces `[N, ...]` that each one is equal to."""
    flat = pieces.reshape(len(pieces), -1)
    return _integers((flat[:, None] == flat[None]).all(-1).argmax(1))


def _tuples(value: Any) -> Any:
    """Returns JSON values with tuples for lists."""
    if isinstance(value, dict):
        return {name: _tuples(inside) for name, inside in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
