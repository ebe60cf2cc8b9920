"""A profiler trace of some steps of a run."""

import pathlib
from typing import Any

import jax

FIRST, LAST = 1, 12  # calls before the trace, which compile, and at its end


class Profiler:
    """Traces from the second call, which compiles nothing, to the twelfth."""

    def __init__(self, folder: pathlib.Path | None):
        """Prepares a trace; without a folder there is none."""
        self.folder, self.tracing = folder, False

    def after_call(self, calls: int, state: Any, *, last: bool) -> None:
        """Begins the trace after the first call, and writes it after the twelfth or the last."""
        if self.folder is not None and calls == FIRST and not last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self.folder))
            self.folder, self.tracing = None, True
        elif self.tracing and (calls == LAST or last):
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Writes the trace if one is being recorded."""
        if self.tracing:
            jax.profiler.stop_trace()
            self.tracing = False
