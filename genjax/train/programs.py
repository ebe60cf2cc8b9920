"""The compiled steps of a run: one program per stage and length of a call."""

import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from jax.sharding import Mesh

from genjax.core import Stage, fading, make_step, with_ema
from genjax.train.compile import CompiledStep, compile_step
from genjax.train.layouts import Layouts
from genjax.train.run_config import Run

POLL = 0.2  # seconds between looks at the reasons to stop
Key = tuple[int, int]  # stage, steps of a call


def call_length(stage: Stage, step: int, per_call: int) -> int:
    """Returns the steps of the call after `step` steps.

    Calls are aligned to the stage's first step, so that a resumed run makes the same.
    """
    aligned = per_call - (step - stage.first) % per_call
    return min(aligned, stage.next_change(step) - step)


def call_lengths(stage: Stage, step: int, per_call: int) -> tuple[int, ...]:
    """Returns the lengths of all calls from a step to the end of a stage, longest first."""
    found = set()
    while step < stage.end:
        length = call_length(stage, step, per_call)
        found.add(length)
        whole = (stage.next_change(step) - step) // per_call * per_call
        step += whole if length == per_call else length
    return tuple(sorted(found, reverse=True))


class Programs:
    """The steps of a run, compiled when they are first used; those of growing networks ahead.

    Programs of the current and of later stages are kept.

    Attributes:
      begun: number of the stage of the last call; -1 before the first.
    """

    def __init__(
        self,
        layouts: Layouts,
        mesh: Mesh,
        transform: Callable[..., Any],
        shapes: Callable[[Stage, int], Any],
        *,
        resident: bool,
        per_call: int = 1,
    ):
        """Creates the programs of a run.

        Args:
          layouts: stages of the run.
          mesh: devices.
          transform: of the batches, on the device.
          shapes: of the inputs after the state, of a stage and a length.
          resident: whether the data is on the device.
          per_call: steps of a call.
        """
        self.layouts, self.mesh, self.transform = layouts, mesh, transform
        self.shapes, self.resident, self.per_call = shapes, resident, per_call
        self.when = layouts.run.train.compile_stages
        self.compiled: dict[Key, CompiledStep] = {}
        self._compiling: dict[Key, Future[CompiledStep]] = {}
        self._threads = ThreadPoolExecutor(os.cpu_count(), "compile")
        self.begun = -1

    def __contains__(self, key: Key) -> bool:
        """Returns whether the step of (stage, length) is compiled."""
        future = self._compiling.get(key)
        return key in self.compiled or (future is not None and future.done())

    def step(self, number: int, length: int) -> CompiledStep:
        """Returns the compiled step of a call of `length` steps in a stage.

        Raises:
          Exception: the one with which compiling ahead failed.
        """
        key = number, length
        if key not in self.compiled:
            # Earlier stages do not come again.
            self.compiled = {k: v for k, v in self.compiled.items() if k[0] >= number}
            future = self._compiling.pop(key, None)
            self.compiled[key] = self.compile(*key) if future is None else future.result()
        if number > self.begun:
            self.begun = number
            if self.when == "next" and number + 1 < len(self.layouts.stages):
                self._submit(number + 1, self.layouts.stages[number + 1].first)
        return self.compiled[key]

    def ahead(self, step: int, reason_to_stop: Callable[[], str]) -> str:
        """Compiles what `Train.compile_stages` asks for before the step after `step` steps.

        Args:
          step: of the state that the run begins or resumes with.
          reason_to_stop: returns one, or nothing.

        Returns:
          a reason to stop that came up.

        Raises:
          Exception: the one with which compiling failed.
        """
        first = self.layouts.next(step).number
        last = {"all": len(self.layouts.stages), "next": first + 1, "none": first}[self.when]
        for number in range(first, last):
            self._submit(number, max(step, self.layouts.stages[number].first))
        left = set(self._compiling.values())
        while left:
            done, left = wait(left, POLL, FIRST_EXCEPTION)
            for future in done:
                future.result()
            if stop := reason_to_stop():
                return stop
        return ""

    def main(self, number: int, step: int) -> tuple[CompiledStep | None, int]:
        """Returns the program of most calls of a stage from `step` on, and the steps of a call.

        The program is None where it is not compiled yet.
        """
        stage = self.layouts.stages[number]
        key = number, call_lengths(stage, max(step, stage.first), self.per_call)[0]
        future = self._compiling.get(key)
        if future is not None and future.done():
            return future.result(), key[1]
        return self.compiled.get(key), key[1]

    def compile(self, number: int, length: int) -> CompiledStep:
        """Compiles a step: of growing networks for the shapes of the stage, now."""
        layouts, layout = self.layouts, self.layouts.of(number)
        step = make_step(layouts.family, layout.stage.config, layout.optimizer)
        if layouts.growing:
            step = fading(step, layout.stage)
        decay = layouts.run.train.ema
        compiled = compile_step(
            with_ema(step, decay) if decay else step,
            mesh=self.mesh,
            shardings=layout.shardings,
            steps_per_call=length,
            lead=layout.lead,
            transform=self.transform,
            resident=self.resident,
            window=self.resident,
        )
        if not layouts.growing:
            return compiled
        return compiled.compile(layout.shapes, *self.shapes(layout.stage, length))

    def of_run(self, run: Run) -> "Programs":
        """Returns programs of a run with other batch sizes."""
        return Programs(
            Layouts(run, self.mesh, self.layouts.rules),
            self.mesh,
            self.transform,
            self.shapes,
            resident=self.resident,
            per_call=self.per_call,
        )

    def close(self) -> None:
        """Waits for the programs that are being compiled; no other one is begun."""
        self._threads.shutdown(cancel_futures=True)

    def _submit(self, number: int, step: int) -> None:
        for length in call_lengths(self.layouts.stages[number], step, self.per_call):
            self._compiling[number, length] = self._threads.submit(self.compile, number, length)
