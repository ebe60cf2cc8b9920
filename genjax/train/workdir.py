"""The files of a run's folder: settings, data checksum, lock."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from genjax import data as data_room
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
