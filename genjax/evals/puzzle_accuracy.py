"""The metric `puzzle`: images reassembled by a solver, beside chance and the classical solvers."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from genjax.core import puzzles
from genjax.core.protocols import PositionScores
from genjax.core.puzzle_orders import draw_orders
from genjax.evals.border_solvers import (
    beam_search,
    greedy,
    normalised_costs,
    spanning_tree,
    total_costs,
)
from genjax.evals.context import EvalContext
from genjax.evals.metric_result import Table, TableResult, plain
from genjax.evals.negative_log_likelihood import mean_and_error
from genjax.evals.puzzle_solutions import border_costs, check_solver, decode, predict

SEED = 0  # of the orders and the missing pieces: the same puzzles for every model
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # of the borders, in nats


@dataclasses.dataclass(frozen=True, kw_only=True)
class PuzzleResult(TableResult):
    """Shuffled images of a split, reassembled; one table per gap and number of missing pieces.

    Tables are `gap_0`, `gap_1`, ... (pixels lost between neighbouring pieces) and `missing_1`, ...
    (pieces left out, without a gap); and with labels one per class without a gap, such as `house`.
    Rows are

    * `model`: the family alone;
    * `borders`, `tree`, `greedy`: the classical solvers of `genjax.evals.border_solvers`, of which
      `borders` is the beam search;
    * `fused`: the family and the borders, with the weight of the table's own in `border_weight`,
      chosen among `WEIGHTS` by `solved` on the validation split;
    * `borders_in_list`: the order of least cost in the list of a `PermutationLogits` family, whose
      puzzles have orders of this list;
    * `chance`: the expectation for an order drawn from all, or from the list.

    Quantities, as means over images:

    * `solved`: share of which every position of a present piece shows the pixels of the image, so
      that equal pieces may be exchanged;
    * `pieces`: share of the present pieces that show the pixels of their position.

    Attributes:
      split: split of the images.
      solved: of `model` in the first table, without a gap.
      std_error: its standard error.
      puzzles: number of images.
      grid: rows and columns.
      border_weight: of `fused`, by table.
    """

    FIGURE: ClassVar = ("solved", "std_error", "%")
    FRACTIONS: ClassVar = frozenset(("solved", "pieces"))

    split: str
    solved: float
    std_error: float
    puzzles: int
    grid: tuple[int, int]
    border_weight: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields, all cells of the tables, and `fused_gap_0_border_weight`, ..."""
        out = super().as_dict()
        weights = out.pop("border_weight")
        return out | {f"fused_{k}_border_weight": plain(v) for k, v in weights.items()}


def puzzle(
    c: EvalContext,
    *,
    samples: int = 2000,
    split: str = "test",
    gaps: Sequence[int] = (0, 1, 2),
    missing: Sequence[int] = (1, 2),
) -> PuzzleResult:
    """Computes `PuzzleResult` of up to `samples` images of a split.

    Gaps that are not below half of a piece's side, and missing pieces that leave fewer than two,
    are left out; so are all missing pieces where the family only knows complete puzzles.

    Raises:
      ValueError: the family does not solve puzzles, or a split does not exist.
    """
    check_solver(c.family)
    classes: dict[str, Table] = {}
    rows, columns = c.family.grid(c.config)
    side = min(c.config.shape[0] // rows, c.config.shape[1] // columns)
    kinds = {f"gap_{gap}": (gap, 0) for gap in (0, *gaps) if 2 * gap < side}
    if isinstance(c.family, PositionScores):
        kinds |= {f"missing_{k}": (0, k) for k in missing if rows * columns - k >= 2}
    test, validation = (c.examples(s, samples) for s in (split, "validation"))
    tables: dict[str, Table] = {}
    weights: dict[str, float] = {}
    for title, kind in kinds.items():
        weights[title] = _best_weight(_puzzles(c, validation, *kind))
        values = _all_solvers(_puzzles(c, test, *kind), weights[title])
        tables[title] = _table(values)
        if kind == (0, 0):
            classes = {
                name: _table({row: values[row][:, own] for row in ("tree", "model", "fused")})
                for name, own in _classes(c, split, samples).items()
            }
    first = next(iter(tables.values()))["model"]["solved"]
    return PuzzleResult(
        split=split,
        solved=first[0],
        std_error=first[1],
        puzzles=len(test),
        grid=(rows, columns),
        border_weight=weights,
        tables=tables | classes,
        n_real=len(test),
        n_fake=len(test),
        extractor="pixels",
        seed=SEED,
    )


@dataclasses.dataclass(frozen=True)
class _Puzzles:
    """Shuffled images of one gap and number of missing pieces.

    Attributes:
      family, config: the solver.
      orders: the true ones, `[B, N]`.
      present: `[B, N]`.
      equal: whether piece k shows the pixels of position p, `[B, N, N]`.
      costs: of the borders, `[B, 2, N, N]`.
      predictions: of the family.
    """

    family: Any
    config: Any
    orders: np.ndarray
    present: np.ndarray
    equal: np.ndarray
    costs: np.ndarray
    predictions: np.ndarray

    @property
    def grid(self) -> puzzles.Grid:
        """Rows and columns."""
        return self.family.grid(self.config)

    def shares(self, orders: np.ndarray) -> np.ndarray:
        """Returns `solved` and `pieces` of orders `[B, N]`, `[2, B]`."""
        right = np.take_along_axis(self.equal, orders[..., None], -1)[..., 0]
        solved = (right | ~self.present).all(axis=1)
        return np.stack([solved, (right & self.present).sum(axis=1) / self.present.sum(axis=1)])

    def model(self, weight: float) -> np.ndarray:
        """Returns `shares` of the family with a border weight."""
        solution = decode(
            self.family,
            self.config,
            self.predictions,
            self.present,
            border_weight=weight,
            costs=self.costs,
        )
        return self.shares(solution.orders)


@functools.partial(jax.jit, static_argnums=1)
def _eroded(images: jax.Array, grid: puzzles.Grid, gap: int) -> jax.Array:
    return puzzles.erode(puzzles.cut(images, grid), gap)


def _puzzles(c: EvalContext, images: np.ndarray, gap: int, missing: int) -> _Puzzles:
    """Shuffles images with fixed orders, without the same number of pieces of each."""
    key, draw = jax.random.split(jax.random.key(SEED))
    orders = np.asarray(draw_orders(c.family, c.config, key, len(images)))
    rank = np.asarray(puzzles.random_orders(draw, *orders.shape))
    present = rank < orders.shape[1] - missing
    parts, equal = [], []
    for start in range(0, len(images), c.batch_size):
        rows = slice(start, start + c.batch_size)
        true = np.asarray(_eroded(images[rows], c.family.grid(c.config), gap))  # [B, N, h, w, C]
        flat = true.reshape(*true.shape[:2], -1)
        same = np.stack([(x[:, None] == x[None]).all(-1) for x in flat])
        equal.append(np.take_along_axis(same, orders[rows, :, None], 1))
        shown = np.take_along_axis(true, orders[rows, :, None, None, None], 1)
        parts.append(shown * present[rows, :, None, None, None])
    pieces = np.concatenate(parts)
    return _Puzzles(
        c.family,
        c.config,
        orders,
        present,
        np.concatenate(equal),
        border_costs(pieces),
        predict(c.family, c.config, c.variables, pieces, present if missing else None),
    )


def _best_weight(p: _Puzzles) -> float:
    """Returns the weight that solves most, then places most pieces, then is smallest."""
    shares = [p.model(weight).mean(axis=1).round(9) for weight in WEIGHTS]
    return max(zip(shares, WEIGHTS, strict=True), key=lambda x: (*x[0], -x[1]))[1]


def _all_solvers(p: _Puzzles, weight: float) -> dict[str, np.ndarray]:
    """Returns `shares` by row."""
    pairs = list(zip(p.costs, p.present, strict=True))
    found = {
        "greedy": np.stack([greedy(costs, p.grid, present) for costs, present in pairs]),
        "tree": np.stack([spanning_tree(costs, p.grid, present) for costs, present in pairs]),
        "borders": beam_search(p.costs, p.grid, p.present),
    }
    if isinstance(p.family, PositionScores):
        chance = _chance(p.equal, p.present)
    else:
        listed = np.asarray(p.family.permutations(p.config))
        total = total_costs(normalised_costs(p.costs), listed, p.grid)
        found["borders_in_list"] = listed[total.argmin(axis=1)]
        right = [x[np.arange(len(x)), listed] for x in p.equal]  # [P, N] each
        chance = np.array([[x.all(axis=1).mean(), x.mean()] for x in right]).T
    rows = {row: p.shares(orders) for row, orders in found.items()}
    return {"chance": chance, **rows, "model": p.model(0), "fused": p.model(weight)}


def _chance(equal: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Returns the expected `shares` of an order drawn from all, `[2, B]`.

    Present pieces get any positions. Those of a group of a pieces that fit into the same m
    positions solve it in m! / (m - a)! ways.
    """
    n = equal.shape[1]
    out = []
    for fits, here in zip(equal, present, strict=True):
        ways, drawn = 1.0, 1.0
        groups: dict[bytes, int] = {}
        for i, row in enumerate(fits[here]):
            taken = groups.get(row.tobytes(), 0)
            ways *= row.sum() - taken
            drawn *= n - i
            groups[row.tobytes()] = taken + 1
        out.append((ways / drawn, fits[here].mean()))
    return np.array(out).T


def _classes(c: EvalContext, split: str, samples: int) -> dict[str, np.ndarray]:
    """Returns the images of each class, bool `[N]`, by its name; no classes without labels."""
    if "label" not in c.dataset.entries(split):
        return {}
    labels, names = c.labels(split, samples), c.dataset.names.get("label", ())
    return {
        names[k].replace(" ", "_") if k < len(names) else f"class_{k}": labels == k
        for k in np.unique(labels[labels >= 0]).tolist()
    }


def _table(values: dict[str, np.ndarray]) -> Table:
    return {
        row: {name: mean_and_error(x) for name, x in zip(("solved", "pieces"), shares, strict=True)}
        for row, shares in values.items()
    }
