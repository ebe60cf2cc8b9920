"""Sums over the rows of a large batch in chunks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def chunked_sum(add: Callable[..., Any], total: Any, x: jax.Array, rows: int) -> Any:
    """Accumulates `total = add(total, chunk, new)` over chunks of at most `rows` rows.

    Memory is that of one chunk; `x` is neither copied nor padded. If `rows` does not divide the
    batch, the last chunk overlaps the one before it, and `new` marks the rows not yet added.

    Args:
      add: `(total, chunk [R, ...], new bool [R]) -> total`; must leave out rows that are not new.
      total: initial pytree.
      x: `[B, ...]`.
      rows: largest number of rows of a chunk, above 0.

    Returns:
      the final total.
    """
    size = x.shape[0]
    if size <= rows:
        return add(total, x, jnp.ones((size,), bool))

    def part(i: jax.Array, total: Any) -> Any:
        first = jnp.minimum(i * rows, size - rows)
        new = first + jnp.arange(rows) >= i * rows
        return add(total, jax.lax.dynamic_slice_in_dim(x, first, rows), new)

    return jax.lax.fori_loop(0, -(-size // rows), part, total)
