"""Panels with their labels on one page, readable on light and dark pages at half its size."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.strip.panels import Picture

ACROSS = 4
"""Panels of a row, at most."""
INNER, MARGIN, SPACE, GAP = 420, 16, 16, 4
"""Width of the images of a panel, margin around them, and space between panels and images, in
pixels."""
TITLE, MODEL, SMALL = 30, 23, 21
"""Sizes of the fonts in pixels: of the title, of the model's name, of columns and captions."""
CAPTIONED = 128
"""Width of an image with a caption, at most."""
LINE = 25
"""Height of a line of the small font in pixels."""
PAGE, PANEL, EDGE = (255, 255, 255), (246, 248, 250), (208, 215, 222)
INK, GREY = (31, 35, 40), (89, 99, 110)

Labelled = tuple[str, str, Picture]
"""Title, name of the model, images."""


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Returns DejaVu Sans, which matplotlib installs."""
    folder = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / f"DejaVuSans{'-Bold' * bold}.ttf"), size)


def page(panels: Sequence[Labelled]) -> np.ndarray:
    """Returns the page, uint8 `[H, W, 3]`, with at most `ACROSS` panels in a row.

    Rows are of about equal length, the longest first, and centred.
    """
    drawn = [panel(*labelled) for labelled in panels]
    parts = np.array_split(np.arange(len(drawn)), -(-len(drawn) // ACROSS))
    rows = [[drawn[i] for i in part] for part in parts]
    across = len(rows[0])
    heights = [max(image.height for image in row) for row in rows]
    width = across * (INNER + 2 * MARGIN) + (across + 1) * SPACE
    whole = Image.new("RGB", (width, sum(heights) + (len(rows) + 1) * SPACE), PAGE)
    draw = ImageDraw.Draw(whole)
    top = SPACE
    for row, height in zip(rows, heights, strict=True):
        start = (width - sum(image.width + SPACE for image in row) + SPACE) // 2
        for i, image in enumerate(row):
            left = start + i * (image.width + SPACE)
            box = (left, top, left + image.width - 1, top + height - 1)
            draw.rectangle(box, fill=PANEL, outline=EDGE, width=2)
            whole.paste(image.crop((2, 2, image.width - 2, image.height - 2)), (left + 2, top + 2))
        top += height + SPACE
    return np.asarray(whole)


def panel(title: str, model: str, picture: Picture) -> Image.Image:
    """Returns a panel: title, name of the model, and the images with their titles or captions."""
    images, columns = picture.images, picture.columns
    rows = -(-len(images) // columns)
    slot = (INNER + GAP) // columns
    lines = [wrapped(caption, slot - GAP) for caption in picture.captions]
    below = LINE * max(map(len, lines), default=0) + (GAP + 6 if lines else 0)
    scale = max(1, min(slot - GAP, CAPTIONED if lines else slot) // images.shape[2])
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = images.shape[1:3]
    step = slot if lines else width + GAP
    # Space that is left separates the examples of a row.
    between = min(20, (INNER + GAP - columns * step) // max(1, picture.sets - 1))
    places = [i * step + i * picture.sets // columns * between for i in range(columns)]
    left = MARGIN + (INNER - places[-1] - step + GAP) // 2
    head = MARGIN + TITLE + 8 + MODEL + 12
    top = head + (LINE + 4 if picture.titles else 0)
    total = top + rows * (height + below + GAP) - GAP + MARGIN
    out = Image.new("RGB", (INNER + 2 * MARGIN, total), PANEL)
    draw = ImageDraw.Draw(out)
    draw.text((MARGIN, MARGIN + TITLE // 2), title, INK, font(TITLE, True), anchor="lm")
    draw.text((MARGIN, MARGIN + TITLE + 8 + MODEL // 2), model, GREY, font(MODEL), anchor="lm")
    for i, text in enumerate(picture.titles):
        middle = left + places[i] + (step - GAP) // 2
        draw.text((middle, head + LINE // 2), text, INK, fitting(text, step), anchor="mm")
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        x = left + places[column] + (step - GAP - width) // 2
        y = top + row * (height + below + GAP)
        out.paste(Image.fromarray(image), (x, y))
        for j, line in enumerate(lines[i] if lines else ()):
            place = (x + width // 2, y + height + 4 + j * LINE + LINE // 2)
            draw.text(place, line, INK, font(SMALL), anchor="mm")
    return out


def fitting(text: str, width: int) -> Any:
    """Returns the small font, or a smaller one in which a text is at most so wide."""
    size = SMALL
    while size > 12 and font(size).getlength(text) > width:
        size -= 1
    return font(size)


def wrapped(text: str, width: int) -> list[str]:
    """Returns a text as lines of at most so many pixels; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font(SMALL).getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
