"""The stages of a run, and for each the optimizer, shapes and shardings of its states."""

import dataclasses
import functools
from typing import Any

import jax

from genjax import families
from genjax.core import (
    Optimizer,
    Stage,
    critic_steps,
    grow_state,
    reset_optimizer,
    stage_at,
    stage_state,
    stages_of,
)
from genjax.core.protocols import Growing
from genjax.core.state import State
from genjax.train.compile import AnyMesh, Rules, data_devices, state_shardings
from genjax.train.run_config import (
    Run,
    build_optimizer,
    map_optimizers,
    network_batches,
    optimizers_by_network,
)

WHOLE = 2**31 - 1  # steps, of a run that reaches all stages


@dataclasses.dataclass(frozen=True)
class Layout:
    """One stage of a run.

    Attributes:
      number: of the stage, from 0.
      stage: its schedule.
      settings: of its optimizers.
      optimizer: from `build_optimizer`.
      shapes: of the state.
      shardings: of the state; None without a mesh.
      lead: axes of a batch before its batch axis.
    """

    number: int
    stage: Stage
    settings: Any
    optimizer: Any
    shapes: Any
    shardings: Any
    lead: int


class Layouts:
    """The stages of a run; a run whose networks do not grow has one.

    Attributes:
      stages: of the run.
      growing: whether the family's networks can grow.
      all_stages: number of stages of a run that is long enough.
    """

    def __init__(self, run: Run, mesh: AnyMesh | None = None, rules: Rules | None = None):
        """Checks the schedule.

        Args:
          run: settings, resolved.
          mesh: devices, or their numbers (`AbstractMesh`); without it there are no shardings.
          rules: of shardings.

        Raises:
          ValueError: a batch is not divisible by the devices, or the schedule of a learning rate
            would be repeated.
        """
        self.run, self.mesh, self.rules = run, mesh, rules
        self.family = families.get(run.family)
        self.growing = isinstance(self.family, Growing)
        size, steps = run.train.batch_size, run.train.steps
        self.stages = stages_of(self.family, run.model, size, steps)
        self._every = stages_of(self.family, run.model, size, WHOLE)
        self.all_stages = len(self._every)
        self._of = functools.lru_cache(maxsize=None)(self._make)
        self._check()

    def of(self, number: int) -> Layout:
        """Returns the layout of a stage."""
        return self._of(number)

    def saved(self, step: int) -> Layout:
        """Returns the layout of a state after `step` steps, which may be more than the run's."""
        return self.of(stage_at(self._every, step))

    def saved_arrays(self, step: int) -> tuple[Any, Any]:
        """Returns shapes and shardings of a state after `step` steps, for `Checkpoints`."""
        layout = self.saved(step)
        return layout.shapes, layout.shardings

    def next(self, step: int) -> Layout:
        """Returns the layout of the step after `step` steps."""
        return self.of(max(sum(stage.first <= step for stage in self.stages) - 1, 0))

    def before_step(self, state: State, step: int) -> State:
        """Returns the state with which the next step begins: grown, or with a new optimizer state.

        Args:
          state: after `step` steps.
          step: their number.
        """
        old, new = self.saved(step), self.next(step)
        if old.number != new.number:
            return self._grown(new.number)(state)
        if new.stage.resets(step):
            return self._reset(new.number)(state)
        return state

    def options_from(self, step: int) -> list[str]:
        """Returns the options with which a run begins in the stage of a state after `step` steps.

        Tables of the stages are without the entries of earlier ones.
        """
        layout = self.saved(step)
        if not (layout.number and hasattr(self.run.model, "start")):
            return []
        options = ["--start", layout.stage.name.split("x")[0]]
        for name in ("batch_sizes", "rates", "stage_critic_steps"):
            table = getattr(self.run.model, name, ())
            if len(table) > 1:
                left = table[min(layout.number, len(table) - 1) :]
                options += [f"--{name.replace('_', '-')}", *map(str, left)]
        return options

    def learning_rate(self, step: int) -> Any:
        """Returns the learning rates of the last of `step` steps, by network where there are
        several."""
        layout = self.saved(step)

        def rate(name: str, settings: Optimizer) -> float:
            return float(
                settings.learning_rate_at()(self._batches(name, step) // settings.accumulate)
            )

        return map_optimizers(rate, layout.settings)

    def warnings(self) -> list[str]:
        """Returns a warning for a run that ends before its networks have their full size."""
        if len(self.stages) == self.all_stages:
            return []
        last = self._every[-1]
        return [
            f"the run ends in stage {self.stages[-1].name}; stage {last.name} begins after"
            f" {last.first:,} steps: raise --steps, or shorten the stages"
        ]

    def _batches(self, network: str, step: int) -> int:
        """Returns the batches of a network since its optimizer was initialised."""
        since = self.saved(step).stage.last_reset(step)
        batches = functools.partial(network_batches, self.run, network)
        return batches(step) - batches(since)

    def _make(self, number: int) -> Layout:
        run = self.run
        stage = (self.stages if number < len(self.stages) else self._every)[number]
        settings = run.optimizer
        if stage.rate != 1:
            settings = map_optimizers(
                lambda _, o: dataclasses.replace(o, learning_rate=o.learning_rate * stage.rate),
                settings,
            )
        optimizer = build_optimizer(dataclasses.replace(run, optimizer=settings))
        make = functools.partial(
            stage_state, self.family, run.model, optimizer, number=number, ema=run.train.ema > 0
        )
        shapes = jax.eval_shape(make, jax.random.key(0))
        shardings = None
        if self.mesh is not None:
            shardings = state_shardings(shapes, self.mesh, self.rules)
        lead = int(critic_steps(stage.config) > 1)
        return Layout(number, stage, settings, optimizer, shapes, shardings, lead)

    def _grown(self, number: int) -> Any:
        layout = self.of(number)

        def grow(state: State) -> State:
            return grow_state(
                self.family, self.run.model, layout.optimizer, state, reset=layout.stage.reset
            )

        return jax.jit(grow, out_shardings=layout.shardings)

    def _reset(self, number: int) -> Any:
        layout = self.of(number)
        reset = functools.partial(reset_optimizer, layout.optimizer)
        return jax.jit(reset, out_shardings=layout.shardings)

    def _check(self) -> None:
        count = 1 if self.mesh is None else data_devices(self.mesh)
        for stage in self.stages:
            if stage.batch_size % count:
                where = f" of stage {stage.name}" if self.growing else ""
                raise ValueError(
                    f"`batch_size` {stage.batch_size}{where} is not divisible by {count} devices;"
                    f" use a multiple of {count}."
                )
        if any(stage.reset and (stage.fade or stage.first) for stage in self.stages):
            for optimizer in optimizers_by_network(self.run.optimizer).values():
                if optimizer.schedule != "constant" or optimizer.warmup:
                    raise ValueError(
                        f"the optimizers are reset in every stage, which would repeat the schedule"
                        f" {optimizer.schedule!r} with warm-up {optimizer.warmup}; use a constant"
                        " rate and `rates` of the stages, or set reset_optimizer to False."
                    )
