"""The files of a run's folder: settings, data checksum, lock."""

import contextlib
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any, TypedDict

import jax

from genjax import data as genjax_data
from genjax.data.file_io import safe
from genjax.data.file_writing import no_follow, remove_parts
from genjax.data.json_files import read_object
from genjax.data.tokenizers import FILE as TOKENIZER
from genjax.data.tokenizers import load_tokenizer, save_tokenizer
from genjax.train.checkpoint import saved_identity, write_json
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

OWN = (
    *(".lock", "*.part", "config.json", "data.json", "record.json", "metrics.*", "stages.json"),
    "tokenizer.json",
    *("checkpoints", "samples", "tensorboard", "wandb", "profile", "phase[0-9]*"),
)
"""What a run writes in its workdir."""


def read_run(workdir: pathlib.Path) -> Run:
    """Returns the settings of the run in a workdir.

    Raises:
      ValueError: the workdir holds no run, or its settings cannot be read.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} holds no run: there is no {path}; give a run's --workdir.")
    fix = "restore the file, or give another --workdir"
    values = read_object(path, problem="is not the settings of a run", fix=fix)
    try:
        return run_from_json(values)
    except ValueError as error:
        raise ValueError(
            f"{path} is not the settings of a run ({safe(str(error).rstrip('.'), 300)}); {fix}."
        ) from None


def resolve_workdir(run: Run, workdir: pathlib.Path, resume: bool) -> tuple[Run, Run | None]:
    """Resolves the settings of a run against those saved in its workdir.

    Settings may change until the first checkpoint is saved.

    Returns:
      The resolved settings, and the saved ones, which are None for a new run.

    Raises:
      ValueError: the workdir holds a run with other settings, or any run without `resume`.
    """
    # Names of incomplete checkpoints are not numbers.
    saved_steps = (workdir / "checkpoints").glob("*/[0-9]*")
    has_checkpoints = any(p.name.isdigit() for p in saved_steps) or any(
        (workdir / "checkpoints").glob("corrupt-*")
    )
    if has_checkpoints and not (workdir / "config.json").exists():
        raise ValueError(
            f"{workdir} has checkpoints but no config.json, so their settings are unknown; restore"
            " the file, or use another --workdir."
        )
    if not has_checkpoints:
        return resolve(run, jax.default_backend()), None
    if not resume:
        raise ValueError(
            f"{workdir} holds a run already; leave out --no-resume, or use another --workdir."
        )
    saved = read_run(workdir)
    run = resolve(continue_from(run, saved), jax.default_backend())
    changed = changes(saved, run, MAY_CHANGE)
    if changed:
        listed = ", ".join(
            f"{safe(k, 60)} was {safe(old, 100)} and is {safe(new, 100)}"
            for k, (old, new) in list(changed.items())[:8]
        )
        raise ValueError(
            f"{workdir} holds a run with other settings: {listed}; use the same, or another"
            f" --workdir."
        )
    return run, saved


def check_no_links(workdir: pathlib.Path) -> None:
    """Checks that nothing which a run writes or removes in its workdir is a link.

    Through a link it would change files elsewhere, such as those of another run.

    Raises:
      ValueError: there is a link, a pipe or a device.
    """
    names = os.listdir(workdir) if workdir.is_dir() else ()
    own = [workdir / name for name in names if any(fnmatch(name, p) for p in OWN)]
    for folder in [path for path in own if path.is_dir() and not path.is_symlink()]:
        for parent, folders, files in os.walk(folder):
            own += [pathlib.Path(parent, name) for name in (*folders, *files)]
    for path in own:
        with contextlib.suppress(FileNotFoundError):  # removed by a process that trains
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ValueError(
                    f"{safe(path)} is a link or a special file, and a run writes only to its own"
                    f" folder; put the file or folder itself there, or remove it."
                )


def check_folder(workdir: pathlib.Path) -> None:
    """Checks that a workdir is a folder that can be written, or that it can be made.

    Raises:
      ValueError: it, or a folder above it, is a file, or cannot be written.
    """
    there = workdir
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ValueError(
            f"{safe(there)} is a file, and a run is a folder; give another --workdir, or move it."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{safe(there)} cannot be written; give another --workdir, or change its permissions."
        )


def own_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of a workdir that a command writes to without `--out`.

    Raises:
      ValueError: it is a link, which may lead out of the run.
    """
    folder = workdir / name
    if folder.is_symlink():
        raise ValueError(
            f"{safe(folder)} is a link, which may lead out of the run; set --out, or replace it by"
            f" a folder."
        )
    return folder


def remove_stale_parts(workdir: pathlib.Path) -> None:
    """Removes the `.part` files of killed processes; the workdir is locked."""
    if jax.process_index() == 0:
        for folder in (workdir, workdir / "samples"):
            remove_parts(folder, 0)


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
    # Appending does not truncate.
    with open(workdir / ".lock", "a", opener=no_follow) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process trains in {workdir}; wait for it, or use another --workdir."
            ) from None
        yield  # the lock ends with the file, also when the process is killed


def check_same_data(dataset: genjax_data.Dataset, workdir: pathlib.Path) -> None:
    """Checks that a run in a workdir was started with these data.

    Raises:
      ValueError: they are not, their captions give another tokenizer, or `data.json` or
        `tokenizer.json` is damaged.
    """
    saved, current = saved_data(workdir), _describe_data(dataset)
    if saved is not None and saved != {name: current.get(name) for name in saved}:
        raise ValueError(
            f"{dataset.name} is not the data that the run in {workdir} was started with (checksum"
            f" {current['checksum']}, not {safe(saved['checksum'], 20)}); use the same data, or"
            f" another --workdir."
        )
    has_tokenizer = dataset.tokenizer and (workdir / TOKENIZER).exists()
    if has_tokenizer and load_tokenizer(workdir) != dataset.tokenizer:
        raise ValueError(
            f"{workdir / TOKENIZER} is not the tokenizer that the captions of {dataset.name} give;"
            f" use the same data and version of `tokenizers`, or another --workdir."
        )


class DataDescription(TypedDict):
    """Entries of data.json."""

    checksum: str
    examples: dict[str, int]


def saved_data(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the `DataDescription` of the run in a workdir; None if it is unknown.

    Without `data.json` it is the checksum in the newest checkpoint.

    Raises:
      ValueError: `data.json` is damaged.
    """
    path = workdir / "data.json"
    if not path.exists():
        checksum = saved_identity(workdir).get("data")
        return None if checksum is None else {"checksum": checksum}
    return read_object(
        path, DataDescription, fix="if the run was started with these data, remove the file"
    )


def _describe_data(dataset: genjax_data.Dataset) -> DataDescription:
    return {"checksum": dataset.checksum(), "examples": dataset.counts()}


def write_run_files(
    workdir: pathlib.Path, run: Run, dataset: genjax_data.Dataset, keep_record: bool = False
) -> None:
    """Writes config.json, data.json and, of data with a tokenizer, tokenizer.json; removes
    record.json, which describes earlier settings.

    Args:
      workdir: folder of the run.
      run: its settings.
      dataset: its data.
      keep_record: keep record.json; set it for a run with checkpoints, whose figure it is until a
        later state is saved.
    """
    current = _describe_data(dataset)
    barrier("settled")  # all processes have read the files that process 0 now writes
    if jax.process_index() == 0:
        if not keep_record:
            (workdir / "record.json").unlink(missing_ok=True)
        if dataset.tokenizer:
            save_tokenizer(dataset.tokenizer, workdir)
        write_json(workdir / "data.json", current)
        write_json(workdir / "config.json", to_json(run))
    barrier("begun")
