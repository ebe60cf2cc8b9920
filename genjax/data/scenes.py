"""Scenes: two objects on black with captions about them, and a parser that reads images back.

    a small red circle left of a large blue square

The same rules draw and read, so whether an image shows what a caption says is known without a
classifier. Some captions, and all with a red triangle, are in no split for training.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genjax.data.caption_grammar import CONVERSE, FIRST, parse_words
from genjax.data.dataset import CaptionCheck, Dataset
from genjax.data.order import Order

SCENES = ("scenes",)
SIDE = 32
EXTENT = {"small": 7, "large": 11}  # pixels, odd: each object has a middle pixel
PALETTE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
SHAPES = ("circle", "square", "triangle")
GAPS, OFFSETS = range(2, 9), range(-4, 5)
"""Pixels between the objects, and between their middles across the direction of the relation."""
COUNTS = {
    "seen": {"train": 20_000, "validation": 1_000, "test": 2_000},
    "unseen": {"unseen": 1_000},
    "bindings": {"bindings": 1_000},
}
"""Images of each split, by the group of their captions."""
UNSEEN = 100  # pairs of captions
STREAM, DOMAIN = 2**36, 2  # beyond those of the other data made by rule, and of the runs' orders

_COLOUR_DISTANCE = 150  # of 255 between neighbouring corners of the cube: no named colour beyond
_SPECK = 8  # smaller components are noise; the smallest object has 25 pixels
_COLOUR_SHARE = 0.6  # of an object's pixels
_OVERLAP = 0.8  # intersection over union with a true object; a square between the sizes has 0.76
_SLOPE = 1.5  # true scenes have 9 / 4 or more
_MARGIN = 8  # pixels around an object's centre of mass; a large one and a step need 7


class Item(NamedTuple):
    """An object of a scene."""

    size: str
    colour: str
    shape: str


class Scene(NamedTuple):
    """Two different objects and the relation of the first to the second."""

    first: Item
    relation: str
    second: Item

    @property
    def converse(self) -> "Scene":
        """The scene as its other caption says it: the objects are exchanged."""
        return Scene(self.second, CONVERSE[self.relation], self.first)

    @property
    def canonical(self) -> "Scene":
        """The scene with `left of` or `above`, the same one for both ways to say it."""
        return self if self.relation in FIRST else self.converse

    @property
    def caption(self) -> str:
        """The scene as text, which `parse_caption` reads."""
        return f"a {' '.join(self.first)} {self.relation} a {' '.join(self.second)}"


ITEMS = tuple(itertools.starmap(Item, itertools.product(EXTENT, PALETTE, SHAPES)))
ALL_SCENES = tuple(
    Scene(a, relation, b) for a, b in itertools.permutations(ITEMS, 2) for relation in CONVERSE
)
_INDEX = {item: i for i, item in enumerate(ITEMS)}
_EXTENTS = np.array([EXTENT[item.size] for item in ITEMS])


def parse_caption(text: str) -> Scene:
    """Reads a caption; case and spaces do not matter.

    Raises:
      ValueError: a word is not in the grammar, or not at its place; or both objects are the same.

    >>> parse_caption("a small red circle above a large blue square").relation
    'above'
    """
    options = ("a",), tuple(EXTENT), tuple(PALETTE), SHAPES
    words = parse_words(text, (*options, tuple(CONVERSE), *options), ALL_SCENES[1].caption)
    scene = Scene(Item(*words[1:4]), words[4], Item(*words[6:9]))
    if scene.first == scene.second:
        raise ValueError(f"the caption {text!r} has the same object twice; change one of them.")
    return scene


def canonical_caption(text: str) -> str:
    """Returns the caption of the same scene with `left of` or `above`.

    >>> canonical_caption("a small red circle below a large blue square")
    'a large blue square above a small red circle'
    """
    return parse_caption(text).canonical.caption


def render(scenes: Sequence[Scene], seed: int = 0) -> np.ndarray:
    """Draws scenes with the objects at random places, uint8 `[N, 32, 32, 3]`.

    Image i depends on its scene, on `seed` and on i alone.
    """
    random = np.random.Philox(key=[seed, STREAM + 1]).random_raw(4 * len(scenes)).reshape(-1, 4)
    items, upright = _indices(scenes)
    return _draw(items, _corners(items, upright, random))


def read_scene(image: np.ndarray) -> Scene | None:
    """Reads an image `[32, 32, 3]` in 0 .. 255; None if it does not show one scene.

    Images need not equal those of `render`:

    * A pixel has the nearest colour of the palette and black, if it is within 150 of 255 in RGB.
    * Connected pixels that are not black are an object, of the colour of most of them; up to 40 %
      may have others. Components of less than 8 pixels are ignored.
    * Shape and size are those of the true object with the largest intersection over union, of at
      least 0.8, where both have their centres of mass within a pixel.
    * The difference between the middles in the direction of the relation is at least 1.5 times
      that across it.

    Of the two ways to say the scene, it returns that with `left of` or `above`.
    """
    from scipy import ndimage

    colours = np.pad(_nearest_colours(np.asarray(image, np.float32)), _MARGIN)
    components = ndimage.label(colours > 0)[0]
    areas = np.bincount(components.ravel())[1:]
    large = 1 + np.flatnonzero(areas >= _SPECK)
    if len(large) != 2:
        return None
    first, second = (_read_item(components == i, colours) for i in large)
    if first is None or second is None or first[0] == second[0]:
        return None
    (a, at), (b, to) = first, second
    down, right = to - at
    if abs(right) >= _SLOPE * abs(down):
        relation = "left of" if right > 0 else "right of"
    elif abs(down) >= _SLOPE * abs(right):
        relation = "above" if down > 0 else "below"
    else:
        return None
    return Scene(a, relation, b).canonical


def matches(images: np.ndarray, captions: Sequence[str], classify: object = None) -> np.ndarray:
    """Tells whether images show what captions say and nothing else, bool `[N]`; see `read_scene`.

    Args:
      images: `[N, 32, 32, 3]` in 0 .. 255.
      captions: N captions of the grammar.
      classify: not used.
    """
    if np.shape(images)[1:] != (SIDE, SIDE, 3) or len(images) != len(captions):
        raise ValueError(
            f"images must be [N, {SIDE}, {SIDE}, 3] with N captions, got {list(np.shape(images))}"
            f" and {len(captions)} captions."
        )
    wanted = [parse_caption(str(c)) for c in captions]
    seen = map(read_scene, images)
    return np.array([s in (w, w.converse) for s, w in zip(seen, wanted, strict=True)], bool)


def load_scenes() -> Dataset:
    """Makes the data set `scenes`; see docs/data.md.

    No two images of the splits train, validation and test are equal.
    """
    groups = split_scenes()
    splits = {}
    for number, (group, counts) in enumerate(COUNTS.items()):
        scenes, total = groups[group], sum(counts.values())
        draws = total + total // 4  # a few are drawn twice
        random = np.random.Philox(key=[number, STREAM]).random_raw(5 * draws).reshape(-1, 5)
        which = Order(len(scenes), number, DOMAIN).take(0, draws)  # each scene equally often
        items, upright = (v[which] for v in _indices(scenes))
        corners = _corners(items, upright, random[:, 1:])
        places = np.column_stack([which, corners.reshape(draws, -1)])
        first = np.sort(np.unique(places, axis=0, return_index=True)[1])[:total]
        x = _draw(items[first], corners[first])
        both = np.array([(s.caption, s.converse.caption) for s in scenes])[which[first]]
        exchanged = random[first, 0] % np.uint64(2) == 1
        captions = np.where(exchanged[:, None], both[:, ::-1], both)
        start = 0
        for split, n in counts.items():
            rows = slice(start, start + n)
            splits[split] = {"x": x[rows], "caption": captions[rows]}
            start += n
    check = CaptionCheck(matches, chance=2 / len(ALL_SCENES), canonical=canonical_caption)
    return Dataset("scenes", splits, 256, caption_check=check)


@functools.lru_cache(maxsize=1)
def split_scenes() -> dict[str, tuple[Scene, ...]]:
    """Returns the scenes that are `seen` in training, `unseen`, and with the held-out `bindings`.

    Each scene is there once, with `left of` or `above`; its converse belongs to the same group.
    """
    scenes = [s for s in ALL_SCENES if s.relation in FIRST]
    bound = [s for s in scenes if any(i[1:] == ("red", "triangle") for i in (s.first, s.second))]
    free = [s for s in scenes if s not in set(bound)]
    ranks = np.random.Philox(key=[len(COUNTS), STREAM]).random_raw(len(free))
    order = np.argsort(ranks, kind="stable")
    unseen, seen = (tuple(free[i] for i in np.sort(part)) for part in np.split(order, [UNSEEN]))
    return {"seen": seen, "unseen": unseen, "bindings": tuple(bound)}


def _indices(scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left or upper item and the other, `[N, 2]`, and whether one is above, `[N]`."""
    ordered = [s.canonical for s in scenes]
    items = np.array([(_INDEX[s.first], _INDEX[s.second]) for s in ordered]).reshape(-1, 2)
    return items, np.array([s.relation == "above" for s in ordered], bool)


def _corners(items: np.ndarray, upright: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Draws row and column of the upper left corner of both items, `[N, 2 items, 2]`.

    Args:
      items: of the left or upper item and the other, `[N, 2]`.
      upright: whether one is above the other, `[N]`.
      random: words for the gap, the offset and the place of both in the image, uint64 `[N, 4]`.
    """

    def draw(column: int, count: np.ndarray | int) -> np.ndarray:
        return (random[:, column] % np.asarray(count, np.uint64)).astype(np.int64)

    a, b = _EXTENTS[items].T
    gap = GAPS[0] + draw(0, len(GAPS))
    across = (a - b) // 2 + OFFSETS[0] + draw(1, len(OFFSETS))
    along = draw(2, SIDE - (a + gap + b) + 1)
    top = np.minimum(across, 0)
    side = draw(3, SIDE - (np.maximum(a, across + b) - top) + 1) - top
    corners = np.stack([along, side, along + a + gap, side + across], axis=1).reshape(-1, 2, 2)
    return np.where(upright[:, None, None], corners, corners[:, :, ::-1])


def _draw(items: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Draws items `[N, 2]` at their corners `[N, 2, 2]`, uint8 `[N, 32, 32, 3]`."""
    x = np.zeros((len(items), SIDE, SIDE, 3), np.uint8)
    tiles = [_tile(item) for item in ITEMS]
    for image, pair, places in zip(x, items.tolist(), corners.tolist(), strict=True):
        for item, (row, column) in zip(pair, places, strict=True):
            tile = tiles[item]
            image[row : row + len(tile), column : column + len(tile)] = tile
    return x


def _tile(item: Item) -> np.ndarray:
    """Returns an item on black, uint8 `[extent, extent, 3]`."""
    mask = _mask(item.shape, EXTENT[item.size])
    return mask[..., None] * np.array(PALETTE[item.colour], np.uint8)


def _mask(shape: str, extent: int) -> np.ndarray:
    row, column = np.indices((extent, extent))
    y, x = row - extent // 2, column - extent // 2
    if shape == "circle":
        return 4 * (x**2 + y**2) <= extent**2
    return abs(x) <= row // 2 if shape == "triangle" else np.ones((extent, extent), bool)


def _nearest_colours(image: np.ndarray) -> np.ndarray:
    """Returns 0 for black, 1 .. 4 for the palette and 5 for no colour near, `[H, W]`."""
    corners = np.array([(0, 0, 0), *PALETTE.values()], np.float32)
    pixels = image.reshape(-1, 3).T
    squares = (pixels**2).sum(axis=0) - 2 * corners @ pixels + (corners**2).sum(axis=1)[:, None]
    nearest = np.where(squares.min(axis=0) <= _COLOUR_DISTANCE**2, squares.argmin(axis=0), 5)
    return nearest.reshape(image.shape[:2])


def _read_item(mask: np.ndarray, colours: np.ndarray) -> tuple[Item, np.ndarray] | None:
    """Reads the item of a component `[H, W]`, and its middle; None if it is like none."""
    area = mask.sum()
    counts = np.bincount(colours[mask], minlength=6)
    colour = counts[1:5].argmax()
    centre = np.rint(np.argwhere(mask).mean(axis=0)).astype(int)
    row, column = centre
    window = mask[row - _MARGIN : row + _MARGIN + 1, column - _MARGIN : column + _MARGIN + 1]
    templates, names, middles = _templates()
    common = templates @ window.ravel().astype(np.float32)
    overlap = common / (area + templates.sum(axis=1) - common)
    best = overlap.argmax()
    if counts[1 + colour] < _COLOUR_SHARE * area or overlap[best] < _OVERLAP:
        return None
    size, shape = names[best]
    return Item(size, tuple(PALETTE)[colour], shape), centre + middles[best]


@functools.lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, list[tuple[str, str]], np.ndarray]:
    """Returns true items around their centre of mass, moved by up to one pixel.

    Returns:
      float32 `[T, 17 * 17]`; size and shape of each; and its middle from the centre.
    """
    masks, names, middles = [], [], []
    for size, shape, dy, dx in itertools.product(EXTENT, SHAPES, (0, -1, 1), (0, -1, 1)):
        mask = _mask(shape, EXTENT[size])
        mean = np.rint(np.argwhere(mask).mean(axis=0)).astype(int)
        at = _MARGIN - mean + (dy, dx)
        image = np.zeros((2 * _MARGIN + 1,) * 2, np.float32)
        image[at[0] : at[0] + len(mask), at[1] : at[1] + len(mask)] = mask
        masks.append(image.ravel())
        names.append((size, shape))
        middles.append(at + EXTENT[size] // 2 - _MARGIN)
    return np.stack(masks), names, np.array(middles)
