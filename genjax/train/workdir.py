"""What a run must fit before it begins: its workdir, its data, its family."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from genjax import data as data_room
from genjax import evals
from genjax.core import named_key
from genjax.train.checkpoint import write_json
from genjax.train.run_config import (
    MAY_CHANGE,
    Run,
    changes,
    continue_from,
    resolve,
    run_from_json,
    to_json,
)
from genjax.train.signals import barrier


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


def resolve_workdir(run: Run, workdir: pathlib.Path, resume: bool) -> tuple[Run, Run | None]:
    """The settings with nothing left open, and those of a run that is in the workdir already.

    A workdir that never saved a checkpoint holds no run yet: its settings may be anything.
    """
    saved_steps = (workdir / "checkpoints").glob("*/[0-9]*")  # and such as were never finished
    begun = any(p.name.isdigit() for p in saved_steps) or any(
        (workdir / "checkpoints").glob("corrupt-*")
    )
    if begun and not (workdir / "config.json").exists():
        raise ValueError(
            f"{workdir} has checkpoints and no config.json, so nobody can tell what run they are"
            " of; bring it back, or take another --workdir."
        )
    if not begun:
        return resolve(run, jax.default_backend()), None
    if not resume:
        raise ValueError(f"{workdir} holds a run already; leave out --no-resume, or take another.")
    saved = read_run(workdir)
    run = resolve(continue_from(run, saved), jax.default_backend())
    changed = changes(saved, run, MAY_CHANGE)
    if changed:
        listed = ", ".join(f"{k} was {old} and is {new}" for k, (old, new) in changed.items())
        raise ValueError(
            f"{workdir} holds a run with other settings: {listed}; give the same, or take another"
            f" --workdir."
        )
    return run, saved


@contextlib.contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """One trainer a workdir: two would delete each other's checkpoints.

    Raises:
      ValueError: another process holds it.
    """
    if jax.process_index() != 0:
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process trains in {workdir}; wait for it, or take another --workdir."
            ) from None
        yield  # closing the file, or dying, gives the lock back


def check_compatibility(run: Run, family: Any, dataset: data_room.Dataset) -> int:
    """Hold data and settings against the family; returns the axes before the batch axis."""
    spec = family.batch_spec(run.model, 1)["x"]
    lead = len(spec.shape) - 1 - len(run.model.shape)
    if tuple(dataset.shape) != tuple(run.model.shape):
        raise ValueError(
            f"{run.data.data} holds examples of shape {dataset.shape} and the model is built for"
            f" {run.model.shape}; set --shape {' '.join(map(str, dataset.shape))}."
        )
    in_memory = "train" in dataset.splits
    has = set(dataset.splits["train"] if in_memory else dataset.streams["train"].read([0]))
    missing = sorted(set(family.batch_spec(run.model, 1)) - has)
    if missing:
        raise ValueError(
            f"{run.family} trains on {', '.join(missing)} too, and {run.data.data} has only"
            f" {', '.join(sorted(has))}; bring data that has them."
        )
    low, high, discrete = _range(run.data.transform, dataset.levels)
    traits = family.traits(run.model)
    if traits.data == "binary":
        grey = (low, high) == (0, 1) and traits.density == "bound"
        if (low, high) != (0, 1) or not (discrete or grey):
            raise ValueError(
                f"{run.family} takes 0 and 1, and {run.data.data} under transform"
                f" {run.data.transform} gives {'levels' if discrete else 'numbers'} from {low:g} to"
                f" {high:g}; set --transform threshold, static or dynamic."
            )
    if traits.data == "images" and (low, high) != traits.sample_range:
        named: dict[tuple[float, float], str] = {(0, 1): "unit", (-1, 1): "symmetric"}
        want = named.get(traits.sample_range, "none")
        raise ValueError(
            f"{run.family} makes images from {traits.sample_range[0]:g} to"
            f" {traits.sample_range[1]:g}, and {run.data.data} under transform"
            f" {run.data.transform} goes from {low:g} to {high:g}; set --transform {want}."
        )
    scaled = run.data.transform in ("unit", "dequantize") and not discrete
    if traits.data == "levels" and ((low, high) != traits.sample_range or scaled):
        raise ValueError(
            f"{run.family} takes whole numbers from 0 to {traits.sample_range[1]:g}, and"
            f" {run.data.data} under transform {run.data.transform} goes from {low:g} to {high:g};"
            f" set --transform none, and the Config's levels to the data's {dataset.levels}."
        )
    grows = traits.data == "real" and traits.density != "none"
    if grows and dataset.levels and run.data.transform != "dequantize":
        raise ValueError(
            f"{run.family} is a density of real numbers, which grows without bound on integers, and"
            f" {run.data.data} holds {dataset.levels} levels; set --transform dequantize."
        )
    if traits.density != "none" and not {"test", "train"} & set(dataset.splits):
        raise ValueError(
            f"{run.data.data} has no test split to evaluate on; prepare it with --test N, or read"
            f" it into memory with --stream no."
        )
    _check_conditions(run, family, dataset)
    # A limited run is a rehearsal: shares are not what they will be.
    if hasattr(family, "check_data") and "train" in dataset.splits and not run.data.limit:
        family.check_data(run.model, dataset.splits["train"])
    if run.train.patience and (traits.density == "none" or "validation" not in dataset.splits):
        raise ValueError(
            f"patience stops a run by its validation, and {run.family} on {run.data.data} has none;"
            f" set --patience 0, or hold examples out with --validation N."
        )
    if run.train.metric:
        t, model = run.train, run.model
        evals.check_metric_requirements(
            t.metric, family, model, dataset, t.fid_weights, t.metric_samples
        )
    if family.traits(run.model).fit == "counting":
        n = dataset.counts()["train"]
        if run.train.steps * run.train.batch_size > n:
            raise ValueError(
                f"{run.family} counts each of the {n} training examples once: steps times"
                f" batch_size must not exceed {n}; set --steps 1 --batch-size {n}."
            )
    return lead


def _check_conditions(run: Run, family: Any, dataset: data_room.Dataset) -> None:
    """Hold what a batch has beside `x` against what the data has."""
    names = set(family.batch_spec(run.model, 1))
    rows = dataset.streams.get("train")
    splits = dataset.splits if rows is None else {"train": rows.read([0]), **dataset.splits}
    for split, entries in splits.items():
        missing = sorted(names - set(entries))
        if missing:
            raise ValueError(
                f"{run.family} as it is set is given {missing} with every example, and the {split}"
                f" split of {run.data.data} has {sorted(entries)}; take other data, or set"
                f" --classes 0."
            )
        classes = getattr(run.model, "classes", 0)
        if (
            "label" in names
            and not family.traits(run.model).semi_supervised
            and int(entries["label"].min()) < 0
        ):
            raise ValueError(
                f"{run.data.data} as it is set has unknown labels (-1) in {split}, and"
                f" {run.family} learns from every example's; leave out --labels-per-class, or take"
                f" a family that learns from both, such as m2."
            )
        if "label" in names and (int(entries["label"].max()) >= classes):
            raise ValueError(
                f"{run.data.data} has labels up to {int(entries['label'].max())}, and the model"
                f" is built for {classes} classes; set --classes."
            )


def check_same_data(dataset: data_room.Dataset, workdir: pathlib.Path) -> None:
    """Hold the data against those a workdir was begun with.

    Raises:
      ValueError: they are others.
    """
    path = workdir / "data.json"
    if not path.exists():
        return
    found = _about(dataset)
    try:
        saved = json.loads(path.read_text())
        saved["checksum"], saved["examples"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is damaged; remove it, if the data are those the run began with."
        ) from None
    if saved != found:
        raise ValueError(
            f"{dataset.name} is not the data this run began with (checksum {found['checksum']},"
            f" it was {saved['checksum']}); give the same data, or take another --workdir."
        )


def _about(dataset: data_room.Dataset) -> dict[str, Any]:
    return {"checksum": dataset.checksum(), "examples": dataset.counts()}


def write_run_files(
    workdir: pathlib.Path, run: Run, dataset: data_room.Dataset, keep_record: bool = False
) -> None:
    """Settings and data, once nothing can refuse the run any more; a record of others goes.

    `store_record` until the new one is there: where no step is left to make, the old one's figure
    is still that of the state.
    """
    found = _about(dataset)
    barrier("settled")  # all processes have read what the first one writes now
    if jax.process_index() == 0:
        if not keep_record:
            (workdir / "record.json").unlink(missing_ok=True)
        write_json(workdir / "data.json", found)
        write_json(workdir / "config.json", to_json(run))
    barrier("begun")


def _range(transform: str, levels: int) -> tuple[float, float, bool]:
    """Lowest and highest number of transformed data, and whether there are just these two."""
    if transform in ("threshold", "static", "dynamic"):
        return 0, 1, True
    if transform in ("unit", "dequantize"):
        return 0, 1, transform == "unit" and levels == 2
    if transform == "symmetric":
        return -1, 1, levels == 2
    if levels == 0:
        return -float("inf"), float("inf"), False
    return 0, levels - 1, levels == 2


def evaluation_data(run: Run, dataset: data_room.Dataset, split: str) -> np.ndarray:
    """A split as a family takes it, `[N, *shape]`; dynamic binarisation drawn once."""
    transform = data_room.make_transform(run.data.transform, dataset.levels)
    key = named_key(jax.random.key(run.data.binarize_seed), 0, f"binarize {split}")
    return np.asarray(transform({"x": dataset.splits[split]["x"]}, key)["x"])


def evaluation_conditions(
    run: Run, family: Any, dataset: data_room.Dataset, split: str
) -> dict[str, np.ndarray]:
    """What a family is given with each example of a split beside `x`, such as its label."""
    names = set(family.batch_spec(run.model, 1)) - {"x"}
    return {name: dataset.splits[split][name] for name in sorted(names)}


def init_batch(run: Run, family: Any, dataset: data_room.Dataset) -> dict[str, Any] | None:
    """Training examples that a family's `init` wants to see, as a step takes them; else None.

    The first of the run's own order: a fair draw, and the same on every process.
    """
    wanted = family.traits(run.model).init_examples
    if not wanted:
        return None
    names, n = tuple(family.batch_spec(run.model, 1)), dataset.counts()["train"]
    rows = data_room.Order(n, run.seed).take(0, min(wanted, n))
    if "train" in dataset.streams:
        found = dataset.streams["train"].read(rows, names)
    else:
        found = {name: dataset.splits["train"][name][rows] for name in names}
    transform = data_room.make_transform(run.data.transform, dataset.levels)
    key = named_key(jax.random.key(run.seed), 0, "init examples")
    return jax.tree.map(np.asarray, transform(found, key))
