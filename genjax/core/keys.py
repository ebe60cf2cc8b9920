"""Named random streams: every key is derived from the run's key, the step and a name."""

import zlib

import jax
import numpy as np


def named_key(key: jax.Array, step: jax.Array | int, name: str) -> jax.Array:
    """Derives the key of a stream at a step: `fold_in(fold_in(key, step), name)`.

    A new stream changes no other, and a checkpoint of (key, step) determines the position of all.

    Args:
      key: typed key, `[]`.
      step: integer, `[]`.
      name: of the stream, such as "dropout" or "data".

    Returns:
      typed key, `[]`.

    >>> key = jax.random.key(0)
    >>> bool((named_key(key, 1, "a") == named_key(key, 1, "b")).all())
    False
    """
    return jax.random.fold_in(jax.random.fold_in(key, step), np.uint32(zlib.crc32(name.encode())))
