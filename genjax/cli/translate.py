"""`genjax translate RUN INPUT OUT`: translates images of any size.

INPUT is an image or a folder, whose subfolders are kept; OUT is a folder, or the name of an image
if INPUT is one. Names, formats and sizes stay the same: GIF, PGM and PBM become PNG, JPEG is
written with quality 95, all other formats are lossless. Orientation by EXIF is applied, opacity is
kept, CMYK becomes RGB, 16 bits become 8, colours become grey for a run on grey images. Images are
padded by reflection to the sizes that the network takes, and cropped.
"""

import argparse
import contextlib
import dataclasses
import inspect
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np

from genjax import checks, families
from genjax.cli.image_jobs import Job, check_inside, check_targets, find_jobs
from genjax.cli.image_translator import ImageTranslator, images_at_once
from genjax.cli.options import ArgumentParser, command
from genjax.core.protocols import Translator
from genjax.data.file_io import open_file, read_bytes, safe
from genjax.data.file_writing import write_file
from genjax.data.image_decoding import (
    Picture,
    convert_channels,
    decode_picture,
    read_header,
    resize,
)
from genjax.data.image_encoding import encode
from genjax.data.image_grid import GREY
from genjax.train.load_run import load
from genjax.train.progress import Progress, progress_callback
from genjax.train.run_config import Run
from genjax.train.sample_grids import save_grid

GRID_ROWS, GRID_SIDE = 16, 256  # images of a grid, and their longer side, at most
FEWER = "--batch-size, --max-side"


@command(FEWER)
def main(argv: list[str]) -> None:
    """Translates images and writes them."""
    options = parse(argv)
    jobs, others = find_jobs(options.input, options.out)
    check_targets(jobs, options.grid, options.overwrite)
    run, variables = load(options.workdir)
    family = families.get(run.family)
    if not isinstance(family, Translator):
        raise ValueError(
            f"{run.family} in {safe(options.workdir)} translates no images; give the folder of a"
            f" run of {' or '.join(families.implementing(Translator))}."
        )
    session = Session(options, run, family, variables, len(jobs))
    try:
        session.run_all(jobs)
    finally:
        session.progress.close()
    skipped = f"; {others} other files skipped" if others else ""
    print(f"{session.written} of {len(jobs)} images in {safe(options.out)}{skipped}")
    if options.grid and session.shown:
        pairs = [session.shown[i] for i in sorted(session.shown)]
        save_pairs(options.grid, pairs, session.title)
        print(f"{len(session.shown)} inputs beside their translations in {safe(options.grid)}")
    if session.failed:
        raise ValueError(
            f"{session.failed} of {len(jobs)} images could not be translated; see the lines above."
        )


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses and checks the command's options."""
    parser = ArgumentParser("translate", __doc__)
    add = parser.add_argument
    parser.add_run("RUN")
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
    checks.positive(batch_size=options.batch_size)
    if options.max_side is not None:
        checks.positive(max_side=options.max_side)
    checks.seed(seed=options.seed)
    return options


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
            self.check_changes()
        if "key" in inspect.signature(family.translate).parameters:
            conditions["key"] = jax.random.key(options.seed)
        self.title = f"to {conditions['to']}" if domains else " ".join(options.set)
        self.translator = ImageTranslator(family, run.model, variables, **conditions)
        self.total, self.progress = total, Progress("translate", total)
        self.report = progress_callback("translate", self.progress.say, "images")
        self.shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.done = self.written = self.failed = 0

    def check_changes(self) -> None:
        """Raises ValueError unless the changes can be made to all attributes."""
        names = self.family.attribute_names(self.config)
        rows = np.zeros((1, len(names)), np.uint8)
        for group in self.family.exclusive_groups(self.config):
            cleared = [column for column in group if self.changes.get(names[column]) == 0]
            rows[:, [*cleared, *group][0]] = 1
        self.family.target_attributes(self.config, rows, self.changes)

    def run_all(self, jobs: Sequence[Job]) -> None:
        """Translates and writes the images, those of a padded size together."""
        for size, group in self.by_size(jobs).items():
            at_once = min(len(group), images_at_once(size, self.options.batch_size))
            for start in range(0, len(group), at_once):
                self.run_batch(group[start : start + at_once], at_once)

    def by_size(self, jobs: Sequence[Job]) -> dict[tuple[int, int], list[Job]]:
        """Groups images by padded size, which their headers tell."""
        groups: dict[tuple[int, int], list[Job]] = {}
        for job in jobs:
            with self.reporting([job]):
                with open_file(job.source) as file:
                    header = read_header(file, str(job.source))
                size = self.scaled(header.height, header.width)
                groups.setdefault(self.translator.padded_size(*size), []).append(job)
        return groups

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size of an image after `--max-side`."""
        return size_within(height, width, self.options.max_side or max(height, width))

    def read(self, job: Job) -> Picture:
        """Decodes an image with the run's channels, scaled to at most `--max-side`."""
        data = read_bytes(job.source)
        mode: Literal["rgb", "grey"] = "grey" if self.channels == 1 else "rgb"
        picture = decode_picture(data, str(job.source), mode=mode)
        size = self.scaled(*picture.pixels.shape[:2])
        alpha = picture.alpha
        if alpha is not None:
            alpha = resize(alpha[..., None], size, "stretch")[..., 0]
        pixels = resize(picture.pixels, size, "stretch")
        return dataclasses.replace(picture, pixels=pixels, alpha=alpha)

    def run_batch(self, jobs: Sequence[Job], at_once: int) -> None:
        """Translates some images together and writes them."""
        pictures: dict[Job, Picture] = {}
        for job in jobs:
            with self.reporting([job]):
                pictures[job] = self.read(job)
        # One at a time if a header was wrong.
        sizes = {self.translator.padded_size(*p.pixels.shape[:2]) for p in pictures.values()}
        parts = [list(pictures)] if len(sizes) == 1 else [[job] for job in pictures]
        for part in parts:
            with self.reporting(part):
                results = self.translate([pictures[job].pixels for job in part], at_once)
                for job, pixels in zip(part, results, strict=True):
                    self.write(job, pictures[job], pixels)

    def translate(self, images: list[np.ndarray], at_once: int) -> list[np.ndarray]:
        """Translates images, with the attributes that are requested."""
        conditions: dict[str, np.ndarray] = {}
        if self.changes:
            own = self.translator.predict_attributes(images, at_once=at_once)
            target = self.family.target_attributes(self.config, own, self.changes)
            conditions["attributes"] = target
            second = getattr(self.config, "second_attributes", ())
            sets = {int(name in second) for name in self.changes}
            if second and len(sets) == 1:  # one pass, and no changes by errors of prediction
                conditions["label"] = np.full(len(images), sets.pop(), np.int32)
        return self.translator.translate(images, at_once=at_once, **conditions)

    def write(self, job: Job, picture: Picture, pixels: np.ndarray) -> None:
        """Writes a translated image, and keeps it for the grid."""
        with self.reporting([job]):
            check_inside(job.target, self.options.out)
            job.target.parent.mkdir(parents=True, exist_ok=True)
            data = encode(dataclasses.replace(picture, pixels=pixels), job.target.name)
            write_file(job.target, data)
            self.written += 1
            self.count(1)
            if self.options.grid and job.number < GRID_ROWS:
                self.shown[job.number] = (thumbnail(picture.pixels), thumbnail(pixels))

    def count(self, images: int) -> None:
        """Counts images that are done, and shows the progress."""
        self.done += images
        self.progress.advance(self.done)
        self.report(self.done, self.total)

    @contextlib.contextmanager
    def reporting(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Prints an error in the block as a line per image, and counts them."""
        try:
            yield
        except checks.USER_ERRORS as error:
            message = checks.error_message(error, FEWER)
            for job in jobs:
                named = str(safe(job.source)) in message or str(safe(job.target)) in message
                place = "" if named else f"{safe(job.source)}: "
                self.progress.say(f"error: {place}{message}")
            self.failed += len(jobs)
            self.count(len(jobs))


def size_within(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns a size scaled down so that its longer side is at most `side`."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Returns an image in colour, scaled down to at most `GRID_SIDE`."""
    height, width = pixels.shape[:2]
    size = size_within(height, width, GRID_SIDE)
    return convert_channels(resize(pixels, size, "stretch"), "rgb")


def save_pairs(
    path: pathlib.Path, pairs: Sequence[tuple[np.ndarray, np.ndarray]], title: str
) -> None:
    """Writes inputs beside their translations, each in the middle of a tile of one size."""
    images = [image for pair in pairs for image in pair]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    tiles = np.full((len(images), height, width, 3), GREY, np.uint8)
    for tile, image in zip(tiles, images, strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        tile[top : top + image.shape[0], left : left + image.shape[1]] = image
    save_grid(path, tiles, 0, 255, titles=("input", title))
