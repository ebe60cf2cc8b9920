"""Writes the images of `genjax draw`: a grid, single images, and a table of their scores."""

import csv
import io
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax.cli.drawn_captions import slug
from genjax.data.file_io import safe
from genjax.data.file_writing import no_follow, write_file
from genjax.data.image_decoding import Picture, has_image_suffix
from genjax.data.image_encoding import encode
from genjax.data.image_grid import GREY
from genjax.train.caption_grids import caption_layout, fitting_captions, save_caption_grid
from genjax.train.sample_grids import MAX_PIXELS

GRID, SCORES = "grid.png", "scores.csv"
HEAD = ["caption", "image", "seed", "rank", "file"]
"""Columns of the table, before those of the scores."""
IMAGE_NAME = re.compile(r"\d+-[a-z0-9-]+-\d+\.png")  # see `DrawnFiles.name`


class Drawn(NamedTuple):
    """A drawn image.

    image: uint8 `[H, W, C]`.
    number: number of the image among those of its caption, from 0.
    scores: scores by name.
    """

    image: np.ndarray
    number: int
    scores: Mapping[str, float]

    def rank_key(self, name: str) -> float:
        """Returns minus the score, or infinity if it is NaN, to sort the best images first."""
        score = self.scores[name]
        return math.inf if math.isnan(score) else -score


class DrawnFiles:
    """Writes the images of a caption when all of them are drawn, and the grid at the end.

    Attributes:
      grid: file of the grid.
      folder: folder of the single images, or None.
      table: file of the scores.
      drawn: number of images that were drawn.
      written: number of these that are in the grid or in files.
    """

    def __init__(
        self,
        out: pathlib.Path,
        texts: Sequence[str],
        *,
        n: int,
        keep: int,
        overwrite: bool,
        source: pathlib.Path | None = None,
    ):
        """Checks the names of the files.

        Args:
          out: a PNG, or a folder.
          texts: the captions.
          n: images per caption.
          keep: images per caption that are written.
          overwrite: whether existing files are replaced, and the other images of an earlier draw to
            the same place removed.
          source: file of the captions, which must not be replaced.

        Raises:
          ValueError: a file exists, or cannot be written, or is `source`.
        """
        single = not out.is_dir() and has_image_suffix(out.name)
        if single and out.suffix.lower() != ".png":
            raise ValueError(f"--out writes a PNG; rename {safe(out)} to {safe(out.stem)}.png.")
        self.texts, self.n, self.keep = texts, n, keep
        self.folder = None if single else out
        self.grid, self.table = (
            (out, out.with_suffix(".csv")) if single else (out / GRID, out / SCORES)
        )
        folder = out.parent if single else out
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{safe(there)} is not a folder; write to another place.")
        found = set(os.listdir(folder)) if folder.is_dir() else set()
        exist = [name for name in self._names() if name in found]
        for path in (folder / name for name in exist):
            if source is not None and os.path.samestat(path.lstat(), source.lstat()):
                raise ValueError(
                    f"--file {safe(source)} would be overwritten; write to another place, or rename"
                    f" it."
                )
        if exist and not overwrite:
            more = f" and {len(exist) - 1} more" if len(exist) > 1 else ""
            raise ValueError(
                f"{safe(folder / exist[0])}{more} exist already; write to another place, or add"
                f" --overwrite."
            )
        self.pending: dict[int, list[Drawn]] = {}
        self.shown: list[np.ndarray] = []
        self.on_grid = self.drawn = self.written = 0
        self.rank_by = ""
        self._rows: Any = None

    def _names(self) -> list[str]:
        names = [self.grid.name, self.table.name]
        if self.folder is not None:
            places = range(self.keep)
            names += [self.name(s, place) for s in range(len(self.texts)) for place in places]
        return names

    def name(self, caption: int, place: int) -> str:
        """Returns a file name: number and words of the caption, place of the image; both from 1."""
        first, last = (len(str(most)) for most in (len(self.texts), self.keep))
        words = slug(self.texts[caption])
        return f"{caption + 1:0{first}}-{words}-{place + 1:0{last}}.png"

    def begin(self, shape: Sequence[int], seed: int, scores: Sequence[str], rank_by: str) -> None:
        """Prepares for images.

        Args:
          shape: shape of an image.
          seed: seed of the images, for the table.
          scores: names of the scores.
          rank_by: name of the score that sorts the images of a caption; "" keeps their order.

        Raises:
          ValueError: the images are too many for one grid, or do not have 1 or 3 channels.
        """
        if len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(
                f"this run draws arrays of shape {tuple(shape)}, and files have 1 or 3 channels;"
                f" use `sample` of its family."
            )
        self.seed, self.scores, self.rank_by = seed, tuple(scores), rank_by
        self.on_grid = fitting_captions(shape, self.texts, self.keep)
        layout = caption_layout(shape, self.texts[: self.on_grid], self.on_grid * self.keep)
        fits = math.prod(layout.size()) <= MAX_PIXELS
        if self.folder is None and (self.on_grid < len(self.texts) or not fits):
            raise ValueError(
                f"a grid of {len(self.texts):,} captions with {self.keep:,} images each has more"
                f" than {MAX_PIXELS:,} pixels; give a folder as --out, or fewer images."
            )
        if not fits:
            self.on_grid = 0

    def add(self, caption: int, drawn: Drawn) -> None:
        """Adds an image; writes the images of its caption when all of them are added."""
        self.pending.setdefault(caption, []).append(drawn)
        if len(self.pending[caption]) == self.n:
            self._write(caption)

    def close(self) -> None:
        """Writes the images of incomplete captions, and the grid."""
        for caption in sorted(self.pending):
            self._write(caption)
        if self._rows is not None:
            self._rows.close()
        if self.shown:
            shown = -(-len(self.shown) // self.keep)
            blank = np.full_like(self.shown[0], GREY)
            images = np.stack(self.shown + [blank] * (shown * self.keep - len(self.shown)))
            save_caption_grid(self.grid, images, self.texts[:shown], 0, 255)

    def summary(self) -> str:
        """Returns a line with the numbers of drawn and written images."""
        count, drawn = len(self.texts), self.drawn
        captions = "1 caption" if count == 1 else f"{count:,} captions"
        where = self.grid if self.folder is None else self.folder
        total = count * self.n
        line = (
            f"{drawn:,} of {total:,} images of {captions} drawn, {self.written:,} in {safe(where)}"
        )
        if self.folder is not None and 0 < self.on_grid * self.keep < self.written:
            line += f"; {GRID} shows the first {self.on_grid:,} captions"
        return line

    def _write(self, caption: int) -> None:
        if not self.drawn:
            self._remove_earlier()
        drawn = self.pending[caption]
        if self.rank_by:  # equal scores stay in the order of their numbers
            drawn = sorted(drawn, key=lambda one: one.rank_key(self.rank_by))
        rows = []
        for place, one in enumerate(drawn):
            name = ""
            if self.folder is not None and place < self.keep:
                name = self.name(caption, place)
                self.folder.mkdir(parents=True, exist_ok=True)
                write_file(self.folder / name, encode(Picture(one.image), name))
            scores = [f"{one.scores[score]:.6g}" for score in self.scores]
            rank = place + 1 if self.rank_by else ""
            rows.append([self.texts[caption], one.number, self.seed, rank, name, *scores])
        if self.folder is not None or self.scores:
            self._append(rows)
        if caption < self.on_grid:
            self.shown += [one.image for one in drawn[: self.keep]]
        self.drawn += len(drawn)
        self.written += min(len(drawn), self.keep)
        del self.pending[caption]

    def _remove_earlier(self) -> None:
        """Removes the files of an earlier draw to the same place, as its table lists them."""
        try:
            with open(self.table, newline="", encoding="utf-8", opener=no_follow) as file:
                rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error):  # none, or a link, or another file
            return
        if not rows or rows[0][: len(HEAD)] != HEAD:
            return
        if self.folder is not None:
            listed = {row[len(HEAD) - 1] for row in rows[1:] if len(row) >= len(HEAD)}
            for name in (GRID, *filter(IMAGE_NAME.fullmatch, listed)):
                if not (self.folder / name).is_dir():
                    (self.folder / name).unlink(missing_ok=True)
        self.table.unlink()

    def _append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Appends rows to the table and flushes them, for the case that the program is killed."""
        lines = io.StringIO()
        if self._rows is None:
            self.table.parent.mkdir(parents=True, exist_ok=True)
            self.table.unlink(missing_ok=True)  # a link
            self._rows = open(self.table, "xb", opener=no_follow)  # noqa: SIM115
            csv.writer(lines).writerow([*HEAD, *(f"{name}_score" for name in self.scores)])
        csv.writer(lines).writerows(rows)
        self._rows.write(lines.getvalue().encode())
        self._rows.flush()
