"""Samples as images: a grid per step, and a strip and an animation over all steps.

A run draws from the same noise at every step, so each position of the grid can be followed over
the steps. The PNG text of a grid holds its geometry (`read_grid`), and the stage of networks that
grow.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from genjax import checks
from genjax.data.file_io import open_file
from genjax.data.file_writing import remove_parts, write_file
from genjax.data.image_grid import GREY, GridLayout, grid_with_layout, place_images
from genjax.data.json_files import parse_json

REAL = "real.png"  # real images, beside the grids
TEXT = "genjax"  # key of the PNG text that holds the geometry
ROWS, COLUMNS, FRAMES = 12, 10, 60  # at most, in a strip and in an animation
MAX_PIXELS = 2**25  # of a grid that is read; PNG compresses a constant image 1000 to 1
SIDE = 256  # pixels of a sample in a strip and in an animation, at most
LEAST, LARGEST = 96, 2048  # of a sample and of a grid that are enlarged, where networks grow
MAX_BYTES = 2**28  # of all grids that are decoded at the same time

T = TypeVar("T")


def save_grid(
    path: str | os.PathLike,
    images: Any,
    low: float = 0.0,
    high: float = 1.0,
    columns: int = 0,
    titles: tuple[str, ...] = (),
    stage: str = "",
    alpha: float = 1.0,
) -> np.ndarray:
    """Writes a grid as PNG with its geometry as text; returns the image, uint8 `[H, W, 3]`.

    `columns` is the number of images per row; 0 makes the grid as square as possible. With
    `titles` there is one column per title. `stage` and `alpha` are those of networks that grow.
    """
    path = pathlib.Path(path)
    page, tiles = grid_with_layout(np.asarray(images), low, high, columns=columns, titles=titles)
    tiles = dataclasses.replace(tiles, stage=stage, alpha=alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, encode_png(page, dataclasses.asdict(tiles)))
    return page


def read_grid(path: pathlib.Path) -> tuple[np.ndarray, GridLayout | None]:
    """Returns the image of a grid, uint8 `[H, W, 3]`, and its geometry, or None if it has none.

    Raises:
      ValueError: the file is not a whole PNG of at most `MAX_PIXELS`.
    """
    with open_png(path) as image:
        page = np.asarray(image.convert("RGB"))
        return page, _layout(image)


def _layout(image: Any) -> GridLayout | None:
    """Returns the geometry of an opened grid; its pixels are not decoded."""
    try:
        values = parse_json(image.info.get(TEXT, ""))
        lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        tiles = GridLayout(**values | lists)
        checks.validate(tiles)
    except (ValueError, TypeError):  # not written by genjax
        return None
    return tiles if tiles.size() == image.size[::-1] else None


def fitting(n: int, shape: Sequence[int]) -> int:
    """Returns how many of n images of shape `(H, W, C)` make a grid that can be read again.

    >>> fitting(64, (32, 32, 3)), fitting(64, (1024, 1024, 3))
    (64, 30)
    """

    def pixels(n: int) -> int:
        return math.prod(GridLayout(shape[0], shape[1], math.ceil(math.sqrt(n)), n).size())

    while n > 1 and pixels(n) > MAX_PIXELS:
        n -= 1
    return n


def _factor(tiles: GridLayout | None) -> int:
    return -(-max(tiles.height, tiles.width) // SIDE) if tiles else 1


def _reduced(page: np.ndarray, tiles: GridLayout) -> tuple[np.ndarray, GridLayout]:
    """Returns a grid whose samples are averaged to at most `SIDE` pixels."""
    factor = _factor(tiles)
    if factor == 1:
        return page, tiles
    h, w = tiles.height // factor, tiles.width // factor
    samples = cut(page, tiles)[:, : h * factor, : w * factor]
    blocks = samples.reshape(tiles.count, h, factor, w, factor, 3)
    small = (blocks.mean(axis=(2, 4), dtype=np.float32) + 0.5).astype(np.uint8)
    tiles = dataclasses.replace(tiles, height=h, width=w, scale=1)
    return place_images(small, tiles), tiles


@contextlib.contextmanager
def open_png(path: pathlib.Path) -> Iterator[Any]:
    """Opens a PNG, whose size is checked before its pixels are decoded.

    Raises:
      ValueError: it is not a whole PNG of at most `MAX_PIXELS`.
    """
    from PIL import Image

    with open_file(path) as file:
        head = file.read(24)  # signature, then length, name, width and height of the first chunk
        pixels = int.from_bytes(head[16:20]) * int.from_bytes(head[20:24])
        if head.startswith(b"\x89PNG") and pixels > MAX_PIXELS:
            raise ValueError(f"{path} has {pixels} pixels, more than {MAX_PIXELS}; remove it.")
        if os.fstat(file.fileno()).st_size > 4 * MAX_PIXELS:
            raise ValueError(f"{path} has more than {4 * MAX_PIXELS} bytes; remove it.")
        file.seek(0)
        try:
            with Image.open(file, formats=["PNG"]) as image:
                yield image
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(f"{path} is not a whole PNG ({type(error).__name__}).") from None


def cut(page: np.ndarray, tiles: GridLayout, first: int | None = None) -> np.ndarray:
    """Returns the samples of a grid, uint8 `[n, h, w, 3]`: all, or the first few."""
    n = tiles.count if first is None else min(first, tiles.count)
    corners = [tiles.corner(i) for i in range(n)]
    return np.stack([page[t : t + tiles.height, c : c + tiles.width] for t, c in corners])


def grids(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the grids of a run's `samples/` by step, ascending; empty without the folder."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in folder.glob("step_*.png"):
        match = re.fullmatch(r"step_(\d+)\.png", path.name)
        if match:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def remove_after(folder: pathlib.Path, step: int) -> None:
    """Removes grids later than `step`, which are drawn again, and everything made from them."""
    stale = [path for at, path in grids(folder).items() if at > step]
    if stale:
        stale += [folder / "strip.png", folder / "film.gif"]
    for path in stale:
        path.unlink(missing_ok=True)


def thin(items: Sequence[T], most: int) -> list[T]:
    """Returns at most `most` items, evenly spaced, with the first and the last."""
    if len(items) <= most:
        return list(items)
    # The indices are distinct, since there are more items than `most`.
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]


class Strip(NamedTuple):
    """A PNG with one row per step and one column per sample."""

    png: bytes
    steps: list[int]
    """Step of each row."""
    labels: list[str]
    """Stage of each row; empty texts if the networks do not grow."""


def strip(paths: dict[int, pathlib.Path], *, captions: bool = False) -> Strip | None:
    """Returns the grids as rows. Of networks that grow, every stage has a row, its last grid.

    Of a grid with titles, the samples are its second column: translations, not their inputs; of one
    with captions, the first sample of each. Damaged grids, and grids with another geometry than the
    last one, are left out. None if no grid has a geometry.

    Args:
      paths: of the grids, by step.
      captions: whether the labels, if there are any, are drawn on the left of the rows.
    """
    read = _whole(paths)
    last = next((tiles for _, _, tiles in reversed(read) if tiles), None)
    if last is None:
        return None
    found = [(step, page, tiles) for step, page, tiles in read if tiles and tiles == last]
    rows = _growth(found) if _grow(found) else thin(found, ROWS)
    every = last.columns if last.titles else last.per_group if last.captions else 1
    shown = list(range(bool(last.titles), last.count, every))[:COLUMNS]
    samples = np.concatenate([cut(page, last)[shown] for _, page, _ in rows])
    larger = _enlargement(found)
    samples = samples.repeat(larger, axis=1).repeat(larger, axis=2)
    height, width = samples.shape[1:3]
    scale = last.scale * larger
    tiles = GridLayout(height, width, len(shown), len(samples), scale, last.gap)
    steps, labels = [step for step, _, _ in rows], [own.label for _, _, own in rows]
    page, text = place_images(samples, tiles), dataclasses.asdict(tiles) | {"steps": steps}
    if captions and _grow(rows):
        width = max(map(_text_width, labels))
        boxes = np.stack([_caption(label, tiles.height, width) for label in labels])
        column = dataclasses.replace(tiles, width=width, columns=1, count=len(rows))
        page = np.concatenate([place_images(boxes, column), page], axis=1)
        text = {"steps": steps, "labels": labels}
    return Strip(encode_png(page, text), steps, labels)


def _grow(read: Sequence[tuple[int, Any, GridLayout | None]]) -> bool:
    """Returns whether grids are of several stages."""
    return len({tiles.stage for _, _, tiles in read if tiles}) > 1


def _enlargement(read: Sequence[tuple[int, Any, GridLayout | None]]) -> int:
    """Returns the factor by which samples are enlarged, so that single pixels are visible."""
    if not _grow(read):
        return 1
    height = max(tiles.height for _, _, tiles in read if tiles)
    largest = max(max(page.shape) for _, page, _ in read)
    return max(1, min(-(-LEAST // height), LARGEST // largest))


def _growth(rows: list[tuple[int, T, GridLayout]]) -> list[tuple[int, T, GridLayout]]:
    """Returns the last row of every stage, and rows of fades between them up to `ROWS`."""
    of_label = {tiles.label: (step, page, tiles) for step, page, tiles in rows}
    whole = [row for row in of_label.values() if row[2].alpha == 1]
    fades = [row for row in of_label.values() if row[2].alpha < 1]
    kept = [*whole, *thin(fades, max(ROWS - len(whole), 0))]
    return sorted(kept, key=lambda row: row[0])


def _without_captions(page: np.ndarray, tiles: GridLayout) -> np.ndarray:
    """Returns the page of a grid without its captions, whose groups are beside one another."""
    height = tiles.group_height - tiles.header + tiles.gap
    tops = [group * tiles.group_height + tiles.header for group in range(tiles.groups)]
    width = tiles.columns * (tiles.width + tiles.gap) + tiles.gap
    across = max(1, round(math.sqrt(tiles.groups * height / width)))
    groups = [page[top : top + height, :width] for top in tops]
    groups += [np.full_like(groups[0], GREY)] * (-len(groups) % across)
    rows = [np.concatenate(groups[i : i + across], axis=1) for i in range(0, len(groups), across)]
    return np.concatenate(rows)


def _text_width(text: str) -> int:
    from PIL import ImageFont

    return math.ceil(ImageFont.load_default(12).getlength(text)) + 8


def _caption(text: str, height: int, width: int) -> np.ndarray:
    """Returns a white image with a text in its middle, uint8 `[height, width, 3]`."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), "white")
    place, font = (width / 2, height / 2), ImageFont.load_default(12)
    ImageDraw.Draw(image).text(place, text, "black", font, anchor="mm")
    return np.asarray(image)


def write_gif(paths: dict[int, pathlib.Path]) -> bytes | None:
    """Returns an endless GIF of the grids, about six seconds long; None for fewer than two.

    Of networks that grow, the stage is written below. Captions are left out.
    """
    from PIL import Image

    read = _whole(paths)
    alike = [(page, tiles) for _, page, tiles in read if page.shape == read[-1][1].shape]
    if len(alike) < 2:
        return None
    frames, larger = [], _enlargement(read)
    for page, tiles in alike:
        if tiles and tiles.captions:
            page = _without_captions(page, tiles)
        page = page.repeat(larger, axis=0).repeat(larger, axis=1)
        if tiles and _grow(read):
            page = np.concatenate([page, _caption(tiles.label, 20, page.shape[1])])
        image = Image.fromarray(page)
        # Grey images keep their 256 levels; colours are quantised to 256.
        grey = (page == page[..., :1]).all()
        frames.append(image.convert("L") if grey else image.quantize(256, dither=Image.Dither.NONE))
    each = min(500, max(80, 6000 // len(frames)))
    out = io.BytesIO()
    frames[0].save(
        out,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[each] * (len(frames) - 1) + [1800],  # milliseconds
        loop=0,
    )
    return out.getvalue()


def write_overview(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes `strip.png` and `film.gif` of a run's `samples/`; returns the files written."""
    paths = grids(folder)
    made = strip(paths, captions=True)
    found = {"strip.png": made.png if made else None, "film.gif": write_gif(paths)}
    written = []
    for name, data in found.items():
        if data is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_file(folder / name, data)
            written.append(folder / name)
    return written


def refresh(folder: pathlib.Path) -> None:
    """Calls `write_overview` if a grid is newer than the strip and the folder is writable.

    Nothing is written if the folder is a link, which may lead out of the run.
    """
    if folder.is_symlink():
        return
    remove_parts(folder)
    times = [path.stat().st_mtime_ns for path in grids(folder).values()]
    made = folder / "strip.png"
    if times and not (made.exists() and made.stat().st_mtime_ns >= max(times)):
        with contextlib.suppress(OSError):
            write_overview(folder)


def _whole(paths: dict[int, pathlib.Path]) -> list[tuple[int, np.ndarray, GridLayout | None]]:
    """Returns step, image and geometry of the grids that can be read, of at most `MAX_BYTES`.

    Large samples are reduced.
    """
    found: list[tuple[int, np.ndarray, GridLayout | None]] = []
    for step, path in _thin_bytes(thin(list(paths.items()), FRAMES)):
        try:
            page, tiles = read_grid(path)
        except ValueError:
            continue
        found.append((step, *(_reduced(page, tiles) if tiles else (page, None))))
    return found


def _thin_bytes(paths: list[tuple[int, pathlib.Path]]) -> list[tuple[int, pathlib.Path]]:
    """Returns evenly spaced grids that decode to at most `MAX_BYTES`, and at least two."""
    sizes = {step: _decoded_bytes(path) for step, path in paths}
    while len(paths) > 2 and sum(sizes[step] for step, _ in paths) > MAX_BYTES:
        paths = thin(paths, max(2, len(paths) * 3 // 4))
    return paths


def _decoded_bytes(path: pathlib.Path) -> int:
    try:
        with open_png(path) as image:
            return 3 * math.prod(image.size) // _factor(_layout(image)) ** 2
    except ValueError:
        return 0


def encode_png(page: np.ndarray, text: dict[str, Any]) -> bytes:
    """Returns an image uint8 `[H, W, 3]` as PNG, with JSON values in its text."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text(TEXT, json.dumps(text))
    out = io.BytesIO()
    Image.fromarray(page).save(out, format="PNG", pnginfo=info)
    return out.getvalue()
