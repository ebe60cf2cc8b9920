"""Hooks of `fit`: functions of your own that are called during a run."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax.train.run_config import Run


class Hook:
    """Is called by `fit`, on the first process only; override what you need.

        class Best(genjax.train.Hook):
            def on_evaluate(self, step, metrics, best):
                if best:
                    print(step, metrics["validation_nll"])

        genjax.train.fit(run, workdir, hooks=[Best()])

    A resumed run repeats the steps after its last checkpoint, and the calls of these steps. An
    error in a hook ends the run like any other error, and the same command resumes it.
    """

    def on_start(self, run: Run, workdir: pathlib.Path, step: int) -> None:
        """Is called before the first step, which is `step + 1`."""

    def on_log(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Is called every `log_every` steps with means since the last call; None is not finite."""

    def on_evaluate(self, step: int, metrics: Mapping[str, float | None], best: bool) -> None:
        """Is called with the metrics of the validation split; `best`: no earlier step is better."""

    def on_sample(self, step: int, page: np.ndarray) -> None:
        """Is called with a grid of samples, or a sheet, uint8 `[H, W, 3]`."""

    def on_save(self, step: int) -> None:
        """Is called when a checkpoint of a step is being written."""

    def on_end(self, record: Mapping[str, Any] | None) -> None:
        """Is called at the end, also after an error or a signal: then `record` is None."""
