"""Runs as one self-contained HTML page: a table, curves, samples over time, settings.

Written by `genjax report WORKDIR... --out report.html`, or by `write`. The page loads nothing.
"""

import os
import pathlib
from collections.abc import Sequence

from genjax.data.file_writing import write_file
from genjax.report.page import render
from genjax.report.run_reader import find_runs, named, read_run
from genjax.train import sample_grids

__all__ = ["find_runs", "write"]


def write(
    workdirs: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    title: str | None = None,
) -> pathlib.Path:
    """Writes the page of one or more runs and returns its path.

    Runs may be unfinished or damaged: the page lists everything that cannot be read. Where
    `samples/` is writable, its strip and animation are brought up to date.

    Args:
      workdirs: folder of a run, or a folder of runs, or a weights file or its name; or several.
      out: HTML file, replaced if it exists; its folder is created.
      title: of the page; None is the name of the experiment, or the number of runs.

    Raises:
      ValueError: a folder holds no run.
      OSError: the file cannot be written.
    """
    given = [workdirs] if isinstance(workdirs, (str, os.PathLike)) else list(workdirs)
    found: dict[pathlib.Path, tuple[pathlib.Path, str]] = {}
    for root in map(pathlib.Path, given):
        for folder in find_runs(root):
            if folder.is_file():
                name = folder.stem
            else:
                inside = folder.relative_to(root).as_posix()
                name = inside if inside != "." else folder.absolute().name
            found.setdefault(folder.resolve(), (folder, name))
    if not found:
        raise ValueError("`workdirs` is empty; give at least one folder of a run.")
    runs = named([read_run(folder, name) for folder, name in found.values()])
    for run in runs:
        if run.folder.is_dir():
            sample_grids.refresh(run.folder / "samples")
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Names of folders may hold lone surrogates, which cannot be encoded.
    write_file(out, render(runs, title).encode("utf-8", "replace"))
    return out
