"""Grids of images below their captions, in which wrong images are framed."""

import dataclasses
import functools
import math
import pathlib
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from genjax.data.file_writing import write_file
from genjax.data.image_grid import GridLayout, grid_with_layout, place_images
from genjax.train.sample_grids import MAX_PIXELS, encode_png

COLUMNS = 8
"""Largest number of columns, by default."""
FRAME = (255, 0, 128)
"""Colour of the frames of wrong images."""
THICK, GAP = 3, 8  # width of a frame, and space between images, in pixels
SIDE = 64  # smallest height of an image in pixels; smaller images are enlarged
PAGE = 320  # smallest width of a grid in pixels, for a few words per line of a caption
FONT, LINE, LINES = 12, 16, 3  # font size and line height in pixels; most lines of a caption
LONGEST = 300  # most characters of a caption


def caption_layout(
    shape: Sequence[int], captions: Sequence[str], count: int, columns: int = 0
) -> GridLayout:
    """Returns the layout of a grid.

    Args:
      shape: shape of an image, `(H, W, C)`.
      captions: captions, each above an equal number of the images.
      count: number of images.
      columns: number of columns; 0 is the number of images per caption, at most `COLUMNS`.
    """
    shown = tuple(shortened(caption, LONGEST) for caption in captions)
    height, width = shape[:2]
    scale = math.ceil(SIDE / max(1, min(SIDE, height)))
    columns = columns or min(COLUMNS, math.ceil(count / len(captions)))
    sizes = height * scale, width * scale, columns, count, scale, GAP
    layout = GridLayout(*sizes, captions=shown, page_width=PAGE)
    lines = max(len(wrapped(caption, layout.size()[1] - 2 * GAP)) for caption in shown)
    return dataclasses.replace(layout, header=lines * LINE + GAP)


def fitting_captions(shape: Sequence[int], captions: Sequence[str], per_caption: int) -> int:
    """Returns how many captions fit a grid of at most `MAX_PIXELS` pixels, and at least 1.

    Larger PNG files are not read, for instance by the report.
    """

    def pixels(n: int) -> int:
        return math.prod(caption_layout(shape, captions[:n], n * per_caption).size())

    one = caption_layout(shape, [""], per_caption)
    smallest = one.group_height * one.size()[1]
    low, high = 1, max(1, min(len(captions), MAX_PIXELS // smallest))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if pixels(middle) <= MAX_PIXELS else (low, middle - 1)
    return low


def save_caption_grid(
    path: pathlib.Path,
    images: Any,
    captions: Sequence[str],
    low: float = 0.0,
    high: float = 1.0,
    *,
    columns: int = 0,
    wrong: Collection[int] | None = None,
) -> np.ndarray:
    """Writes a grid as PNG with its layout as metadata; returns it, uint8 `[H, W, 3]`.

    Args:
      path: file to write.
      images: `[N, H, W, C]` in [low, high], sorted by caption.
      captions: captions, each of an equal number of the images.
      low: lowest value of an image.
      high: highest value of an image.
      columns: number of columns; 0 is the number of images per caption, at most `COLUMNS`.
      wrong: indices of the images to frame; None if it is unknown which images are wrong.
    """
    images = np.asarray(images)
    layout = caption_layout(images.shape[1:], captions, len(images), columns)
    known = None if wrong is None else tuple(sorted(int(i) for i in wrong))
    layout = dataclasses.replace(layout, wrong=known)
    page = _page(images, layout, low, high)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, encode_png(page, dataclasses.asdict(layout)))
    return page


def _page(images: np.ndarray, layout: GridLayout, low: float, high: float) -> np.ndarray:
    single, tiles = grid_with_layout(images, low, high, layout.scale, columns=1)
    scaled = np.stack([_tile(single, tiles, i) for i in range(len(images))])
    page = place_images(scaled, layout)
    for group, caption in enumerate(layout.captions):
        top = layout.gap + group * layout.group_height - (layout.gap if group == 0 else 0)
        bottom = layout.gap + group * layout.group_height + layout.header - layout.gap
        page[top:bottom] = _text(caption, bottom - top, page.shape[1])
    for i in layout.wrong or ():
        _frame(page, layout, i)
    return page


def _tile(page: np.ndarray, layout: GridLayout, i: int) -> np.ndarray:
    top, left = layout.corner(i)
    return page[top : top + layout.height, left : left + layout.width]


def _frame(page: np.ndarray, layout: GridLayout, i: int) -> None:
    """Draws a frame around an image, outside of it."""
    top, left = layout.corner(i)
    bottom, right = top + layout.height, left + layout.width
    inside = page[top:bottom, left:right].copy()
    page[top - THICK : bottom + THICK, left - THICK : right + THICK] = FRAME
    page[top:bottom, left:right] = inside


def _text(caption: str, height: int, width: int) -> np.ndarray:
    """Returns a white image with a caption at the lower left, uint8 `[height, width, 3]`."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "white")
    lines = wrapped(caption, width - 2 * GAP)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        top = height - (len(lines) - i) * LINE
        draw.text((GAP, top + LINE // 2), line, "black", _font(), anchor="lm")
    return np.asarray(image)


def wrapped(caption: str, width: int) -> list[str]:
    """Returns a caption as at most `LINES` lines of at most `width` pixels."""
    lines, line = [], ""
    for word in drawable(caption).split() or [""]:
        joined = f"{line} {word}" if line else word
        if text_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while text_width(word) > width and len(word) > 1 and len(lines) <= LINES:
            cut = next(
                n for n in range(len(word) - 1, 0, -1) if n == 1 or text_width(word[:n]) <= width
            )
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    lines.append(line)
    if len(lines) > LINES:
        last = lines[LINES - 1]
        while last and text_width(f"{last}…") > width:
            last = last[:-1]
        lines[LINES - 1 :] = [f"{last}…"]
    return lines


def drawable(text: str) -> str:
    """Returns text in which characters that the font of the grids lacks are their names.

    >>> drawable("a \N{FOX FACE}\N{VARIATION SELECTOR-16}")
    'a [fox face]'
    """
    return "".join(_drawable(character) for character in unicodedata.normalize("NFC", text))


def _drawable(character: str) -> str:
    if character.isspace():
        return " "
    if unicodedata.category(character) in ("Cf", "Cc", "Cs") or 0xFE00 <= ord(character) <= 0xFE0F:
        return ""  # joiners, marks of direction, variants
    if ord(character) in _characters():
        return character
    name = unicodedata.name(character, "").lower()
    return f"[{name or f'U+{ord(character):04X}'}]"


def text_width(text: str) -> float:
    """Returns the pixels of a line of text."""
    return float(_font().getlength(text))


def shortened(text: str, length: int) -> str:
    """Returns text cut to `length` characters, of which the last is then an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _font_file() -> str:
    import matplotlib  # installs fonts with Latin, Greek, Cyrillic, Arabic and Hebrew letters

    return str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@functools.cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(_font_file(), FONT)


@functools.cache
def _characters() -> Collection[int]:
    from matplotlib import ft2font

    return frozenset(ft2font.FT2Font(_font_file()).get_charmap())
