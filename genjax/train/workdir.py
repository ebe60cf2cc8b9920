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
    """Returns the settings of the run in a workdir.

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
    """Returns the resolved settings, and the settings of a run that is in the workdir already.

    A workdir that never saved a checkpoint holds no run yet, so its settings may be changed.

    Raises:
      ValueError: the workdir holds a run with other settings, or must not hold any.
    """
    saved_steps = (workdir / "checkpoints").glob("*/[0-9]*")  # incomplete ones have other names
    begun = any(p.name.isdigit() for p in saved_steps) or any(
        (workdir / "checkpoints").glob("corrupt-*")
    )
    if begun and not (workdir / "config.json").exists():
        raise ValueError(
            f"{workdir} has checkpoints but no config.json, so their settings are unknown; restore"
            " the file, or use another --workdir."
        )
    if not begun:
        return resolve(run, jax.default_backend()), None
    if not resume:
        raise ValueError(
            f"{workdir} holds a run already; leave out --no-resume, or use another --workdir."
        )
    saved = read_run(workdir)
    run = resolve(continue_from(run, saved), jax.default_backend())
    changed = changes(saved, run, MAY_CHANGE)
    if changed:
        listed = ", ".join(f"{k} was {old} and is {new}" for k, (old, new) in changed.items())
        raise ValueError(
            f"{workdir} holds a run with other settings: {listed}; use the same, or another"
            f" --workdir."
        )
    return run, saved


@contextlib.contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Locks a workdir: two trainers would delete each other's checkpoints.

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
                f"another process trains in {workdir}; wait for it, or use another --workdir."
            ) from None
        yield  # the lock ends with the file, also when the process is killed


def check_same_data(dataset: data_room.Dataset, workdir: pathlib.Path) -> None:
    """Checks that the data are those that the run in a workdir was started with.

    Raises:
      ValueError: they are not.
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
            f"{path} is damaged; remove it if the data are those the run was started with."
        ) from None
    if saved != found:
        raise ValueError(
            f"{dataset.name} is not the data this run was started with (checksum"
            f" {found['checksum']}, not {saved['checksum']}); use the same data, or another"
            f" --workdir."
        )


def _about(dataset: data_room.Dataset) -> dict[str, Any]:
    return {"checksum": dataset.checksum(), "examples": dataset.counts()}


def write_run_files(
    workdir: pathlib.Path, run: Run, dataset: data_room.Dataset, keep_record: bool = False
) -> None:
    """Writes settings and data checksum, after all checks, and removes a record of other settings.

    Args:
      workdir: folder of the run.
      run: its settings.
      dataset: its data.
      keep_record: keep the old record until there is a new one: no step is left, so its figure is
        still that of the state.
    """
    found = _about(dataset)
    barrier("settled")  # all processes have read what the first one writes now
    if jax.process_index() == 0:
        if not keep_record:
            (workdir / "record.json").unlink(missing_ok=True)
        write_json(workdir / "data.json", found)
        write_json(workdir / "config.json", to_json(run))
    barrier("begun")
