"""The compiled steps of a run: one program per stage and length of a call."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from genjax.core import fading, make_step, with_ema
from genjax.train.compile import CompiledStep, compile_step
from genjax.train.layouts import Layouts


class Programs:
    """Compiles steps when they are first used, and keeps those of the current stage."""

    def __init__(
        self, layouts: Layouts, mesh: Mesh, transform: Callable[..., Any], *, resident: bool
    ):
        """Creates the programs of a run.

        Args:
          layouts: stages of the run.
          mesh: devices.
          transform: of the batches, on the device.
          resident: whether the data is on the device.
        """
        self.layouts, self.mesh, self.transform = layouts, mesh, transform
        self.resident = resident
        self.compiled: dict[tuple[int, int], CompiledStep] = {}

    def __contains__(self, key: tuple[int, int]) -> bool:
        """Returns whether the step of (stage, length) is compiled."""
        return key in self.compiled

    def step(self, number: int, length: int) -> CompiledStep:
        """Returns the compiled step of a call of `length` steps in a stage."""
        key = number, length
        if key not in self.compiled:
            # Earlier stages do not come again.
            self.compiled = {k: v for k, v in self.compiled.items() if k[0] >= number}
            self.compiled[key] = self._compile(number, length)
        return self.compiled[key]

    def _compile(self, number: int, length: int) -> CompiledStep:
        layouts, layout = self.layouts, self.layouts.of(number)
        step = make_step(layouts.family, layout.stage.config, layout.optimizer)
        if layouts.growing:
            step = fading(step, layout.stage)
        decay = layouts.run.train.ema
        return compile_step(
            with_ema(step, decay) if decay else step,
            mesh=self.mesh,
            shardings=layout.shardings,
            steps_per_call=length,
            lead=layout.lead,
            transform=self.transform,
            resident=self.resident,
            window=self.resident,
        )
