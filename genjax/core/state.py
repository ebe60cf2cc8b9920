"""One immutable pytree with everything needed to go on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from genjax.core.keys import named_key


class State(struct.PyTreeNode):
    """Where a run stands; a checkpoint of it is the whole position.

    step: int32 `[]`, steps done.
    key: typed key `[]`; every random number of a run is a named stream of (key, step).
    variables: Flax collections: `params`, and `batch_stats` or `buffers` where a family has them.
    opt_state: of one optimizer, or a named tuple of them; `()` for counted families.
    ema: exponential moving average of `ema_params(params)`, or None.
    """

    step: jax.Array
    key: jax.Array
    variables: dict[str, Any]
    opt_state: Any
    ema: Any = None

    def eval_variables(self) -> dict[str, Any]:
        """The variables to evaluate and to sample with: the average where one is kept.

        A generator that normalises by batches needs `batch_norm_statistics` beside.
        """
        if self.ema is None:
            return self.variables
        return {**self.variables, "params": {**self.variables["params"], **self.ema}}


def ema_params(params: dict[str, Any]) -> dict[str, Any]:
    """What of the parameters a run averages: all, and of two players the generator's.

    A discriminator is good against the newest samples, and its running statistics are of data and
    samples as its newest weights see them.
    """
    return {"generator": params["generator"]} if "discriminator" in params else params


def init_optimizer(optimizer: Any, params: Any) -> Any:
    """One optimizer over all of `params`, or a named tuple of them, each over its subtree."""
    if optimizer is None:
        return ()
    if is_optimizer_tuple(optimizer):
        return type(optimizer)(
            *(o.init(params[name]) for name, o in zip(optimizer._fields, optimizer, strict=True))
        )
    return optimizer.init(params)


def is_optimizer_tuple(optimizer: Any) -> bool:
    """Whether this is a named tuple of optimizers (optax's own is a named tuple too)."""
    return hasattr(optimizer, "_fields") and not hasattr(optimizer, "update")


def init_state(
    family: Any,
    config: Any,
    optimizer: Any,
    key: jax.Array,
    *,
    ema: bool = False,
    batch: Any = None,
    variables: dict[str, Any] | None = None,
) -> State:
    """A run's first state. Call it inside `jax.jit`, so that no two leaves share a buffer.

    Args:
      family: module that follows the family contract.
      config: its Config.
      optimizer: optax optimizer, a named tuple of them, or None.
      key: typed key of the whole run.
      ema: keep an average of the parameters.
      batch: for families with data-dependent initialisation.
      variables: collections that take the place of those of the family's `init`, such as another
        run's params.
    """
    variables = {**family.init(config, named_key(key, 0, "init"), batch), **(variables or {})}
    params = variables.get("params", {})
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        variables=variables,
        opt_state=init_optimizer(optimizer, params),
        ema=ema_params(params) if ema else None,
    )


def with_ema(step: Callable, decay: float) -> Callable:
    """Wrap a step so that it also updates `state.ema` towards the new parameters.

    ema <- decay * ema + (1 - decay) * params, of `ema_params(params)`. Running statistics of a batch
    normalisation stay those of the newest weights: see `batch_norm_statistics`. It moves with every
    batch, also where several make one update.
    """

    def step_with_ema(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        new, metrics = step(state, batch)
        ema = jax.tree.map(
            lambda e, p: e + (1 - decay) * (p - e), state.ema, ema_params(new.variables["params"])
        )
        return new.replace(ema=ema), metrics

    return step_with_ema
