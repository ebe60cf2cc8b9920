"""Classical jigsaw solvers: an order of the pieces from the costs of neighbouring borders.

Costs `[2, N, N]` are those of `genjax.core.puzzles.border_costs`: `[0, i, j]` of piece j to the
right of piece i, `[1, i, j]` of piece j below piece i. An order `[N]` has the position of every
piece. Missing pieces (`present` False) get the positions that are left over, in any order.
Equal costs are decided by the indices of the pieces, which tell nothing once they are shuffled.
"""

import itertools

import numpy as np

from genjax.core.puzzles import LEVEL, TEMPERATURE, Grid

Cell = tuple[int, int]
STEPS: tuple[Cell, Cell] = ((0, 1), (1, 0))  # from a piece to its right and lower neighbours
WIDTH = 200  # of the beam
ABSENT = 0.5  # cost of a border of a missing piece


def normalised_costs(costs: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Computes how unlikely two borders are to be neighbours, `[..., 2, N, N]` in [0, 1] float32.

    The partner of a border is predicted among those of all pieces by a softmax of -cost /
    temperature; the result is 1 minus the mean of the two borders' predictions of each other. The
    temperature is `TEMPERATURE` times (m + `LEVEL`^2), where m is the mean cost of a border and its
    best partner in the puzzle. A sum of costs itself is lowest where plain borders meet and what
    they show is cut at the frame; predictions of plain borders are uncertain.

    Args:
      costs: of `border_costs`.
      present: bool `[..., N]`; None is all True. Borders of missing pieces have `ABSENT`.
    """
    costs = np.asarray(costs, np.float32)
    n = costs.shape[-1]
    pairs = np.broadcast_to(~np.eye(n, dtype=bool), costs.shape)
    if present is not None:
        pairs = pairs & (present[..., :, None] & present[..., None, :])[..., None, :, :]
    known = np.where(pairs, costs, np.inf)
    smallest = known.min(-1)  # [..., 2, N]
    found = np.isfinite(smallest)
    mean = np.where(found, smallest, 0).sum((-2, -1)) / np.maximum(found.sum((-2, -1)), 1)
    temperature = (TEMPERATURE * (mean + LEVEL**2))[..., None, None, None]
    predictions = []
    for axis in (-1, -2):
        best = np.where(np.isfinite(m := known.min(axis, keepdims=True)), m, 0)
        weights = np.exp((best - known) / temperature)
        predictions.append(weights / np.maximum(weights.sum(axis, keepdims=True), 1))
    return np.where(pairs, 1 - np.mean(predictions, axis=0), ABSENT).astype(np.float32)


def greedy(costs: np.ndarray, grid: Grid, present: np.ndarray | None = None) -> np.ndarray:
    """Places the pieces one by one, always the best one beside those that are placed, `[N]`.

    The first two are the pair of the lowest cost. Every further one is the piece and the cell whose
    mean cost beside its neighbours is lowest, within a box of the size of the grid.

    Args:
      costs: of one puzzle, `[2, N, N]`.
      grid: rows and columns.
      present: bool `[N]`; None is all True.
    """
    n, known = _known(costs, grid, present)
    costs = normalised_costs(costs, known)
    free = set(np.flatnonzero(known).tolist())
    cells: dict[Cell, int] = {}
    masked = np.where(known[:, None] & known[None] & ~np.eye(n, dtype=bool), costs, np.inf)
    if len(free) > 1:
        d, i, j = np.unravel_index(np.argmin(_fitting(masked, grid)), masked.shape)
        cells = {(0, 0): int(i), STEPS[int(d)]: int(j)}
    elif free:
        cells = {(0, 0): min(free)}
    free -= set(cells.values())
    while free:
        pieces = sorted(free)
        best: tuple[float, Cell, int] = (np.inf, (0, 0), -1)
        for cell in _open_cells(cells, grid):
            values = np.mean([c[pieces] for c in _beside(masked, cells, cell)], axis=0)
            k = int(values.argmin())
            best = min(best, (float(values[k]), cell, pieces[k]))
        cells[best[1]] = best[2]
        free.remove(best[2])
    return _completed(cells, costs, grid, n)


def spanning_tree(costs: np.ndarray, grid: Grid, present: np.ndarray | None = None) -> np.ndarray:
    """Joins groups of pieces in the order of their costs, as Kruskal's spanning tree, `[N]`.

    A pair joins the groups of its two pieces if no two pieces get the same cell and the result
    fits into the grid, as in Gallagher 2012, "Jigsaw Puzzles with Pieces of Unknown Orientation".
    These conditions are why no library's spanning tree applies. The largest group is placed where
    the whole puzzle costs least, and the other pieces fill the holes by the assignment of least
    cost.

    Args:
      costs: of one puzzle, `[2, N, N]`.
      grid: rows and columns.
      present: bool `[N]`; None is all True.
    """
    n, known = _known(costs, grid, present)
    costs = normalised_costs(costs, known)
    groups: list[dict[Cell, int]] = [{(0, 0): k} for k in range(n)]  # one object per group
    cell_of: list[Cell] = [(0, 0)] * n
    for edge in np.argsort(costs, axis=None, kind="stable").tolist():
        d, i, j = edge // (n * n), edge // n % n, edge % n
        a, b = groups[i], groups[j]
        if a is b or not (known[i] and known[j]):
            continue
        shift = [cell_of[i][x] + STEPS[d][x] - cell_of[j][x] for x in (0, 1)]
        moved = {(r + shift[0], c + shift[1]): k for (r, c), k in b.items()}
        if a.keys() & moved.keys() or not _fits([*a, *moved], grid):
            continue
        a |= moved
        for cell, k in moved.items():
            groups[k], cell_of[k] = a, cell
        if len(a) == known.sum():
            break
    largest = max((groups[k] for k in np.flatnonzero(known)), key=len)
    return _completed(largest, costs, grid, n)


def beam_search(
    costs: np.ndarray,
    grid: Grid,
    present: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    weight: float = 1.0,
    width: int = WIDTH,
) -> np.ndarray:
    """Maximises the sum of scores minus `weight` times the sum of `normalised_costs`, `[..., N]`.

    Positions are filled row by row; after each, the `width` best partial solutions are kept.

    Args:
      costs: of one puzzle `[2, N, N]`, or of several `[B, 2, N, N]`.
      grid: rows and columns.
      present: bool `[N]` or `[B, N]`; None is all True.
      scores: log probabilities of the positions of each piece, `[N, N]` or `[B, N, N]`; None is 0.
      weight: of the costs.
      width: number of partial solutions.
    """
    single = np.ndim(costs) == 3
    costs = np.asarray(costs)[None] if single else np.asarray(costs)
    batch, n = len(costs), costs.shape[-1]
    known = np.ones((batch, n), bool) if present is None else np.reshape(present, (batch, n))
    scaled = -weight * normalised_costs(costs, known)
    # A constant per piece changes no solution. Without the best that a piece can get, partial
    # solutions would be preferred that put off pieces of low values.
    best = scaled.max(-2).sum(1)  # beside the left and upper neighbours
    gain = np.zeros((batch, n, n), np.float32)
    if scores is not None:
        gain = np.where(known[..., None], np.reshape(scores, (batch, n, n)), 0)
    gain = (gain - gain.max(-1, keepdims=True) - best[..., None]).astype(np.float32)
    parts = range(0, batch, 128)  # in the processor's cache
    orders = [
        _beam(scaled[s : s + 128], gain[s : s + 128], known[s : s + 128], grid, width)
        for s in parts
    ]
    out = np.concatenate(orders)
    return out[0] if single else out


def _beam(
    costs: np.ndarray, scores: np.ndarray, known: np.ndarray, grid: Grid, width: int
) -> np.ndarray:
    """Searches a batch; costs `[B, 2, N, N]` and scores are added."""
    batch, n = known.shape
    rows = np.arange(batch)[:, None]
    # Missing pieces are alike: they are used in the order of their indices.
    number = np.where(known, 0, np.cumsum(~known, axis=1) - 1)[:, None]
    placed = np.zeros((batch, 1, n), np.int64)  # piece by position
    used = np.zeros((batch, 1, n), bool)
    total = np.zeros((batch, 1), np.float32)
    for position in range(n):
        value = total[..., None] + scores[:, None, :, position]  # [B, width, N]
        if position % grid[1]:
            value = value + costs[:, 0][rows, placed[..., position - 1]]
        if position >= grid[1]:
            value = value + costs[:, 1][rows, placed[..., position - grid[1]]]
        gone = (used & ~known[:, None]).sum(-1, keepdims=True)
        allowed = ~used & (known[:, None] | (number == gone))
        flat = np.where(allowed, value, -np.inf).reshape(batch, -1)
        kept = min(width, flat.shape[1])
        best = np.argpartition(-flat, kept - 1, axis=1)[:, :kept]
        parent, piece = np.divmod(best, n)
        total = np.take_along_axis(flat, best, 1)
        placed, used = placed[rows, parent], used[rows, parent]  # copies
        placed[..., position] = piece
        np.put_along_axis(used, piece[..., None], True, -1)
    final = placed[np.arange(batch), total.argmax(1)]
    return np.argsort(final, axis=1)


def total_costs(costs: np.ndarray, orders: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the sum of the costs of all borders, `[B, 2, N, N]`, `[P, N]` -> `[B, P]`."""
    cells = np.argsort(orders, axis=-1).reshape(len(orders), *grid)  # piece by position
    out = np.zeros((len(costs), len(orders)), costs.dtype)
    for d, (first, second) in enumerate(
        ((cells[:, :, :-1], cells[:, :, 1:]), (cells[:, :-1], cells[:, 1:]))
    ):
        for i, j in zip(
            first.reshape(len(orders), -1).T, second.reshape(len(orders), -1).T, strict=True
        ):
            out += costs[:, d, i, j]
    return out


def _known(costs: np.ndarray, grid: Grid, present: np.ndarray | None) -> tuple[int, np.ndarray]:
    n = grid[0] * grid[1]
    if np.shape(costs) != (2, n, n):
        raise ValueError(
            f"costs of a {grid[0]}x{grid[1]} puzzle must be [2, {n}, {n}], got {np.shape(costs)}."
        )
    known = np.ones(n, bool) if present is None else np.asarray(present, bool)
    if not known.any():
        raise ValueError("all pieces are missing; pass at least one.")
    return n, known


def _fitting(costs: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns costs that are infinite in a direction of which the grid has no neighbours."""
    wide = np.array([grid[1] > 1, grid[0] > 1])[:, None, None]
    return np.where(wide, costs, np.inf)


def _fits(cells: list[Cell], grid: Grid) -> bool:
    rows, columns = zip(*cells, strict=True)
    return max(rows) - min(rows) < grid[0] and max(columns) - min(columns) < grid[1]


def _open_cells(cells: dict[Cell, int], grid: Grid) -> list[Cell]:
    """Returns the empty cells beside occupied ones that fit into the grid."""
    beside = {
        (r + sign * dr, c + sign * dc) for r, c in cells for dr, dc in STEPS for sign in (1, -1)
    }
    return sorted(cell for cell in beside - cells.keys() if _fits([*cells, cell], grid))


def _beside(costs: np.ndarray, cells: dict[Cell, int], cell: Cell) -> list[np.ndarray]:
    """Returns the costs of all pieces in a cell beside each of its neighbours, `[N]` each."""
    out = []
    for d, (dr, dc) in enumerate(STEPS):
        before, after = (cell[0] - dr, cell[1] - dc), (cell[0] + dr, cell[1] + dc)
        if before in cells:
            out.append(costs[d, cells[before]])
        if after in cells:
            out.append(costs[d, :, cells[after]])
    return out


def _completed(cells: dict[Cell, int], costs: np.ndarray, grid: Grid, n: int) -> np.ndarray:
    """Places a group in the grid, fills the holes, and returns the order of least cost, `[N]`."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = zip(*cells, strict=True)
    slack = (
        grid[0] - (max(rows) - min(rows)),
        grid[1] - (max(columns) - min(columns)),
    )
    candidates = []
    for down, right in itertools.product(*map(range, slack)):
        offset = down - min(rows), right - min(columns)
        at = {(r + offset[0], c + offset[1]): k for (r, c), k in cells.items()}
        free = sorted(set(range(n)) - set(at.values()))
        holes = [cell for cell in np.ndindex(*grid) if cell not in at]
        if free:
            beside = [sum(_beside(costs, at, hole), np.zeros(n))[free] for hole in holes]
            for piece, hole in zip(*linear_sum_assignment(np.transpose(beside)), strict=True):
                at[holes[hole]] = free[piece]
        order = np.empty(n, np.int64)
        for (r, c), k in at.items():
            order[k] = r * grid[1] + c
        candidates.append(order)
    if len(candidates) == 1:
        return candidates[0]
    totals = total_costs(costs[None], np.stack(candidates), grid)[0]
    return candidates[int(totals.argmin())]
