"""A sum over the rows of a large batch, a few rows at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def chunked_sum(add: Callable[..., Any], total: Any, x: jax.Array, rows: int) -> Any:
    """`total` after `add(total, x[some rows], fresh)` for parts of at most `rows` rows.

    Memory is that of one part; `x` is neither copied nor padded. The last part reaches back over
    rows that were seen where `rows` does not divide the batch, and `fresh` says which were not.

    Args:
      add: `(total, part [R, ...], fresh bool [R]) -> total`; leaves out rows that are not fresh.
      total: pytree to start from.
      x: `[B, ...]`.
      rows: most rows of a part, above 0.
    """
    size = x.shape[0]
    if size <= rows:
        return add(total, x, jnp.ones((size,), bool))

    def part(i: jax.Array, total: Any) -> Any:
        first = jnp.minimum(i * rows, size - rows)
        fresh = first + jnp.arange(rows) >= i * rows
        return add(total, jax.lax.dynamic_slice_in_dim(x, first, rows), fresh)

    return jax.lax.fori_loop(0, -(-size // rows), part, total)
