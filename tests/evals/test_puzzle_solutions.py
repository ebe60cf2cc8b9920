"""Orders found by solvers whose predictions are known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from support.fake_solvers import SOLVERS, Config, PermutationSolver, exact_borders, puzzle_images

from genjax.core import puzzles
from genjax.evals.puzzle_solutions import assign, border_costs, decode, solve

SCORES, LIST = SOLVERS["position_solver"], SOLVERS["permutation_solver"]
CONFIG = Config(shape=(6, 6, 1), grid=(3, 3))


def variables(skill=1.0):
    return {"params": {"skill": jnp.float32(skill)}}


def puzzle(n, missing=0, family=SCORES, config=CONFIG, exact=False):
    """Returns pieces, their orders and which are present."""
    rng, size = np.random.default_rng(0), config.grid[0] * config.grid[1]
    x = exact_borders(n, config.grid) if exact else puzzle_images(n, config) / 127.5 - 1
    orders = rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1)
    if family is LIST:
        orders = LIST.permutations(config)[rng.integers(0, size, n)]
    pieces = puzzles.cut(jnp.asarray(x, jnp.float32), config.grid)
    present = rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1) < size - missing
    return puzzles.shuffle(pieces, jnp.asarray(orders)), orders, present


def test_the_assignment_is_the_best_of_all_orders():
    scores = np.random.default_rng(0).normal(size=(30, 4, 4))
    every = np.array(list(itertools.permutations(range(4))))
    totals = np.take_along_axis(scores[:, None], every[None, ..., None], -1).sum((-1, -2))
    np.testing.assert_array_equal(
        assign(scores, np.ones((30, 4), bool)), every[totals.argmax(axis=1)]
    )


def test_scores_of_missing_pieces_do_not_matter():
    scores = np.random.default_rng(0).normal(size=(20, 4, 4))
    present = np.tile([True, True, False, True], (20, 1))
    other = np.where(present[..., None], scores, np.nan)
    np.testing.assert_array_equal(assign(scores, present), assign(other, present))
    with pytest.raises(ValueError, match="NaN; the run has diverged"):
        assign(np.where(present[..., None], np.nan, scores), present)


@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("grid", [(3, 3), (2, 4)])
def test_positions_in_the_pixels_are_found(grid, missing):
    config = Config(shape=(6 * grid[0], 6 * grid[1], 1), grid=grid)
    pieces, orders, present = puzzle(5, missing, config=config)
    found = solve(SCORES, config, variables(), pieces, present if missing else None)
    assert ((found.orders == orders) | ~present).all()
    assert (np.sort(found.orders) == np.arange(orders.shape[1])).all()
    scores = np.asarray(SCORES.position_scores(config, variables(), pieces))
    right = np.exp(np.take_along_axis(scores, orders[..., None], -1)[..., 0]) * present
    assert right[present].max() < 1
    np.testing.assert_allclose(found.probabilities, right, rtol=1e-4)
    np.testing.assert_allclose(
        found.confidence, right.sum(1) / (orders.shape[1] - missing), rtol=1e-4
    )


def test_the_order_of_a_list_is_found():
    pieces, orders, _ = puzzle(20, family=LIST)
    found = solve(LIST, CONFIG, variables(), pieces)
    np.testing.assert_array_equal(found.orders, orders)
    # Shifts move every piece, so that the probability of a position is that of its order.
    logits = np.asarray(LIST.permutation_logits(CONFIG, variables(0.02), pieces), np.float64)
    unsure = solve(LIST, CONFIG, variables(0.02), pieces)
    right = np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1)
    assert right.max() < 0.9
    np.testing.assert_allclose(unsure.probabilities, np.tile(right[:, None], 9), rtol=1e-4)
    np.testing.assert_allclose(unsure.confidence, right, rtol=1e-4)


def test_probabilities_of_a_list_are_those_of_all_orders_with_that_position():
    class Overlapping(PermutationSolver):
        def permutations(self, config):
            return np.array([[0, 1, 2, 3], [0, 1, 3, 2], [1, 0, 2, 3]], np.int32)

    config = Config(shape=(4, 4, 1))
    found = decode(Overlapping(), config, np.log([[0.5, 0.3, 0.2]]))
    np.testing.assert_allclose(found.probabilities, [[0.8, 0.8, 0.7, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [0.75], rtol=1e-6)


@pytest.mark.parametrize("family", [SCORES, LIST])
def test_borders_decide_where_predictions_are_equal(family):
    """A blind solver with a border weight minimises the costs; without one it ignores them."""
    pieces, orders, _ = puzzle(40, family=family, exact=True)
    blind = variables(0)
    fused = solve(family, CONFIG, blind, pieces, border_weight=1.0)
    np.testing.assert_array_equal(fused.orders, orders)
    alone = solve(family, CONFIG, blind, pieces)
    assert (alone.orders == orders).all(axis=1).mean() < 0.4
    # Of pieces in another order, the costs lead to that of the costs.
    costs = border_costs(pieces[::-1])
    given = solve(family, CONFIG, blind, pieces, border_weight=1.0, costs=costs)
    np.testing.assert_array_equal(given.orders, orders[::-1])


def test_a_sure_solver_is_not_changed_by_costs():
    pieces, orders, _ = puzzle(10)
    costs = np.random.default_rng(0).uniform(size=(10, 2, 9, 9))
    found = solve(SCORES, CONFIG, variables(20), pieces, border_weight=0.1, costs=costs)
    np.testing.assert_array_equal(found.orders, orders)


def test_rejects_families_that_cannot_solve():
    pieces, _, present = puzzle(2, missing=1)
    with pytest.raises(ValueError, match="cannot solve one with missing pieces; use a family with"):
        solve(LIST, CONFIG, variables(), pieces, present)
    from genjax.families import gan

    with pytest.raises(ValueError, match="gan does not solve puzzles"):
        solve(gan, gan.tiny(), {}, pieces)
