"""`genjax translate RUN INPUT OUT`: translates images of any size.

INPUT is an image or a folder, whose subfolders are kept; OUT is a folder, or the name of an image
if INPUT is one. Names, formats and sizes stay the same: GIF, PGM and PBM become PNG, JPEG is
written with quality 95, all other formats are lossless. Orientation by EXIF is applied, opacity is
kept, CMYK becomes RGB, 16 bits become 8, colours become grey for a run on grey images. Images are
padded by reflection to the sizes that the network takes, and cropped.
"""

import argparse
import dataclasses
import inspect
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from genjax import checks, families
from genjax.cli.image_translator import ImageTranslator, images_at_once
from genjax.cli.options import ArgumentParser, command
from genjax.core.protocols import Translator
from genjax.data.file_io import is_file, list_folder, read_bytes, safe
from genjax.data.file_writing import write_file
from genjax.data.image_decoding import (
    Picture,
    convert_channels,
    decode_picture,
    has_image_suffix,
    read_header,
    resize,
)
from genjax.data.image_encoding import encode, output_name
from genjax.train.load_run import load
from genjax.train.metric_writers import Progress
from genjax.train.run_config import Run
from genjax.train.sample_grids import save_grid

GRID_ROWS, GRID_SIDE = 16, 256  # images of a grid, and their longer side, at most
FEWER = "--batch-size, --max-side"


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


@command(FEWER)
def main(argv: list[str]) -> None:
    """Translates images and writes them."""
    options = parse(argv)
    jobs, others = find_jobs(options.input, options.out)
    check_targets(jobs, options)
    run, variables = load(options.workdir)
    family = families.get(run.family)
    if not isinstance(family, Translator):
        raise ValueError(
            f"{run.family} in {safe(options.workdir)} translates no images; give the folder of a"
            f" run of {' or '.join(translators())}."
        )
    session = Session(options, run, family, variables, len(jobs))
    try:
        session.run_all(jobs)
    finally:
        session.progress.close()
    skipped = f"; {others} other files skipped" if others else ""
    print(f"{session.written} of {len(jobs)} images in {safe(options.out)}{skipped}")
    if options.grid and session.shown:
        save_pairs(options.grid, [session.shown[i] for i in sorted(session.shown)])
        print(f"{len(session.shown)} inputs beside their translations in {safe(options.grid)}")
    if session.failed:
        raise ValueError(
            f"{session.failed} of {len(jobs)} images could not be translated; see the lines above."
        )


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses and checks the command's options."""
    parser = ArgumentParser("translate", __doc__)
    add = parser.add_argument
    add("workdir", type=pathlib.Path, metavar="RUN", help="folder of a run")
    add("input", type=pathlib.Path, metavar="INPUT", help="an image, or a folder of images")
    add("out", type=pathlib.Path, metavar="OUT", help="folder, or name of the one image")
    add("--to", help="domain of the result, a or b (b)")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="attributes of the result, 0 or 1; the others stay as the run's classifier sees them",
    )
    add("--grid", type=pathlib.Path, help=f"also a PNG of the first {GRID_ROWS} inputs and results")
    add("--max-side", type=int, help="scale larger images down to this longer side")
    add("--batch-size", type=int, default=8, help="images of a size at once, at most (8)")
    add("--seed", type=int, default=0, help="seed of networks that draw, such as dropout (0)")
    add("--overwrite", action="store_true", help="replace files that exist")
    options = parser.parse_args(argv)
    checks.positive(batch_size=options.batch_size, max_side=options.max_side or 1)
    checks.seed(seed=options.seed)
    return options


def translators() -> list[str]:
    """Returns the names of the families that translate."""
    return [name for name in families.FAMILIES if isinstance(families.get(name), Translator)]


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


def check_targets(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    """Checks that every output is a file of its own, and that none exists, before all work.

    Raises:
      ValueError: two outputs are one file, an output is an input, or it would be overwritten.
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
    grid = [options.grid] if options.grid else []
    if options.grid in by_target or (options.grid and options.grid.resolve() in sources):
        raise ValueError(f"--grid {safe(options.grid)} is an image of this call; rename it.")
    exist = [path for path in (*by_target, *grid) if path.exists() or path.is_symlink()]
    if exist and not options.overwrite:
        more = f" and {len(exist) - 1} more" if len(exist) > 1 else ""
        raise ValueError(
            f"{safe(exist[0])}{more} exist already; write to another folder, or add --overwrite."
        )


def parse_changes(words: Sequence[str]) -> dict[str, int]:
    """Returns `{name: 0 or 1}` of arguments NAME=VALUE.

    >>> parse_changes(["Male=0", "Young=1"])
    {'Male': 0, 'Young': 1}
    """
    changes = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or value not in ("0", "1") or name in changes:
            raise ValueError(f"--set takes each NAME=0 or NAME=1 once, got '{safe(word)}'.")
        changes[name] = int(value)
    return changes


class Session:
    """One call of the command: the run, its options, and what was written."""

    def __init__(
        self, options: argparse.Namespace, run: Run, family: Any, variables: Any, total: int
    ):
        """Checks the conditions against the run.

        Raises:
          ValueError: a condition is missing or not one of the run's.
        """
        self.options, self.config, self.family = options, run.model, family
        self.channels = run.model.shape[-1]
        if self.channels not in (1, 3):
            raise ValueError(
                f"this run translates images of {self.channels} channels, and files have 1 or 3;"
                f" use {run.family}'s `translate` on arrays."
            )
        self.changes = parse_changes(options.set)
        conditions: dict[str, Any] = {}
        domains = family.targets(run.model)
        if domains:
            if self.changes:
                raise ValueError(f"{run.family} has no attributes; omit --set, and use --to.")
            conditions["to"] = options.to or domains[-1]
            checks.one_of(domains, to=conditions["to"])
        else:
            if options.to is not None:
                raise ValueError(f"{run.family} has no domains; omit --to, and use --set.")
            if not self.changes:
                names = ", ".join(family.attribute_names(run.model))
                raise ValueError(f"give the attributes to change by --set NAME=VALUE, of {names}.")
            unset = np.zeros((1, len(family.attribute_names(run.model))), np.uint8)
            self.targets(unset, names_only=True)
        if "key" in inspect.signature(family.translate).parameters:
            conditions["key"] = jax.random.key(options.seed)
        self.title = f"to {conditions['to']}" if domains else " ".join(options.set)
        self.translator = ImageTranslator(family, run.model, variables, **conditions)
        self.progress = Progress("translate", total)
        self.shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.done = self.written = self.failed = 0
