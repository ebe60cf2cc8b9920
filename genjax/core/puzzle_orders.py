"""Orders of pieces that a `PuzzleSolver` finds, and how many pieces they misplace."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.core.protocols import PermutationLogits
from genjax.core.puzzles import cut, random_orders, restore, shuffle

LOWEST = -1e6  # nats, in place of minus infinity


def assign(scores: jax.Array) -> jax.Array:
    """Returns the orders whose scores have the greatest sum, `[B, N, N]` -> int32 `[B, N]`.

    The assignment is exact, by the Hungarian algorithm.

    Args:
      scores: of every piece at every position (last axis); NaN is lowest.
    """

    def one(scores: jax.Array) -> jax.Array:
        pieces, positions = optax.assignment.hungarian_algorithm(-scores)
        return jnp.zeros(len(scores), jnp.int32).at[pieces].set(positions.astype(jnp.int32))

    # Without finite costs the algorithm does not end.
    return jax.vmap(one)(jnp.nan_to_num(scores, nan=LOWEST, neginf=LOWEST))


def find_orders(family: Any, config: Any, variables: Any, pieces: jax.Array) -> jax.Array:
    """Returns the order that a `PuzzleSolver` finds of pieces `[B, N, h, w, C]`, int32 `[B, N]`.

    It is the exact assignment of position scores, or the most probable one of a list.
    """
    return _orders(family, config, _scores(family, config, variables, pieces))


def _scores(family: Any, config: Any, variables: Any, pieces: jax.Array) -> jax.Array:
    if isinstance(family, PermutationLogits):
        return family.permutation_logits(config, variables, pieces)
    return family.position_scores(config, variables, pieces)


def _orders(family: Any, config: Any, scores: jax.Array) -> jax.Array:
    if isinstance(family, PermutationLogits):
        return jnp.asarray(family.permutations(config), jnp.int32)[scores.argmax(-1)]
    return assign(scores)


def draw_orders(family: Any, config: Any, key: jax.Array, batch: int) -> jax.Array:
    """Draws orders uniformly from those that a `PuzzleSolver` can find, int32 `[B, N]`."""
    if isinstance(family, PermutationLogits):
        orders = jnp.asarray(family.permutations(config), jnp.int32)
        return orders[jax.random.randint(key, (batch,), 0, len(orders))]
    rows, columns = family.grid(config)
    return random_orders(key, batch, rows * columns)


def misplaced(restored: jax.Array, pieces: jax.Array) -> jax.Array:
    """Returns whether a position has other pixels than the true piece, bool `[B, N]`.

    Args:
      restored: pieces by position, `[B, N, h, w, C]`.
      pieces: the true ones.
    """
    return (restored != pieces).any((-3, -2, -1))


def wrong_pieces(
    family: Any, config: Any, variables: Any, images: jax.Array, key: jax.Array
) -> jax.Array:
    """Computes the share of wrong pieces of images shuffled at random, `[B]` in [0, 1].

    It is NaN where a score is.

    Args:
      family: module that implements `PuzzleSolver`.
      config: its Config.
      variables: its variables.
      images: `[B, H, W, C]`.
      key: of the orders.
    """
    pieces = cut(images, family.grid(config))
    shuffled = shuffle(pieces, draw_orders(family, config, key, len(images)))
    scores = _scores(family, config, variables, shuffled)
    restored = restore(shuffled, _orders(family, config, scores))
    share = misplaced(restored, pieces).mean(-1)
    return jnp.where(jnp.isnan(scores.reshape(len(scores), -1)).any(-1), jnp.nan, share)
