"""Loads the settings and variables of a run."""

import dataclasses
import os
import pathlib
from typing import Any

import jax

from genjax import data as genjax_data
from genjax import families
from genjax.core import State, batch_norm_statistics, named_key
from genjax.core.protocols import PuzzleSolver
from genjax.train.checkpoint import Checkpoints
from genjax.train.compatibility import check_compatibility
from genjax.train.identity import RunIdentity
from genjax.train.layouts import Layouts
from genjax.train.run_config import Run
from genjax.train.run_files import RunFiles, run_files
from genjax.train.weights_file import WeightsFile
from genjax.train.workdir import read_run, saved_data

RUNS = pathlib.Path("runs")


def load(
    workdir: str | os.PathLike | RunFiles, *, newest: bool = False
) -> tuple[Run, dict[str, Any]]:
    """Returns the settings of a run and the variables to evaluate and sample with.

    They are those of the best checkpoint by validation if there is one, else of the newest; the
    averaged parameters if the run keeps an average, with batch-norm statistics for them.
    `config.model` is the family's Config:

        config, variables = genjax.train.load("runs/nade")
        family = genjax.families.get(config.family)
        x = family.sample(config.model, variables, jax.random.key(0), 16)

    Args:
      workdir: folder of a run, a weights file, its name, or their `run_files`.
      newest: take the newest checkpoint, also where an earlier one is the best.

    Raises:
      ValueError: there is no run, no whole checkpoint in it, or one of another run; or the weights
        file is damaged.
    """
    files = run_files(workdir)
    if isinstance(files, WeightsFile):
        return files.settings(), files.variables()
    config, state = load_state(files.path, newest=newest)
    return config, evaluation_variables(config, families.get(config.family), state.eval_variables())


def evaluation_variables(run: Run, family: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables; averaged ones of a generator with its batch-norm statistics.

    Those of a `PuzzleSolver` are unchanged: its statistics are of pieces, not of generated images.
    """
    generator = "generator" in variables.get("batch_stats", {})
    if not run.train.ema or not generator or isinstance(family, PuzzleSolver):
        return variables
    key, size = named_key(jax.random.key(run.seed), 0, "statistics"), run.train.batch_size
    made = jax.jit(lambda v, k: batch_norm_statistics(family, run.model, v, k, size))
    return made(variables, key)


def load_state(workdir: str | os.PathLike, *, newest: bool = False) -> tuple[Run, State]:
    """Returns the settings and the whole state of a run, otherwise like `load`."""
    workdir = pathlib.Path(workdir)
    run = read_run(workdir)
    layouts = Layouts(run)
    data = saved_data(workdir)
    identity = RunIdentity(run, None if data is None else data["checksum"])
    checkpoints = Checkpoints(workdir, read_only=True, identity=identity)
    order = ["best", "latest"]
    if newest:
        order.sort(key=lambda which: max(checkpoints.steps(which), default=0), reverse=True)
    try:
        for which in order:
            found = checkpoints.restore(layouts.saved_arrays, which=which)
            if found is not None:
                return run, found[0]
    finally:
        checkpoints.close()
    raise ValueError(
        f"{workdir} has no whole checkpoint yet; run its experiment until it saves one (at"
        f" --save-every, or at its end)."
    )


def check_trained_on(dataset: genjax_data.Dataset, workdir: str | os.PathLike) -> None:
    """Checks that data to evaluate are those that a run was trained on.

    Raises:
      ValueError: their checksum is another.
    """
    saved = run_files(workdir).data()
    if saved is not None and saved.get("checksum") not in (None, dataset.checksum()):
        raise ValueError(
            f"{dataset.name} has checksum {dataset.checksum()}, and the run in {workdir} was"
            f" trained on data with checksum {saved['checksum']}; give that by --data, or add"
            f" --other-data to use these nevertheless."
        )


def open_split(
    run: Run, split: str, source: str | None = None, workdir: pathlib.Path | None = None
) -> tuple[Run, genjax_data.Dataset]:
    """Returns the run with the data it reads, and its data set with one split in memory.

    Args:
      run: settings.
      split: name of the split.
      source: the data, if they have moved since training.
      workdir: folder of the run, whose data these must be; None allows other data.

    Raises:
      ValueError: the data do not fit the run, are not those of the workdir, or lack the split.
    """
    if source:
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=source))
    stream = "no" if split == "train" else run.data.stream
    dataset = genjax_data.load(dataclasses.replace(run.data, stream=stream))
    if workdir is not None:
        check_trained_on(dataset, workdir)
    check_compatibility(run, families.get(run.family), dataset)
    if split not in dataset.splits:
        raise ValueError(
            f"{run.data.data} has no split {split}; it has {', '.join(dataset.splits)}."
        )
    return run, dataset
