"""Named random streams, derived and never threaded through by hand."""

import zlib

import jax
import numpy as np


def named_key(key: jax.Array, step: jax.Array | int, name: str) -> jax.Array:
    """The key of one purpose at one step: `fold_in(fold_in(key, step), name)`.

    Adding a stream changes no other, and a checkpoint that holds (key, step) holds the position
    of all of them.

    Args:
      key: typed key, `[]`.
      step: integer, `[]`.
      name: the purpose, such as "dropout" or "data".

    Returns:
      typed key, `[]`.

    >>> key = jax.random.key(0)
    >>> bool((stream(key, 1, "a") == stream(key, 1, "b")).all())
    False
    """
    return jax.random.fold_in(jax.random.fold_in(key, step), np.uint32(zlib.crc32(name.encode())))
