"""Glyphs: characters drawn in eight faces, where the true image of every translation is known.

The faces are DejaVu Sans and Serif, regular or bold, upright or slanted, which matplotlib installs.
Pillow draws them with FreeType, so the pixels, and with them the checksum of the data, depend on
the version of FreeType; the splits hardly do.
"""

import functools
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.data.dataset import Dataset

GLYPHS = ("glyphs", "glyphs_paired", "glyphs_attributes", "glyphs_masked")
SIDE, SIZE, BASELINE = 32, 22, 26  # pixels; almost every letter fits in all faces
FACES = {
    ("sans", False, False): "DejaVuSans",
    ("sans", True, False): "DejaVuSans-Bold",
    ("sans", False, True): "DejaVuSans-Oblique",
    ("sans", True, True): "DejaVuSans-BoldOblique",
    ("serif", False, False): "DejaVuSerif",
    ("serif", True, False): "DejaVuSerif-Bold",
    ("serif", False, True): "DejaVuSerif-Italic",
    ("serif", True, True): "DejaVuSerif-BoldItalic",
}
"""Font of each (face, bold, slanted)."""
INKS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
ATTRIBUTES = ("red", "green", "blue", "bold", "slanted")
"""Attributes of `glyphs_attributes`; exactly one of the first three is 1."""
GREY = 128
"""Its background: on black, the median pixel is black and a generator's tanh saturates there."""
STYLES = tuple(itertools.product((0, 1), repeat=2))
"""(bold, slanted) of the four images of a character in `glyphs_attributes`."""
TEST, VALIDATION = 0.1, 0.05  # shares of the characters
STREAM = 2**35  # beyond the streams of Order, static binarization and toy mixtures


def render(
    characters: str | Sequence[str] | Sequence[int] | np.ndarray,
    *,
    face: Any = "sans",
    bold: Any = False,
    slanted: Any = False,
    ink: Any = None,
    background: int = 0,
) -> np.ndarray:
    """Draws characters, uint8 `[N, 32, 32, C]` in 0 .. 255.

    Args:
      characters: N characters or code points.
      face: 'sans' or 'serif'; like the next three, one for all or one for each, `[N]`.
      bold: whether the weight is bold.
      slanted: whether the face is oblique (sans) or italic (serif).
      ink: 'red', 'green', 'blue' or 'white' for three channels; None for one.
      background: level of the pixels without ink.

    Raises:
      ValueError: a face has no such character, or it does not fit the image; or there is no such
        face or ink.

    >>> render("Ag", face="serif", bold=[True, False]).shape
    (2, 32, 32, 1)
    """
    names = [chr(c) if isinstance(c, int | np.integer) else str(c) for c in characters]
    options = (np.broadcast_to(np.asarray(v), len(names)).tolist() for v in (face, bold, slanted))
    grey = np.stack(
        [_draw(c, str(f), bool(b), bool(s)) for c, f, b, s in zip(names, *options, strict=True)]
    )[..., None]
    if ink is None:
        return _blend(grey, 255, background)
    inks = np.broadcast_to(np.asarray(ink), len(names)).tolist()
    if not set(inks) <= set(INKS):
        raise ValueError(f"`ink` must be one of {', '.join(INKS)}, got {sorted(set(inks))}.")
    levels = 255 * np.array([INKS[name] for name in inks])
    return _blend(grey, levels[:, None, None], background)


def _blend(opacity: np.ndarray, ink: Any, background: int) -> np.ndarray:
    """Draws levels of ink over a background, uint8."""
    mixed = opacity / 255 * ink + (1 - opacity / 255) * background
    return np.round(mixed).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def characters() -> tuple[str, ...]:
    """Returns the letters and digits of the data sets, in the order of their code points.

    Each exists in all eight faces and fits the image. Of look-alikes, such as Latin, Greek and
    Cyrillic A, which are drawn alike in one face at least, the first one stays.
    """
    codes = set.intersection(*({*_charmap(font)} for font in FACES.values()))
    fonts = [_font(font) for font in FACES.values()]
    kept: list[str] = []
    seen: set[tuple[int, bytes]] = set()
    for character in filter(str.isalnum, map(chr, sorted(codes))):
        if not all(_fits(font, character) for font in fonts):
            continue
        images = {(i, _draw(character, *f).tobytes()) for i, f in enumerate(FACES)}
        if not images & seen:
            kept.append(character)
            seen |= images
    return tuple(kept)


def load_glyphs(name: str) -> Dataset:
    """Makes one of the data sets `GLYPHS`; see docs/data.md.

    Characters are split by a rank that depends on the code point alone: 10 % test, 5 % validation.
    """
    groups = _split_characters()
    if name in ("glyphs", "glyphs_paired"):
        splits = {split: _pairs(group) for split, group in groups.items()}
        unpaired = name == "glyphs"
        if unpaired:  # the first half of the characters is domain a, the second domain b
            train, half = splits["train"], len(groups["train"]) // 2
            splits["train"] = {
                "x": train["x"][:half],
                "y": train["y"][half:],
                "caption": train["caption"][:half],
            }
        paired = frozenset(splits) - ({"train"} if unpaired else set())
        return Dataset(name, splits, 256, unpaired=unpaired, paired=paired)
    splits = {split: _styled(group) for split, group in groups.items()}
    if name == "glyphs_masked":
        splits = {split: _masked(entries, split) for split, entries in splits.items()}
    names = {"attributes": ATTRIBUTES}
    return Dataset(name, splits, 256, names=names, render=render_attributes)


def render_attributes(rows: Mapping[str, np.ndarray], attributes: np.ndarray) -> np.ndarray:
    """Draws the characters of rows with other attributes on grey, uint8 `[N, 32, 32, 3]`.

    Args:
      rows: entries of `glyphs_attributes`, of which `caption` `[N]` is used.
      attributes: `[N, 5]` in the order of `ATTRIBUTES`, with 1 for one of the inks.
    """
    attributes = np.asarray(attributes)
    inks = np.array(ATTRIBUTES[:3])
    one = (attributes[:, :3] != 0).sum(axis=1) == 1
    if not one.all():
        raise ValueError(
            f"`attributes` must have 1 for exactly one of {', '.join(inks)}, got"
            f" {attributes[~one][0].tolist()}."
        )
    bold, slanted = attributes[:, 3] != 0, attributes[:, 4] != 0
    ink = inks[attributes[:, :3].argmax(axis=1)]
    return render(rows["caption"], bold=bold, slanted=slanted, ink=ink, background=GREY)


def _split_characters() -> dict[str, tuple[str, ...]]:
    ranks = _draws(0, 1)
    ordered = tuple(sorted(characters(), key=lambda c: ranks[ord(c), 0]))
    test, validation = (round(share * len(ordered)) for share in (TEST, VALIDATION))
    return {
        "train": ordered[test + validation :],
        "validation": ordered[test : test + validation],
        "test": ordered[:test],
    }


def _draws(number: int, count: int) -> np.ndarray:
    """Returns `count` random words of every code point, `[code points, count]`."""
    n = 1 + max(map(ord, characters()))
    raw = np.random.Philox(key=[number, STREAM]).random_raw(n * count)
    return raw.reshape(n, count)


def _pairs(group: tuple[str, ...]) -> dict[str, np.ndarray]:
    y = render(group, face="serif", bold=True, slanted=True)
    return {"x": render(group), "y": y, "caption": np.array(group)}


def _styled(group: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns each character in the four styles, each image in an ink drawn at random."""
    caption = np.repeat(np.array(group), len(STYLES))
    inks = _draws(1, len(STYLES))[[ord(c) for c in group]].reshape(-1) % np.uint64(3)
    attributes = np.zeros((len(caption), len(ATTRIBUTES)), np.uint8)
    attributes[np.arange(len(caption)), inks.astype(np.int64)] = 1
    attributes[:, 3:] = np.tile(STYLES, (len(group), 1))
    x = render_attributes({"caption": caption}, attributes)
    return {"x": x, "attributes": attributes, "caption": caption}


def _masked(entries: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Adds `label`: 0 for the first half of the characters, whose ink is known; 1 for the others,
    whose style is. Of the training split, unknown attributes become 0."""
    n = len(entries["caption"]) // len(STYLES)
    label = np.repeat(np.arange(n) >= n // 2, len(STYLES)).astype(np.int32)
    attributes = entries["attributes"].copy()
    if split == "train":
        attributes[label == 0, 3:] = 0
        attributes[label == 1, :3] = 0
    return {**entries, "attributes": attributes, "label": label}


@functools.lru_cache(maxsize=len(FACES))
def _font(name: str) -> Any:
    from PIL import ImageFont

    # The basic layout: one character needs no shaping, and Raqm is not installed everywhere.
    return ImageFont.truetype(_path(name), SIZE, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=len(FACES))
def _charmap(name: str) -> Mapping[int, int]:
    from matplotlib import ft2font

    return ft2font.FT2Font(_path(name)).get_charmap()


def _path(name: str) -> str:
    import matplotlib

    return str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"))


def _fits(font: Any, character: str) -> bool:
    left, top, right, bottom = font.getbbox(character, anchor="ms")
    half = SIDE // 2
    return bool(-half <= left and right <= half and top >= -BASELINE and bottom <= SIDE - BASELINE)


@functools.cache
def _draw(character: str, face: str, bold: bool, slanted: bool) -> np.ndarray:
    """Draws one character, centred, uint8 `[32, 32]`."""
    from PIL import Image, ImageDraw

    name = FACES.get((face, bold, slanted))
    if name is None:
        raise ValueError(f"`face` must be 'sans' or 'serif', got {face!r}.")
    if len(character) != 1 or ord(character) not in _charmap(name):
        raise ValueError(f"{name} has no character {character!r}; leave it out.")
    if not _fits(_font(name), character):
        raise ValueError(f"{character!r} does not fit {SIDE} by {SIDE} pixels; leave it out.")
    image = Image.new("L", (SIDE, SIDE))
    at = (SIDE // 2, BASELINE)
    ImageDraw.Draw(image).text(at, character, fill=255, font=_font(name), anchor="ms")
    return np.asarray(image)
