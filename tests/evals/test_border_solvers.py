"""Classical solvers: images with exact borders are restored; indices of pieces tell nothing."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from support.fake_solvers import exact_borders

from genjax.core import puzzles
from genjax.evals.border_solvers import (
    beam_search,
    greedy,
    normalised_costs,
    spanning_tree,
    total_costs,
)
from genjax.evals.puzzle_solutions import border_costs

SOLVERS = {"greedy": greedy, "tree": spanning_tree, "beam": beam_search}
GRIDS = [(2, 2), (3, 3), (4, 4), (2, 3), (4, 2), (1, 4), (3, 1)]


def shuffled(x, grid, missing=0, seed=1):
    """Returns costs, orders and which pieces are present."""
    n, rng = grid[0] * grid[1], np.random.default_rng(seed)
    orders, rank = (rng.permuted(np.tile(np.arange(n), (len(x), 1)), axis=1) for _ in "ab")
    pieces = puzzles.shuffle(puzzles.cut(jnp.asarray(x), grid), jnp.asarray(orders))
    present = rank < n - missing
    return border_costs(pieces * present[..., None, None, None]), orders, present


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g[0]}x{g[1]}")
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_restore_images_with_exact_borders(name, grid):
    costs, orders, _ = shuffled(exact_borders(20, grid), grid)
    found = np.stack([SOLVERS[name](c, grid) for c in costs])
    assert (np.sort(found) == np.arange(orders.shape[1])).all()
    np.testing.assert_array_equal(found, orders)


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (3, 4)], ids=lambda g: f"{g[0]}x{g[1]}")
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_restore_images_with_a_missing_piece(name, grid):
    costs, orders, present = shuffled(exact_borders(20, grid), grid, missing=1)
    found = np.stack([SOLVERS[name](c, grid, p) for c, p in zip(costs, present, strict=True)])
    assert (np.sort(found) == np.arange(orders.shape[1])).all()
    assert ((found == orders) | ~present).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_borders_of_missing_pieces_are_not_used(name):
    costs, _, present = shuffled(exact_borders(10, (3, 3)), (3, 3), missing=2)
    either = ~(present[:, :, None] & present[:, None])[:, None]
    other = np.where(either, np.random.default_rng(0).uniform(0, 1, costs.shape), costs)
    for c, o, p in zip(costs, other, present, strict=True):
        np.testing.assert_array_equal(SOLVERS[name](c, (3, 3), p), SOLVERS[name](o, (3, 3), p))


@pytest.mark.parametrize("name", SOLVERS)
def test_equal_pieces_are_solved_at_chance(name):
    """Neither the index of a piece nor that of a position helps."""
    n = 600
    image = np.tile(exact_borders(1, (1, 1)), (1, 3, 3, 1))
    costs, orders, _ = shuffled(np.repeat(image, n, axis=0), (3, 3))
    found = np.stack([SOLVERS[name](c, (3, 3)) for c in costs])
    error = np.sqrt(1 / n)  # the number of fixed points of a permutation has variance 1
    assert abs((found == orders).sum(axis=1).mean() - 1) < 4 * error


def test_a_batch_equals_single_puzzles():
    costs, _, present = shuffled(exact_borders(150, (2, 3), seed=3), (2, 3), missing=1)
    scores = np.random.default_rng(0).normal(size=(150, 6, 6))
    together = beam_search(costs, (2, 3), present, scores, 0.5)
    alone = [beam_search(*p, 0.5) for p in zip(costs, [(2, 3)] * 150, present, scores, strict=True)]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("grid", [(2, 2), (3, 3)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_a_wide_beam_of_scores_equals_the_assignment(grid):
    n = grid[0] * grid[1]
    rng = np.random.default_rng(0)
    scores, costs = rng.normal(size=(5, n, n)), rng.uniform(size=(5, 2, n, n))
    found = beam_search(costs, grid, scores=scores, weight=0.0, width=9 * 8 * 7 * 6)
    want = [linear_sum_assignment(s, maximize=True)[1] for s in scores]
    np.testing.assert_array_equal(found, want)
    few = beam_search(costs, grid, scores=scores, weight=0.0, width=1)
    assert n == 4 or (few != want).any()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_wide_beam_is_the_best_of_all_orders(missing):
    grid, rng = (2, 3), np.random.default_rng(missing)
    costs, _, present = shuffled(rng.uniform(-1, 1, (6, 4, 6, 1)).astype(np.float32), grid, missing)
    scores = rng.normal(size=(6, 6, 6))
    every = np.array(list(itertools.permutations(range(6))))
    picked = np.take_along_axis(scores[:, None], every[None, ..., None], -1)[..., 0]
    total = (picked * present[:, None]).sum(-1)
    total -= 2 * total_costs(normalised_costs(costs, present), every, grid)
    found = beam_search(costs, grid, present, scores, weight=2.0, width=720)
    best = every[total.argmax(axis=1)]
    np.testing.assert_array_equal(np.where(present, found, -1), np.where(present, best, -1))


def test_total_costs_are_those_of_all_neighbours():
    costs = np.random.default_rng(0).uniform(size=(2, 2, 6, 6))
    order = np.array([4, 0, 5, 1, 3, 2])
    want = np.zeros(2)
    for i, j in itertools.permutations(range(6), 2):
        (r, c), (s, d) = divmod(order[i], 3), divmod(order[j], 3)
        if (s, d) == (r, c + 1):
            want += costs[:, 0, i, j]
        if (s, d) == (r + 1, c):
            want += costs[:, 1, i, j]
    np.testing.assert_allclose(total_costs(costs, order[None], (2, 3))[:, 0], want)


def test_normalised_costs_are_predictions_of_partners():
    """By hand for three pieces, of which the third one fits to the right of no piece."""
    costs = np.full((2, 3, 3), 0.5)
    costs[0] = [[0, 0.1, 0.3], [0.4, 0, 0.7], [0.2, 0.6, 0]]
    got = normalised_costs(costs)
    smallest = [0.1, 0.4, 0.2, 0.5, 0.5, 0.5]
    temperature = 0.2 * (np.mean(smallest) + (2 / 255) ** 2)
    e = lambda c: np.exp(-c / temperature)  # noqa: E731
    right = e(0.1) / (e(0.1) + e(0.3))
    left = e(0.1) / (e(0.1) + e(0.6))
    assert got[0, 0, 1] == pytest.approx(1 - (right + left) / 2, rel=1e-5)
    np.testing.assert_allclose(got[1][~np.eye(3, dtype=bool)], 0.5)  # one of two
    # The whole puzzle of another contrast has the same costs.
    np.testing.assert_allclose(normalised_costs(1e4 * costs), got, atol=1e-3)


def test_blank_and_constant_puzzles_have_finite_costs():
    costs = normalised_costs(np.zeros((2, 4, 4)))
    assert np.isfinite(costs).all()
    costs = normalised_costs(np.zeros((2, 4, 4)), np.array([True, False, False, False]))
    assert np.isfinite(costs).all()
    for solver in SOLVERS.values():
        alone = solver(np.zeros((2, 4, 4)), (2, 2), np.array([True, False, False, False]))
        assert sorted(alone) == [0, 1, 2, 3]


def test_rejects_costs_of_another_grid():
    with pytest.raises(ValueError, match=r"costs of a 3x3 puzzle must be \[2, 9, 9\]"):
        greedy(np.zeros((2, 4, 4)), (3, 3))
    with pytest.raises(ValueError, match="all pieces are missing"):
        spanning_tree(np.zeros((2, 4, 4)), (2, 2), np.zeros(4, bool))
