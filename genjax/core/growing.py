"""Stages of a run whose networks grow: their schedule, and the state of the next stage."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from genjax.core.derived import critic_steps
from genjax.core.keys import named_key
from genjax.core.protocols import Growing, Variables
from genjax.core.state import State, init_optimizer, init_state
from genjax.core.step import Optimizers, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Part of a run in which the networks keep their size.

    The run's first stage has no fade. In a fade the weight alpha of the new layers rises from 0
    to 1.

    Attributes:
      name: such as "8x8"; empty for networks that do not grow.
      config: the family's Config in this stage, which may have other critic steps.
      first: step at which the stage begins.
      steps: number of steps.
      fade: of these, steps of the fade; it comes first.
      batch_size: examples per step; per critic step if there are several.
      examples: training examples used before the stage.
      rate: factor of the learning rates.
      reset: whether the optimizers are reset before the stage and at the end of its fade.
      refresh: steps between changes of alpha.
    """

    name: str = ""
    config: Any
    first: int = 0
    steps: int
    fade: int = 0
    batch_size: int
    examples: int = 0
    rate: float = 1.0
    reset: bool = True
    refresh: int = 1

    @property
    def end(self) -> int:
        """Step after the last one."""
        return self.first + self.steps

    @property
    def examples_per_step(self) -> int:
        """Training examples of one step."""
        return self.batch_size * critic_steps(self.config)

    def examples_at(self, step: int) -> int:
        """Returns the number of training examples used before a step of the stage."""
        return self.examples + (step - self.first) * self.examples_per_step

    def resets(self, step: int) -> bool:
        """Returns whether the optimizers are reset before a step, other than by growth."""
        return self.reset and 0 < self.fade == step - self.first

    def last_reset(self, step: int) -> int:
        """Returns the step before which the optimizers of the last of `step` steps began."""
        if not self.reset:
            return 0
        faded = self.first + self.fade
        return faded if step > faded else self.first

    def next_change(self, step: int) -> int:
        """Returns the first step after `step` before which the stage ends or resets."""
        faded = self.first + self.fade
        return faded if self.reset and step < faded < self.end else self.end

    def alpha(self, step: Any) -> jax.Array:
        """Returns the weight of the new layers at a step of the stage, float32 `[]`."""
        if not self.fade:
            return jnp.ones((), jnp.float32)
        done = jnp.asarray(step) - self.first
        done = done // self.refresh * self.refresh
        return jnp.minimum(done.astype(jnp.float32) / self.fade, 1.0)


def stages_of(family: Any, config: Any, batch_size: int, steps: int) -> tuple[Stage, ...]:
    """Returns the stages of a run of so many steps; a single one if the networks do not grow.

    Args:
      family: module that implements `Family`.
      config: its Config.
      batch_size: examples per step, unless the Config has others for its stages.
      steps: of the run.
    """
    if isinstance(family, Growing):
        return family.stages(config, batch_size, steps)
    return (Stage(config=config, steps=steps, batch_size=batch_size),)


def stage_at(stages: tuple[Stage, ...], step: int) -> int:
    """Returns the number of the stage of a state after `step` steps.

    A state at the end of a stage belongs to that stage: it grows before the next step.
    """
    return max(sum(stage.first < step for stage in stages) - 1, 0)


def fading(step: Step, stage: Stage) -> Step:
    """Wraps a step of a stage: alpha is set in the variables from `state.step`, and logged."""

    def faded(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        alpha = stage.alpha(state.step)
        new, metrics = step(state.replace(variables=with_alpha(state.variables, alpha)), batch)
        return new, {**metrics, "alpha": alpha}

    return faded


def with_alpha(variables: Variables, alpha: Any) -> Variables:
    """Returns variables in which the newest layers have weight `alpha`, in [0, 1]."""
    fade = {"alpha": jnp.asarray(alpha, jnp.float32)}
    return {**variables, "buffers": {**variables.get("buffers", {}), "fade": fade}}


def grow_state(
    family: Any, config: Any, optimizer: Optimizers | None, state: State, *, reset: bool
) -> State:
    """Returns the state of the next stage: every leaf of `state` is kept, new ones initialised.

    New parameters come from the stream "grow" of the state's key and step; their average begins
    with their values.

    Args:
      family: module that implements `Growing`.
      config: its Config.
      optimizer: of the next stage.
      state: at the end of a stage.
      reset: whether all of the optimizer's state is initialised, or only that of new parameters.
    """
    variables = family.grow(config, state.variables, named_key(state.key, state.step, "grow"))
    params = variables["params"]
    opt_state = init_optimizer(optimizer, params)
    if not reset:
        opt_state = carry(state.opt_state, opt_state)
    ema = None
    if state.ema is not None:
        ema = carry(state.ema, {name: jax.tree.map(jnp.copy, params[name]) for name in state.ema})
    return state.replace(variables=variables, opt_state=opt_state, ema=ema)


def reset_optimizer(optimizer: Optimizers | None, state: State) -> State:
    """Returns the state with its optimizer's state initialised."""
    return state.replace(opt_state=init_optimizer(optimizer, state.variables["params"]))


def carry(old: Any, new: Any) -> Any:
    """Returns the tree `new` with the leaves of `old` at the paths that both have."""
    kept = dict(jax.tree_util.tree_leaves_with_path(old))
    return jax.tree_util.tree_map_with_path(lambda path, leaf: kept.get(path, leaf), new)


def stage_state(
    family: Any,
    config: Any,
    optimizer: Optimizers | None,
    key: jax.Array,
    number: int,
    *,
    ema: bool = False,
) -> State:
    """Returns a state with the shapes of stage `number`, for `jax.eval_shape`."""
    state = init_state(family, config, optimizer, key, ema=ema)
    for _ in range(number):
        state = grow_state(family, config, optimizer, state, reset=True)
    return state
