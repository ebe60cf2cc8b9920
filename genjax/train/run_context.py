"""The parts of one run, all made before its first step."""

import dataclasses
import pathlib
from typing import Any

from jax.sharding import Mesh

from genjax import data as genjax_data
from genjax.train.checkpoint import Checkpoints
from genjax.train.layouts import Layouts
from genjax.train.metric_log import Metrics
from genjax.train.progress import Progress
from genjax.train.run_config import Run
from genjax.train.signals import Signals


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunContext:
    """The parts that the operations of a run share.

    Attributes:
      run: settings, resolved.
      family: module of the family.
      dataset: its data.
      mesh: devices.
      layouts: stages of the run, with the shapes and shardings of their states.
      workdir: folder of the run.
      checkpoints: in that folder.
      progress: lines on the terminal.
      metrics: writer of metrics.jsonl; None on processes other than the first.
      signals: received by this process.
      deadline: `time.monotonic()` at which everything must be saved, or None.
      profile: whether to trace some steps.
    """

    run: Run
    family: Any
    dataset: genjax_data.Dataset
    mesh: Mesh
    layouts: Layouts
    workdir: pathlib.Path
    checkpoints: Checkpoints
    progress: Progress
    metrics: Metrics | None
    signals: Signals
    deadline: float | None
    profile: bool
