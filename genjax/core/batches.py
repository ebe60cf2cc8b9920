"""Batches of examples `[B, *shape]`: their specification and checks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.core.protocols import Batch


def batch_spec(config: Any, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns `x`: float32 `[B, *shape]`, and for a Config with classes `label`: int32 `[B]`."""
    spec = {"x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32)}
    if getattr(config, "classes", 0):
        spec["label"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return spec


def check_batch(family: str, config: Any, batch: Batch) -> None:
    """Raises ValueError if a batch does not fit `batch_spec`."""
    checks.batch(family, batch, functools.partial(batch_spec, config))


def flat_events(family: str, config: Any, x: jax.Array) -> jax.Array:
    """Returns `x` `[B, *shape]` as `[B, D]`; raises ValueError if its shape is another."""
    checks.events(family, x, config.shape)
    return x.reshape(x.shape[0], -1)
