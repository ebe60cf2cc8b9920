"""Quantities and train steps that follow from what a family implements."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from genjax.core.autoregressive import conditional_nats
from genjax.core.protocols import Conditionals
from genjax.core.state import State
from genjax.core.step import Step, gradient_step


def make_step(family: Any, config: Any, optimizer: Any = None) -> Step:
    """Builds a family's pure train step, `step(state, batch) -> (state, metrics)`.

    Args:
      family: module that implements `Trainable` or `Fitted`.
      config: its Config.
      optimizer: an Optax optimizer; None for families fitted without a gradient.

    Raises:
      ValueError: the optimizer does not fit the family.
    """
    if hasattr(family, "make_step"):
        return family.make_step(config, optimizer)
    name = family.__name__.rsplit(".", 1)[-1]
    if family.traits(config).fit == "gradient":
        if not hasattr(optimizer, "update"):
            raise ValueError(f"{name} needs an Optax optimizer such as optax.adam(1e-3).")
        return gradient_step(functools.partial(family.loss, config), optimizer)
    if optimizer is not None:
        raise ValueError(f"{name} is fitted without a gradient; pass optimizer=None.")

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        variables, metrics = family.update(config, state.variables, batch)
        metrics = {k: jnp.mean(v) for k, v in metrics.items()}
        return state.replace(step=state.step + 1, variables=variables), metrics

    return step


def log_conditionals(
    family: Any, config: Any, variables: dict[str, Any], x: jax.Array, **conditions: Any
) -> jax.Array:
    """Computes log p(x_d | dimensions before d in `family.order(config)`).

    Args:
      family: module that implements `Autoregressive` or `Conditionals`.
      config: its Config.
      variables: its Flax collections.
      x: `[B, *shape]`.
      **conditions: further arguments of the family, such as `label`.

    Returns:
      `[B, *shape]` nats; their sum over dimensions is log p(x).
    """
    if isinstance(family, Conditionals):
        return family.log_conditionals(config, variables, x, **conditions)
    return -conditional_nats(family.logits(config, variables, x, **conditions), x)
