"""What a run must fit before it begins: its workdir, its data, its family."""

import json
import pathlib
from typing import Any

import jax
import numpy as np

from genjax import data as data_room
from genjax.core import stream
from genjax.train.checkpoint import write_json
from genjax.train.settings import (
    MAY_CHANGE,
    Run,
    continue_from,
    differences,
    resolve,
    run_from_json,
    to_json,
)


def read_run(workdir: pathlib.Path) -> Run:
    """The settings a workdir was begun with.

    Raises:
      ValueError: there is no run in it, or its settings cannot be read.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} holds no run: there is no {path}; give a run's --workdir.")
    try:
        return run_from_json(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not the settings of a run ({error}).") from None


def settle(run: Run, workdir: pathlib.Path, resume: bool) -> tuple[Run, bool]:
    """The settings with nothing left open, after comparing them with a used workdir's."""
    path = workdir / "config.json"
    if not path.exists():
        return resolve(run, jax.default_backend()), True
    if not resume:
        raise ValueError(f"{workdir} holds a run already; leave out --no-resume, or take another.")
    saved = read_run(workdir)
    run = resolve(continue_from(run, saved), jax.default_backend())
    changed = {k: v for k, v in differences(saved, run).items() if k not in MAY_CHANGE}
    if changed:
        listed = ", ".join(f"{k} was {old} and is {new}" for k, (old, new) in changed.items())
        raise ValueError(
            f"{workdir} holds a run with other settings: {listed}; give the same, or take another"
            f" --workdir."
        )
    return run, False


def check_fit(run: Run, family: Any, dataset: data_room.Dataset) -> int:
    """Hold data and settings against the family; returns the axes before the batch axis."""
    spec = family.batch_spec(run.model, 1)["x"]
    lead = len(spec.shape) - 1 - len(run.model.shape)
    if tuple(dataset.shape) != tuple(run.model.shape):
        raise ValueError(
            f"{run.data.data} holds examples of shape {dataset.shape} and the model is built for"
            f" {run.model.shape}; set --shape {' '.join(map(str, dataset.shape))}."
        )
    binary = dataset.levels == 2 or run.data.transform in ("threshold", "static", "dynamic")
    grey = run.data.transform == "unit" and family.TRAITS.density == "bound"
    if family.TRAITS.data == "binary" and not (binary or grey):
        raise ValueError(
            f"{run.family} takes 0 and 1, and {run.data.data} has {dataset.levels or 'real'}"
            f" levels; set --transform threshold, static or dynamic."
        )
    if family.TRAITS.fit == "counting":
        n = len(dataset.splits["train"]["x"])
        if run.train.steps * run.train.batch_size > n:
            raise ValueError(
                f"{run.family} counts each of the {n} training examples once: steps times"
                f" batch_size must not exceed {n}; set --steps 1 --batch-size {n}."
            )
    return lead


def begin(workdir: pathlib.Path, run: Run, dataset: data_room.Dataset, fresh: bool) -> None:
    """Write down settings and data, once all checks have passed; refuse other data."""
    path = workdir / "data.json"
    found = {"checksum": dataset.checksum(), "examples": dataset.counts()}
    saved = found if fresh or not path.exists() else json.loads(path.read_text())
    if saved != found:
        raise ValueError(
            f"{run.data.data} is not the data this run began with (checksum {found['checksum']},"
            f" it was {saved['checksum']}); give the same data, or take another --workdir."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    write_json(workdir / "config.json", to_json(run))


def evaluation_data(run: Run, dataset: data_room.Dataset, split: str) -> np.ndarray:
    """A split as a family takes it, `[N, *shape]`; dynamic binarisation drawn once."""
    transform = data_room.make_transform(run.data.transform, dataset.levels)
    key = stream(jax.random.key(run.data.binarize_seed), 0, f"binarize {split}")
    return np.asarray(transform({"x": dataset.splits[split]["x"]}, key)["x"])
