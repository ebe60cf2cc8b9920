"""Runs as one page: a table, curves, samples over time, settings; no network, no library.

`genjax report WORKDIR... --out report.html`, or `write` from Python. The page holds all
it shows: it can be mailed, archived and opened anywhere.
"""

import os
import pathlib
from collections.abc import Sequence

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
    """Write the page of some runs; returns its path.

    Finished or not, damaged or whole: what can be read is shown, what cannot is said. A run whose
    `samples/` lack a strip or a film that is up to date gets them, where its folder is writable.

    Args:
      workdirs: one or several; each a run's folder, or a folder that holds runs.
      out: the HTML file; its folder is made if missing, a file of that name is replaced.
      title: of the page; None takes the experiment's name, or counts the runs.

    Raises:
      ValueError: there is no run in one of the folders.
      OSError: the file cannot be written.
    """
    given = [workdirs] if isinstance(workdirs, (str, os.PathLike)) else list(workdirs)
    found: dict[pathlib.Path, tuple[pathlib.Path, str]] = {}
    for root in map(pathlib.Path, given):
        for folder in find_runs(root):
            inside = folder.relative_to(root).as_posix()
            name = inside if inside != "." else folder.absolute().name
            found.setdefault(folder.resolve(), (folder, name))
    if not found:
        raise ValueError("no folder is given; name at least one that holds a run.")
    runs = named([read_run(folder, name) for folder, name in found.values()])
    for run in runs:
        sample_grids.refresh(run.folder / "samples")
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    # Names from JSON may hold half a surrogate pair, which no encoding has.
    part.write_bytes(render(runs, title).encode("utf-8", "replace"))
    part.replace(out)
    return out
