"""Reference labels: assembly by a spanning tree, and the nearest permutation of a list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import puzzles
from genjax.evals.border_solvers import normalised_costs
from genjax.families.jigsaw import assemble, maximal_hamming, nearest, reference_labels


def spanning_tree(costs, grid):
    """Assembles one puzzle from costs `[2, N, N]` by a sorted search for every piece."""
    rows, columns = grid
    n = rows * columns
    right, below = costs
    edges = []  # cost, placed piece, new piece, offset of the new one
    for i in range(n):
        for j in range(n):
            if i != j:
                if columns > 1:
                    edges += [(right[i, j], i, j, (0, 1)), (right[j, i], i, j, (0, -1))]
                if rows > 1:
                    edges += [(below[i, j], i, j, (1, 0)), (below[j, i], i, j, (-1, 0))]
    edges.sort(key=lambda edge: edge[0])
    where = {edges[0][1]: (0, 0)}
    while len(where) < n:
        for _, i, j, (down, across) in edges:
            if i not in where or j in where:
                continue
            cell = (where[i][0] + down, where[i][1] + across)
            taken = [*where.values(), cell]
            spans = [max(c[k] for c in taken) - min(c[k] for c in taken) + 1 for k in (0, 1)]
            if cell not in where.values() and spans[0] <= rows and spans[1] <= columns:
                where[j] = cell
                break
    top, left = (min(c[k] for c in where.values()) for k in (0, 1))
    return [(where[k][0] - top) * columns + where[k][1] - left for k in range(n)]


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (2, 4), (1, 3)])
def test_assembly_of_random_costs(grid):
    """Most of them prefer neighbours that do not fit the grid."""
    n = grid[0] * grid[1]
    costs = np.random.default_rng(n).uniform(size=(20, 2, n, n)).astype(np.float32)
    found = np.asarray(jax.jit(lambda c: assemble(c, grid))(costs))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [spanning_tree(c, grid) for c in costs])
    np.testing.assert_array_equal(np.sort(found), np.indices(found.shape)[1])


def smooth(batch, height, width):
    """Returns images whose neighbouring pixels are alike and whose borders are not."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    phases = rng.uniform(0, 6, (4, batch, 1, 1))
    slow = 0.02 * (y + 1.7 * x) + 0.5 * np.sin(0.11 * y + phases[0]) * np.cos(0.13 * x + phases[1])
    return jnp.asarray(np.stack([slow, np.sin(0.09 * x + 0.05 * y + phases[2])], -1), jnp.float32)


@pytest.mark.parametrize("grid", [(3, 3), (2, 4)])
def test_recovers_images_with_exact_borders(grid):
    n = grid[0] * grid[1]
    order = puzzles.random_orders(jax.random.key(0), 8, n)
    pieces = puzzles.shuffle(puzzles.cut(smooth(8, 24, 24), grid), order)
    np.testing.assert_array_equal(assemble(puzzles.border_costs(pieces), grid), order)


def test_labels_of_exact_borders_are_true():
    orders = jnp.asarray(maximal_hamming(9, 50))
    true = jnp.arange(8) * 6
    pieces = puzzles.shuffle(puzzles.cut(smooth(8, 24, 24), (3, 3)), orders[true])
    labels = jax.jit(lambda x: reference_labels(x, orders, (3, 3)))(pieces)
    np.testing.assert_array_equal(labels, true)


def test_nearest_permutation_corrects_exchanged_pieces():
    orders = maximal_hamming(9, 20)
    wrong = orders[:, [1, 0, *range(2, 9)]]
    np.testing.assert_array_equal(nearest(jnp.asarray(wrong), jnp.asarray(orders)), np.arange(20))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_costs_that_are_not_finite_give_an_order(value):
    found = assemble(jnp.full((1, 2, 9, 9), value), (3, 3))
    np.testing.assert_array_equal(np.sort(found), np.arange(9)[None])


def test_partner_costs_are_those_of_the_classical_solvers():
    pieces = jax.random.uniform(jax.random.key(5), (3, 6, 4, 4, 2), minval=-1, maxval=1)
    costs = puzzles.border_costs(pieces)
    found, expected = np.asarray(puzzles.partner_costs(costs)), normalised_costs(np.asarray(costs))
    off = np.broadcast_to(~np.eye(6, dtype=bool), found.shape)
    np.testing.assert_allclose(found[off], expected[off], rtol=1e-5, atol=1e-6)


def test_plain_borders_are_uncertain_partners():
    """Equal costs to every other piece give every pair the same, high cost."""
    costs = puzzles.partner_costs(jnp.zeros((1, 2, 4, 4)))
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(np.asarray(costs)[0, 0][off], 2 / 3, rtol=1e-6)
