"""Reference labels: orders of pieces by the costs of their borders, without a network.

Li et al. 2021, "JigsawGAN" (arXiv:2101.07555), section 3.2: pieces whose borders are alike are
neighbours, and a minimum spanning tree assembles the image. The paper keeps the n (n - 1) best
pairs of each direction for it. Here every pair may be used, since fewer need not connect all
pieces, and the tree grows by Prim's algorithm from the best pair; a piece may not be placed on
another, nor where the assembly would no longer fit the grid. The paper's order of pairs is that of
their PSNR; here it is that of `partner_costs`, since plain borders meet at no cost.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.puzzles import Grid, border_costs, partner_costs

STEPS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])  # right of a piece, left, below, above


def assemble(costs: jax.Array, grid: Grid) -> jax.Array:
    """Assembles puzzles by spanning trees, `[B, 2, N, N] -> orders int32 [B, N]`.

    Args:
      costs: of `border_costs`, right and below.
      grid: rows and columns of pieces.
    """
    return jax.vmap(lambda c: _assemble_one(c, grid))(costs)


def nearest(orders: jax.Array, permutations: jax.Array) -> jax.Array:
    """Returns the index of the nearest permutation by Hamming distance, the first of several.

    Args:
      orders: `[B, N]`.
      permutations: `[P, N]`.

    Returns:
      int32 `[B]`.
    """
    matches = (orders[:, None] == permutations[None]).sum(-1)  # [B, P]
    return jnp.argmax(matches, axis=1).astype(jnp.int32)


def reference_labels(pieces: jax.Array, permutations: jax.Array, grid: Grid) -> jax.Array:
    """Returns the listed permutation nearest to the assembled order, int32 `[B]`.

    Args:
      pieces: shuffled, `[B, N, h, w, C]`.
      permutations: `[P, N]`.
      grid: rows and columns of pieces.
    """
    return nearest(assemble(partner_costs(border_costs(pieces)), grid), permutations)


def _assemble_one(costs: jax.Array, grid: Grid) -> jax.Array:
    """Places one piece after another next to a placed one; returns the order `[N]`."""
    extent = jnp.asarray(grid)[None]  # [1, 2]
    n, centre = grid[0] * grid[1], np.asarray(grid) - 1
    right, below = costs
    edges = jnp.stack([right, right.T, below, below.T])  # [4, N, N]: direction, placed, new
    # A grid of one row or column has neighbours in one direction only.
    along = np.array([grid[1] > 1] * 2 + [grid[0] > 1] * 2)[:, None, None]
    edges = jnp.where(along & ~np.eye(n, dtype=bool)[None], edges, jnp.inf)
    start = jnp.argmin(edges) // n % n

    def place(_: int, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        cells, placed, occupied = state
        targets = cells[None] + STEPS[:, None]  # [4, N, 2], beside every piece
        low = jnp.where(placed[:, None], cells, 2 * extent).min(0)[None, None]
        high = jnp.where(placed[:, None], cells, -1).max(0)[None, None]
        size = jnp.maximum(high, targets) - jnp.minimum(low, targets) + 1
        inside = (size <= extent[None]).all(-1)
        at = jnp.clip(targets, 0, 2 * extent[None] - 2)
        free = inside & ~occupied[at[..., 0], at[..., 1]]  # [4, N]
        allowed = free[:, :, None] & placed[None, :, None] & ~placed[None, None]
        best = jnp.argmin(jnp.where(allowed, edges, jnp.inf))
        # Costs that are not finite leave any allowed place.
        best = jnp.where(allowed.ravel()[best], best, jnp.argmax(allowed))
        direction, anchor, new = jnp.unravel_index(best, edges.shape)
        cell = targets[direction, anchor]
        return (
            cells.at[new].set(cell),
            placed.at[new].set(True),
            occupied.at[cell[0], cell[1]].set(True),
        )

    # On a canvas where the image may extend from the first piece in every direction.
    cells = jnp.zeros((n, 2), jnp.int32).at[start].set(centre)
    placed = jnp.zeros(n, bool).at[start].set(True)
    canvas = jnp.zeros((2 * grid[0] - 1, 2 * grid[1] - 1), bool)
    # True, and varying over devices as the costs do, since shard_map compares the loop's types.
    occupied = canvas.at[centre[0], centre[1]].set(start >= 0)
    cells, _, _ = jax.lax.fori_loop(0, n - 1, place, (cells, placed, occupied))
    row, column = (cells - cells.min(0, keepdims=True)).T
    return (row * grid[1] + column).astype(jnp.int32)
