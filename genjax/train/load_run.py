"""Loads the settings and variables of a run."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import numpy as np

from genjax import data as genjax_data
from genjax import families
from genjax.core import State, batch_norm_statistics, init_state, named_key
from genjax.train.checkpoint import Checkpoints
from genjax.train.compatibility import check_compatibility
from genjax.train.record import run_name
from genjax.train.run_config import Run, build_optimizer
from genjax.train.workdir import read_run

RUNS = pathlib.Path("runs")


def load(workdir: str | os.PathLike) -> tuple[Run, dict[str, Any]]:
    """Returns the settings of a run and the variables to evaluate and sample with.

    They are those of the best checkpoint by validation if there is one, else of the newest; the
    averaged parameters if the run keeps an average, with batch-norm statistics for them.
    `config.model` is the family's Config:

        config, variables = genjax.train.load("runs/nade")
        family = genjax.families.get(config.family)
        x = family.sample(config.model, variables, jax.random.key(0), 16)

    Args:
      workdir: folder of a run.

    Raises:
      ValueError: there is no run, or no whole checkpoint in it.
    """
    config, state = load_state(workdir)
    return config, evaluation_variables(config, families.get(config.family), state.eval_variables())


def evaluation_variables(run: Run, family: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables; averaged ones of a generator with its batch-norm statistics."""
    if not run.train.ema or "generator" not in variables.get("batch_stats", {}):
        return variables
    key, size = named_key(jax.random.key(run.seed), 0, "statistics"), run.train.batch_size
    made = jax.jit(lambda v, k: batch_norm_statistics(family, run.model, v, k, size))
    return made(variables, key)


def load_state(workdir: str | os.PathLike) -> tuple[Run, State]:
    """Returns the settings and the whole state of a run, otherwise like `load`."""
    workdir = pathlib.Path(workdir)
    run = read_run(workdir)
    family = families.get(run.family)
    optimizer = build_optimizer(run)
    ema = run.train.ema > 0
    shapes = jax.eval_shape(
        lambda key: init_state(family, run.model, optimizer, key, ema=ema), jax.random.key(0)
    )
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        for which in ("best", "latest"):
            found = checkpoints.restore(shapes, which=which)
            if found is not None:
                return run, found[0]
    finally:
        checkpoints.close()
    raise ValueError(
        f"{workdir} has no whole checkpoint yet; run its experiment until it saves one (at"
        f" --save-every, or at its end)."
    )


def initial_weights(run: Run, runs: pathlib.Path = RUNS) -> dict[str, Any] | None:
    """Returns the weights that a run starts from, on the host: `params` and `batch_stats` of the
    run named by `weights_from`. Everything else of that run is reset.

    Args:
      run: settings.
      runs: folder of runs that are named by their experiment.

    Raises:
      ValueError: there is no such run, it is not finished, or its network is another.
    """
    if run.phases:
        raise ValueError(f"{run.experiment} has phases, which only `fit` trains one after another.")
    source = run.train.weights_from
    if not source:
        return None
    folder = pathlib.Path(source)
    if not folder.is_dir():
        folder = runs / run_name(source, run.seed)
    if not (folder / "record.json").is_file():
        raise ValueError(
            f"{folder} holds no finished run to load weights from; run its experiment to the end"
            f" first, or give another folder by --weights-from."
        )
    other, variables = load(folder)
    family = families.get(run.family)
    if folder != pathlib.Path(source) and other.experiment != source:
        raise ValueError(
            f"{folder} is a run of {other.experiment}, not of {source}; give its folder."
        )
    if family.traits(run.model).fit == "counting":
        raise ValueError(
            f"{run.family} would add its counts to those of the run in {folder}; set"
            f" --weights-from ''."
        )
    weights = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
    wanted = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    if other.family != run.family or _shapes(weights) != _shapes({k: wanted[k] for k in weights}):
        raise ValueError(
            f"the weights of {other.experiment} in {folder} do not fit this {run.family}; give a"
            f" run of the same family and sizes by --weights-from."
        )
    return jax.tree.map(np.asarray, weights)


def _shapes(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)


def open_split(run: Run, split: str, source: str | None = None) -> tuple[Run, genjax_data.Dataset]:
    """Returns the run with the data it reads, and its data set with one split in memory.

    Args:
      run: settings.
      split: name of the split.
      source: the data, if they have moved since training.

    Raises:
      ValueError: the data do not fit the run, or lack the split.
    """
    if source:
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=source))
    stream = "no" if split == "train" else run.data.stream
    dataset = genjax_data.load(dataclasses.replace(run.data, stream=stream))
    check_compatibility(run, families.get(run.family), dataset)
    if split not in dataset.splits:
        raise ValueError(
            f"{run.data.data} has no split {split}; it has {', '.join(dataset.splits)}."
        )
    return run, dataset
