"""A split batch by batch: every batch of one shape, the next on its way while one is fetched."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import named_key

ProgressCallback = Callable[[int, int], None]
"""Hears how many examples are done, and of how many."""


def padded(
    arrays: Mapping[str, Any], batch_size: int, multiple: int = 1
) -> Iterator[tuple[dict[str, Any], int]]:
    """Batches of the arrays `[N, ...]`, and how many rows of each are real.

    The last batch is filled up with its first row, so that all have one shape and one program; a
    batch is no larger than the arrays, but rounded up to a multiple of so many rows.

    Raises:
      ValueError: the arrays differ in length, or hold nothing.
    """
    checks.positive(batch_size=batch_size)
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise ValueError(f"arrays of one length are needed, one row an example; got {lengths}.")
    n = next(iter(lengths.values()))
    size = -(-min(batch_size, n) // multiple) * multiple
    for start in range(0, n, size):
        parts = {name: a[start : start + size] for name, a in arrays.items()}
        real = min(size, n - start)
        if real < size:
            parts = {
                name: jnp.concatenate([part, jnp.repeat(part[:1], size - real, axis=0)])
                for name, part in parts.items()
            }
        yield parts, real


def map_batches(
    call: Callable[..., Any],
    arrays: Mapping[str, Any],
    key: jax.Array,
    batch_size: int,
    *,
    multiple: int = 1,
    name: str = "batch",
    told: ProgressCallback | None = None,
) -> Iterator[Any]:
    """`call(**parts, key=...)` of every batch, its real rows on the host, in order.

    Memory is that of two batches: while one is fetched, the next is computed.

    Args:
      call: compiled; a pytree of arrays with the batch axis first.
      arrays: `{"x": [N, ...], "label": [N], ...}`.
      key: each batch gets a stream of it.
      batch_size: rows at a time.
      multiple: rows of a batch are one of it: devices that it is laid over.
      name: of those streams.
      told: called with the number of rows done and of all rows, as each batch is.
    """
    total, done = len(next(iter(arrays.values()))), 0

    def fetched(out: Any, real: int) -> Any:
        nonlocal done
        rows = jax.tree.map(lambda a: np.asarray(a)[:real], out)
        done += real
        if told is not None:
            told(done, total)
        return rows

    waiting: tuple[Any, int] | None = None
    for i, (parts, real) in enumerate(padded(arrays, batch_size, multiple)):
        out = call(**parts, key=named_key(key, i, name))
        if waiting is not None:
            yield fetched(*waiting)
        waiting = out, real
    if waiting is not None:
        yield fetched(*waiting)


def map_split(
    call: Callable[..., Any],
    arrays: Mapping[str, Any],
    key: jax.Array,
    batch_size: int,
    *,
    multiple: int = 1,
    name: str = "batch",
    told: ProgressCallback | None = None,
) -> Any:
    """As `map_batches`, joined: every leaf `[N, ...]` on the host."""
    every = map_batches(call, arrays, key, batch_size, multiple=multiple, name=name, told=told)
    found = list(every)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)
