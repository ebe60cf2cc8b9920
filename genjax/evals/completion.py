"""Completion of partly known examples, and heat maps of conditionals."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import log_conditionals
from genjax.core.protocols import Autoregressive, Completion, family_name


def completable(order: np.ndarray, known: np.ndarray) -> bool:
    """Returns whether the known dimensions come first in the order."""
    flags = np.asarray(known).reshape(-1)[order]
    return bool((np.diff(flags.astype(int)) <= 0).all())


def complete(
    family: Any,
    config: Any,
    variables: Any,
    key: jax.Array,
    x: jax.Array,
    known: np.ndarray,
    **conditions: Any,
) -> jax.Array:
    """Samples the unknown values of `x` exactly, given the known ones.

    Uses the family's own `complete`; else draws value after value in its order.

    Args:
      family, config, variables: a model that implements `Completion`, or `Autoregressive` for
        binary data.
      key: PRNG key.
      x: `[B, *shape]`; unknown values are ignored.
      known: bool `[*shape]`, the same for all examples. If the family is only `Autoregressive`, the
        known values must come first in its order.
      **conditions: conditions of the family, such as `label` `[B]`.

    Returns:
      `[B, *shape]`.

    Raises:
      ValueError: the family cannot condition on these values, or has no such condition.
    """
    name = family_name(family)
    known = np.asarray(known, bool)
    if known.shape != tuple(config.shape):
        raise ValueError(
            f"`known` must have the shape of one example, {tuple(config.shape)}, got {known.shape}."
        )
    own = isinstance(family, Completion)
    if not own and not isinstance(family, Autoregressive):
        raise ValueError(f"{name} has no conditionals to complete images with.")
    parameters = inspect.signature(family.complete if own else family.logits).parameters
    any_name = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    unknown = [condition for condition in conditions if condition not in parameters]
    if unknown and not any_name:
        raise ValueError(f"{name} completes without {', '.join(unknown)}; leave it out.")
    x = jnp.where(known[None], x, 0)  # unknown values must not have an effect
    if own:
        return family.complete(config, variables, key, x, known, **conditions)
    order = np.asarray(family.order(config))
    if not completable(order, known):
        raise ValueError(
            f"{name} conditions only on pixels that come first in its order; let the known pixels"
            f" come first, or use orderless_nade."
        )
    noise = jax.random.uniform(key, (order.size, x.shape[0]))

    def pixel(d: jax.Array, flat: jax.Array) -> jax.Array:
        logits = family.logits(config, variables, flat.reshape(x.shape), **conditions)
        place = jnp.asarray(order)[d]
        p = jax.nn.sigmoid(logits.reshape(x.shape[0], -1)[:, place])
        return flat.at[:, place].set((noise[d] < p).astype(flat.dtype))

    flat = jax.lax.fori_loop(int(known.sum()), order.size, pixel, x.reshape(x.shape[0], -1))
    return flat.reshape(x.shape)


def heat_map(family: Any, config: Any, variables: Any, x: jax.Array) -> jax.Array:
    """Computes -log p(x_d | dimensions before d), `[B, *shape]` nats."""
    return -log_conditionals(family, config, variables, x)
