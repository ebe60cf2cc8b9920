"""A finished run back as its settings and variables."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import numpy as np

from genjax import data as data_room
from genjax import families
from genjax.core import State, batch_norm_statistics, init_state, named_key
from genjax.train.checkpoint import Checkpoints
from genjax.train.compatibility import check_compatibility
from genjax.train.record import run_name
from genjax.train.run_config import Run, build_optimizer
from genjax.train.workdir import read_run

RUNS = pathlib.Path("runs")


def load(workdir: str | os.PathLike) -> tuple[Run, dict[str, Any]]:
    """The settings of a run and the variables it is to be used with.

    The best checkpoint by validation where there is one, else the newest; the averaged
    parameters where the run keeps an average, and a generator's statistics for them.
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
    """The variables; where they are averages of a generator that normalises by batches, with the
    statistics that it has with them."""
    if not run.train.ema or "generator" not in variables.get("batch_stats", {}):
        return variables
    key, size = named_key(jax.random.key(run.seed), 0, "statistics"), run.train.batch_size
    made = jax.jit(lambda v, k: batch_norm_statistics(family, run.model, v, k, size))
    return made(variables, key)


def load_state(workdir: str | os.PathLike) -> tuple[Run, State]:
    """As `load`, with the whole state instead of the variables."""
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
        f"{workdir} has no whole checkpoint yet; run its experiment until it saves one"
        f" (--save-every, or let it finish)."
    )


def initial_weights(run: Run, runs: pathlib.Path = RUNS) -> dict[str, Any] | None:
    """What a run begins with instead of random weights: params, and statistics of batches, of its
    `weights_from`, on the host. What is counted along a run begins anew.

    Args:
      run: the settings.
      runs: where a run lies that is named by its experiment.

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
            f"there is no finished run in {folder} to take weights from; run its experiment to the"
            f" end first, or name another folder with --weights-from."
        )
    other, variables = load(folder)
    family = families.get(run.family)
    if folder != pathlib.Path(source) and other.experiment != source:
        raise ValueError(f"{folder} is a run of {other.experiment}, not of {source}; bring that.")
    if family.traits(run.model).fit == "counting":
        raise ValueError(
            f"{run.family} would count what the run in {folder} has counted once more; set"
            f" --weights-from ''."
        )
    learnt = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
    wanted = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    if other.family != run.family or _shapes(learnt) != _shapes({k: wanted[k] for k in learnt}):
        raise ValueError(
            f"the weights of {other.experiment} in {folder} do not fit this {run.family}; name a"
            f" run of the same family and sizes with --weights-from."
        )
    return jax.tree.map(np.asarray, learnt)


def _shapes(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)


def open_split(run: Run, split: str, source: str | None = None) -> tuple[Run, data_room.Dataset]:
    """The data of a finished run, to look at one split of it; and the run as it reads them.

    Args:
      run: the settings.
      split: that must be there, in memory.
      source: where the data lie now, if not where the run found them.

    Raises:
      ValueError: the data do not fit the run, or have no such split.
    """
    if source:
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=source))
    stream = "no" if split == "train" else run.data.stream
    dataset = data_room.load(dataclasses.replace(run.data, stream=stream))
    check_compatibility(run, families.get(run.family), dataset)
    if split not in dataset.splits:
        raise ValueError(
            f"{run.data.data} has no split {split}; it has {', '.join(dataset.splits)}."
        )
    return run, dataset
