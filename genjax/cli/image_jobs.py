"""Which images a command reads, and where it writes them."""

import dataclasses
import pathlib
from collections.abc import Sequence

from genjax.data.file_io import is_file, list_folder, safe
from genjax.data.image_decoding import has_image_suffix
from genjax.data.image_encoding import output_name


@dataclasses.dataclass(frozen=True)
class Job:
    """One image to translate.

    Attributes:
      number: in order of the names.
      source, target: files.
    """

    number: int
    source: pathlib.Path
    target: pathlib.Path


def find_jobs(source: pathlib.Path, out: pathlib.Path) -> tuple[list[Job], int]:
    """Returns the images to translate, and the number of other files beside them.

    Raises:
      ValueError: there is no image, or OUT does not fit INPUT.
    """
    if not source.is_dir():
        if not is_file(source):
            raise ValueError(f"there is no file or folder {safe(source)}; check the path.")
        folder = out.is_dir() or not has_image_suffix(out.name)
        target = out / output_name(source.name) if folder else out
        if output_name(target.name) != target.name:
            raise ValueError(
                f"{safe(target)} is of a format without all colours; write"
                f" {safe(output_name(target.name))}."
            )
        return [Job(0, source, target)], 0
    if out.exists() and not out.is_dir():
        raise ValueError(f"{safe(source)} is a folder and {safe(out)} is not; give a folder.")
    if out.resolve() == source.resolve():
        raise ValueError(f"{safe(out)} is the folder of the inputs; write to another folder.")
    names, others = images_below(source, out)
    if not names:
        raise ValueError(f"{safe(source)} holds no images; check the path.")
    jobs = [
        Job(i, source / name, out / pathlib.PurePath(name).with_name(output_name(base)))
        for i, (name, base) in enumerate((n, n.rpartition("/")[2]) for n in names)
    ]
    return jobs, others


def images_below(root: pathlib.Path, skip: pathlib.Path) -> tuple[list[str], int]:
    """Returns the images of a folder and its subfolders, relative to it, and the other files.

    Hidden files, the folder `skip`, and links to folders that were listed already are left out.
    """
    names: list[str] = []
    others = 0
    seen, pending = {skip.resolve()}, [""]
    while pending:
        start = pending.pop()
        folder = root / start
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        files, folders, _ = list_folder(folder)
        images = [start + name for name in files if has_image_suffix(name)]
        names += images
        others += len(files) - len(images)
        pending += [f"{start}{name}/" for name in reversed(folders)]
    return names, others


def check_targets(jobs: Sequence[Job], grid: pathlib.Path | None, overwrite: bool) -> None:
    """Checks that every output is a file of its own, and that none exists, before all work.

    Raises:
      ValueError: two outputs are one file, an output is an input, or it would be overwritten; or an
        output cannot be written because a file is where a folder should be, or a folder where a
        file should be.
    """
    sources = {job.source.resolve() for job in jobs}
    by_target: dict[pathlib.Path, Job] = {}
    for job in jobs:
        other = by_target.setdefault(job.target, job)
        if other is not job:
            raise ValueError(
                f"{safe(other.source)} and {safe(job.source)} would both become"
                f" {safe(job.target)}; rename one of them."
            )
        if job.target.resolve() in sources:
            raise ValueError(f"{safe(job.target)} is an input; write to another folder.")
    if grid is not None and (grid in by_target or grid.resolve() in sources):
        raise ValueError(f"--grid {safe(grid)} is an image of this call; rename it.")
    written = [*by_target, *([] if grid is None else [grid])]
    folders = {path.parent for path in written}
    for folder in folders:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{safe(there)} is not a folder; write to another place.")
    if grid is not None:
        if grid.suffix.lower() != ".png":
            raise ValueError(f"--grid writes a PNG; rename {safe(grid)} to {safe(grid.name)}.png.")
        below = {up for folder in folders for up in (folder.resolve(), *folder.resolve().parents)}
        if grid.is_dir() or grid.resolve() in below:
            raise ValueError(f"--grid {safe(grid)} is a folder; give the name of a PNG.")
    exist = [path for path in written if path.exists() or path.is_symlink()]
    if exist and not overwrite:
        more = f" and {len(exist) - 1} more" if len(exist) > 1 else ""
        raise ValueError(
            f"{safe(exist[0])}{more} exist already; write to another folder, or add --overwrite."
        )


def check_inside(target: pathlib.Path, out: pathlib.Path) -> None:
    """Checks that no folder between OUT and a target is a link, which may lead elsewhere.

    Raises:
      ValueError: one is.
    """
    for folder in target.parents:
        if folder == out or out not in folder.parents:
            return
        if folder.is_symlink():
            raise ValueError(f"{safe(folder)} is a link, which may lead out of OUT; remove it.")
