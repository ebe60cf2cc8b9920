"""State of a run as one immutable pytree, and the exponential moving average of parameters."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from flax import struct

from genjax import checks
from genjax.core.keys import named_key

Init = TypeVar("Init", bound=Callable[..., Any])


def compiled_init(init: Init) -> Init:
    """Makes a family's `init` one program, and checks the key.

    Outside `jax.jit` Flax would run a whole forward pass, operation by operation, which takes three
    to four times as long.
    """
    program = jax.jit(init, static_argnums=0, inline=True)

    @functools.wraps(init)
    def checked(config: Any, key: jax.Array, batch: Any = None) -> Any:
        checks.check_key("init", key)
        return program(config, key, batch)

    return cast(Init, checked)


class State(struct.PyTreeNode):
    """State of a run; a checkpoint of it determines everything that follows.

    Attributes:
      step: int32 `[]`, number of completed steps.
      key: typed key `[]`; every random number of a run is from a named stream of (key, step).
      variables: Flax collections: `params`, and `batch_stats` or `buffers` where a family has them.
      opt_state: of one optimizer, or a dict of them by network; `()` without an optimizer.
      ema: exponential moving average of the parameters in `traits(config).ema`, or None.
    """

    step: jax.Array
    key: jax.Array
    variables: dict[str, Any]
    opt_state: Any
    ema: Any = None

    def eval_variables(self) -> dict[str, Any]:
        """Returns the variables for evaluation and sampling: averaged parameters where kept.

        A network with batch normalisation also needs `batch_norm_statistics`.
        """
        if self.ema is None:
            return self.variables
        return {**self.variables, "params": {**self.variables["params"], **self.ema}}


def init_optimizer(optimizer: Any, params: Any) -> Any:
    """Initialises one optimizer on all of `params`, or each of a dict on `params[name]`."""
    if optimizer is None:
        return ()
    if isinstance(optimizer, Mapping):
        return {name: each.init(params[name]) for name, each in optimizer.items()}
    return optimizer.init(params)


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
    """Returns a run's first state. It is faster inside `jax.jit`, as one program.

    Args:
      family: module that implements `Family`.
      config: its Config.
      optimizer: Optax optimizer, a dict of them by network, or None.
      key: typed key of the whole run; the state holds a copy.
      ema: whether to keep an average of the parameters.
      batch: for families with data-dependent initialisation.
      variables: collections that replace those of the family's `init`, such as params of another
        run; entries of `buffers` replace single ones. The state holds copies.
    """
    _check_arguments(family, config, optimizer, key)
    # A step donates the state's buffers: none may be the caller's, or be in the state twice.
    given = jax.tree.map(jnp.copy, variables or {})
    variables = family.init(config, named_key(key, 0, "init"), batch)
    if "buffers" in given:
        given["buffers"] = {**variables["buffers"], **given["buffers"]}
    variables = {**variables, **given}
    params = variables.get("params", {})
    return State(
        step=jnp.zeros((), jnp.int32),
        key=jnp.copy(key),
        variables=variables,
        opt_state=init_optimizer(optimizer, params),
        ema=jax.tree.map(jnp.copy, _averaged(params, family.traits(config).ema)) if ema else None,
    )


def _check_arguments(family: Any, config: Any, optimizer: Any, key: Any) -> None:
    if not hasattr(family, "init"):
        raise ValueError(
            f"init_state: the first argument must be the module of a family, got {family!r}; pass"
            f" genjax.families.get('nade')."
        )
    name = getattr(family, "__name__", "the family").split(".")[-1]
    if hasattr(family, "Config") and not isinstance(config, family.Config):
        raise ValueError(
            f"init_state: config must be a Config of {name}, got {type(config).__name__} of"
            f" {type(config).__module__}; pass {name}.Config(...)."
        )
    each = optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]
    for one in each:
        if one is not None and not hasattr(one, "init"):
            raise ValueError(
                f"init_state: optimizer must be one of Optax, such as optax.adam(1e-3), a dict of"
                f" them by network, or None, got {one!r}."
            )
    checks.check_key("init_state", key)


def with_ema(step: Callable, decay: float) -> Callable:
    """Wraps a step so that it also updates `state.ema`.

    ema <- d * ema + (1 - d) * params with d = min(decay, (1 + n) / (10 + n)) after n steps, so that
    a short run is not evaluated at its random initialisation. Batch-norm statistics are not
    averaged: see `batch_norm_statistics`. The average moves with every step, also where an
    optimizer accumulates several batches.

    Args:
      step: `(state, batch) -> (state, metrics)`.
      decay: in [0, 1), approached from 0.1.
    """

    def step_with_ema(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        new, metrics = step(state, batch)
        n = state.step.astype(jnp.float32)
        weight = jnp.maximum(1 - decay, 9 / (10 + n))  # 1 - d, without cancellation in float32
        params = _averaged(new.variables["params"], tuple(state.ema))
        ema = jax.tree.map(lambda e, p: e + weight.astype(e.dtype) * (p - e), state.ema, params)
        return new.replace(ema=ema), metrics

    return step_with_ema


def ema_warning(decay: float, steps: int) -> str:
    """Returns a warning if an average of so many steps is younger than 1 / (1 - decay), else ""."""
    horizon = 1 / (1 - decay)
    if not decay or steps > horizon - 0.5:
        return ""
    return (
        f"the average of the weights (--ema {decay:g}) has a horizon of {horizon:,.0f} steps, but"
        f" the evaluated weights have {steps:,}; lower --ema or train longer"
    )


def _averaged(params: dict[str, Any], networks: Sequence[str]) -> dict[str, Any]:
    """Returns the parameters that are averaged: those of the named networks; all if none is."""
    return {name: params[name] for name in networks} if networks else params
