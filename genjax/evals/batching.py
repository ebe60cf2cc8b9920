"""Evaluation in batches of one shape, computing the next while one is copied to the host."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.core import named_key

ProgressCallback = Callable[[int, int], None]
"""Called with the number of examples done and their total."""


def padded(
    arrays: Mapping[str, Any], batch_size: int, multiple: int = 1
) -> Iterator[tuple[dict[str, Any], int]]:
    """Iterates over batches of arrays `[N, ...]`, all of one shape, and their numbers of true rows.

    The last batch is padded with copies of its first row. The batch size is at most the number of
    rows, rounded up to a multiple of `multiple`, such as the number of devices.

    Raises:
      ValueError: the arrays are empty or differ in length.
    """
    checks.positive(batch_size=batch_size)
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise ValueError(f"arrays must have one length of at least 1, got {lengths}.")
    n = next(iter(lengths.values()))
    size = -(-min(batch_size, n) // multiple) * multiple
    for start in range(0, n, size):
        parts = {name: a[start : start + size] for name, a in arrays.items()}
        valid = min(size, n - start)
        if valid < size:
            parts = {
                name: jnp.concatenate([part, jnp.repeat(part[:1], size - valid, axis=0)])
                for name, part in parts.items()
            }
        yield parts, valid


def map_batches(
    call: Callable[..., Any],
    arrays: Mapping[str, Any],
    key: jax.Array,
    batch_size: int,
    *,
    multiple: int = 1,
    name: str = "batch",
    progress: ProgressCallback | None = None,
) -> Iterator[Any]:
    """Iterates over `call(**batch, key=...)` of all batches, as host arrays without padding.

    Memory is that of two batches: while one is copied, the next is computed.

    Args:
      call: compiled function that returns a pytree of arrays `[B, ...]`.
      arrays: `{"x": [N, ...], "label": [N], ...}`.
      key: key that those of the batches are derived from.
      batch_size: rows per batch.
      multiple: of the batch size, see `padded`.
      name: name of the derived keys.
      progress: called after every batch with the rows done and the number of rows.
    """
    total, done = len(next(iter(arrays.values()))), 0

    def fetched(out: Any, valid: int) -> Any:
        nonlocal done
        rows = jax.tree.map(lambda a: np.asarray(a)[:valid], out)
        done += valid
        if progress is not None:
            progress(done, total)
        return rows

    pending: tuple[Any, int] | None = None
    for i, (parts, valid) in enumerate(padded(arrays, batch_size, multiple)):
        out = call(**parts, key=named_key(key, i, name))
        if pending is not None:
            yield fetched(*pending)
        pending = out, valid
    if pending is not None:
        yield fetched(*pending)


def evaluate_split(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """Returns `call(variables, x, key, batch_size, condition=None, progress=None)` over a split.

    It concatenates `function(variables, x=..., key=..., **condition)` of all batches. `condition`
    holds the other entries of a batch, such as `{"label": [N]}`; `progress` is called with the
    numbers of examples done and in all.

    Args:
      function: compiled function that returns a pytree of arrays `[B, ...]`.
      **settings: of `map_batches`.
    """

    def call(
        variables: Any,
        x: Any,
        key: jax.Array,
        batch_size: int,
        condition: Mapping[str, Any] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Any:
        batch = functools.partial(function, variables)
        arrays = {"x": x, **(condition or {})}
        return map_split(batch, arrays, key, batch_size, progress=progress, **settings)

    return call


def map_split(*args: Any, **settings: Any) -> Any:
    """Concatenates the results of `map_batches`: every leaf `[N, ...]` on the host."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *map_batches(*args, **settings))
