"""Training steps of rows at a stage of networks that grow; other networks have a single stage."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from genjax import families
from genjax.core import State, fading, make_step, stage_state, with_ema
from genjax.core.protocols import Growing
from genjax.core.step import Step
from genjax.train import Run
from genjax.train.layouts import WHOLE, Layout, Layouts


def layouts_of(run: Run) -> Layouts:
    """Returns all stages of a row, also those that the run does not reach."""
    return Layouts(dataclasses.replace(run, train=dataclasses.replace(run.train, steps=WHOLE)))


def last_layout(run: Run) -> Layout:
    """Returns the last stage of a row."""
    layouts = layouts_of(run)
    return layouts.of(len(layouts.stages) - 1)


def at_last_stage(run: Run) -> Run:
    """Returns a row with the batch size and critic steps of its last stage in every stage."""
    if not isinstance(families.get(run.family), Growing):
        return run
    stage = layouts_of(run).stages[-1]
    model = dataclasses.replace(stage.config, batch_sizes=(), stage_critic_steps=())
    train = dataclasses.replace(run.train, batch_size=stage.batch_size)
    return dataclasses.replace(run, model=model, train=train)


def stage_step(run: Run, layout: Layout) -> Step:
    """Returns the training step of a stage, with the EMA if the row has one."""
    family = families.get(run.family)
    step = make_step(family, layout.stage.config, layout.optimizer)
    if isinstance(family, Growing):
        step = fading(step, layout.stage)
    return with_ema(step, run.train.ema) if run.train.ema else step


def stage_state_at(run: Run, layout: Layout) -> Callable[[Any], State]:
    """Returns a function from a key to a state: initial, or half into the fade of a later stage."""
    family, stage = families.get(run.family), layout.stage

    def make(key: jax.Array) -> State:
        state = stage_state(
            family, run.model, layout.optimizer, key, layout.number, ema=run.train.ema > 0
        )
        return state.replace(step=state.step + stage.first + stage.fade // 2)

    return make
