"""Captioned digits: two handwritten digits at fixed places, with captions about them.

    a three above a seven

A classifier of single digits reads the images back, as the places are known.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from genjax.data.caption_grammar import CONVERSE, FIRST, parse_words
from genjax.data.dataset import CaptionCheck, Dataset
from genjax.data.order import Order

CAPTIONED_DIGITS = ("captioned_digits", "captioned_digits_8x8")
CELL = 16  # pixels; the digits of scikit-learn keep their 8
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COUNTS = {
    "seen": {"train": 20_000, "validation": 1_000, "test": 2_000},
    "unseen": {"unseen": 1_000},
}
"""Images of each split, by the group of their captions."""
UNSEEN = 20  # pairs of captions, of 200
STREAM, DOMAIN = 2**37, 3  # beyond those of the other data made by rule, and of the runs' orders
OUTSIDE = 0.1  # highest share of the brightness outside of the two places
FAINTEST = 0.04  # lowest share at each


class DigitPair(NamedTuple):
    """Two digits and the relation of the first to the second."""

    first: int
    relation: str
    second: int

    @property
    def converse(self) -> "DigitPair":
        """The same pair with the digits exchanged."""
        return DigitPair(self.second, CONVERSE[self.relation], self.first)

    @property
    def canonical(self) -> "DigitPair":
        """The pair with `left of` or `above`, the same one for both ways to say it."""
        return self if self.relation in FIRST else self.converse

    @property
    def caption(self) -> str:
        """The pair as text, which `parse_digits` reads.

        >>> DigitPair(3, "above", 8).caption
        'a three above an eight'
        """
        first, second = (("an " if d == 8 else "a ") + DIGITS[d] for d in self[::2])
        return f"{first} {self.relation} {second}"


ALL_PAIRS = tuple(DigitPair(a, r, b) for a in range(10) for b in range(10) for r in CONVERSE)


def parse_digits(text: str) -> DigitPair:
    """Reads a caption; case and spaces do not matter.

    Raises:
      ValueError: a word is not in the grammar, or not at its place.

    >>> parse_digits("a three above an eight")
    DigitPair(first=3, relation='above', second=8)
    """
    example = ALL_PAIRS[-2].caption
    article = ("a", "an")
    words = parse_words(text, (article, DIGITS, tuple(CONVERSE), article, DIGITS), example)
    return DigitPair(DIGITS.index(words[1]), words[2], DIGITS.index(words[4]))


def canonical_caption(text: str) -> str:
    """Returns the caption of the same pair with `left of` or `above`."""
    return parse_digits(text).canonical.caption


def render(pairs: Sequence[DigitPair], digits: np.ndarray) -> np.ndarray:
    """Puts digits `[N, 2, cell, cell, 1]`, the first and the second, at their places.

    Returns:
      images `[N, 2 cell, 2 cell, 1]`; the digits touch in the middle, and the rest is 0.
    """
    cell = digits.shape[2]
    x = np.zeros((len(pairs), 2 * cell, 2 * cell, 1), digits.dtype)
    for image, own, pair in zip(x, digits, pairs, strict=True):
        for digit, place in zip(own, _places(pair.relation, cell), strict=True):
            image[place] = digit
    return x


def matches(
    images: np.ndarray,
    captions: Sequence[str],
    classify: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Tells whether images show the digits of captions at their places, bool `[N]`.

    Both digits are classified as the caption says, each has 4 % of the brightness at least, and at
    most 10 % are elsewhere.

    Args:
      images: `[N, 2 cell, 2 cell, 1]`.
      captions: N captions of the grammar.
      classify: returns the digits `[M]` of images `[M, cell, cell, 1]`.
    """
    shape = np.shape(images)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1 or len(images) != len(captions):
        raise ValueError(
            f"images must be squares [N, side, side, 1] with N captions, got {list(shape)} and"
            f" {len(captions)} captions."
        )
    if classify is None:
        raise ValueError(
            "digits are read by a classifier; train one on `CaptionCheck.parts`, and give it as"
            " `classify`."
        )
    cell = shape[1] // 2
    wanted = [parse_digits(str(c)) for c in captions]
    parts = np.stack(
        [
            image[place]
            for image, pair in zip(images, wanted, strict=True)
            for place in _places(pair.relation, cell)
        ]
    )
    bright = parts.reshape(len(images), 2, -1).sum(axis=2, dtype=np.float64)
    total = np.maximum(images.reshape(len(images), -1).sum(axis=1, dtype=np.float64), 1e-9)
    clean = (bright.sum(axis=1) >= (1 - OUTSIDE) * total) & (bright.min(axis=1) >= FAINTEST * total)
    found = np.asarray(classify(parts)).reshape(-1, 2)
    return clean & (found == [(p.first, p.second) for p in wanted]).all(axis=1)


def load_captioned_digits(
    name: str, digits: Mapping[str, Mapping[str, np.ndarray]], levels: int
) -> Dataset:
    """Makes one of `CAPTIONED_DIGITS`; see docs/data.md.

    Args:
      name: of the data set.
      digits: uint8 images `x` `[N, H, W, 1]` of single digits with `label` `[N]`, of the splits
        train, validation and test; they are resized to 16x16, or stay smaller.
      levels: of the images.
    """
    singles = {
        s: (shrink(v["x"], min(CELL, v["x"].shape[1])), v["label"]) for s, v in digits.items()
    }
    splits = {}
    for number, (group, counts) in enumerate(COUNTS.items()):
        pairs, total = split_pairs()[group], sum(counts.values())
        order = Order(len(pairs), number, DOMAIN).take(0, total)  # each pair equally often
        random = np.random.Philox(key=[number, STREAM]).random_raw(3 * total).reshape(-1, 3)
        start = 0
        for split, n in counts.items():
            chosen, words = [pairs[i] for i in order[start : start + n]], random[start : start + n]
            x, label = singles["test" if split == "unseen" else split]
            wanted = np.array([(p.first, p.second) for p in chosen])
            rows = _rows_of(label, wanted, words[:, :2])
            both = np.array([(p.caption, p.converse.caption) for p in chosen])
            exchanged = words[:, 2:] % np.uint64(2) == 1
            splits[split] = {
                "x": render(chosen, x[rows]),
                "caption": np.where(exchanged, both[:, ::-1], both),
            }
            start += n
    check = CaptionCheck(
        matches,
        chance=2 / len(ALL_PAIRS),
        parts=singles["train"],
        canonical=canonical_caption,
        test_parts=singles["test"],
    )
    return Dataset(name, splits, levels, caption_check=check)


def split_pairs() -> dict[str, tuple[DigitPair, ...]]:
    """Returns the pairs that are `seen` in training, and those `unseen`.

    Each pair is there once, with `left of` or `above`; its converse belongs to the same group.
    """
    pairs = [p for p in ALL_PAIRS if p.relation in FIRST]
    ranks = np.random.Philox(key=[len(COUNTS), STREAM]).random_raw(len(pairs))
    order = np.argsort(ranks, kind="stable")
    unseen, seen = (tuple(pairs[i] for i in np.sort(p)) for p in np.split(order, [UNSEEN]))
    return {"seen": seen, "unseen": unseen}


def shrink(x: np.ndarray, side: int) -> np.ndarray:
    """Resizes square images `[N, S, S, C]` to a smaller side by averages over areas, uint8.

    Pixels are weighted by the part of them that each average covers, in exact integers.

    >>> shrink(np.array([0, 3, 6, 9, 0, 3, 6, 9, 8], np.uint8).reshape(1, 3, 3, 1), 1).item()
    5
    """
    size = x.shape[1]
    # In units of 1 / (size * side) of the image, pixels are `side` wide and averages `size`.
    old, new = side * np.arange(size), size * np.arange(side)[:, None]
    weights = np.maximum(np.minimum(old + side, new + size) - np.maximum(old, new), 0)
    weights = weights.astype(np.float32)  # for fast products; exact up to sides of 256
    rows = np.einsum("ij,njkc->nikc", weights, x.astype(np.float32), optimize=True)
    sums = np.einsum("lk,nikc->nilc", weights, rows, optimize=True).astype(np.int32)
    return ((2 * sums + size**2) // (2 * size**2)).astype(np.uint8)


def _rows_of(label: np.ndarray, wanted: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Returns for each wanted digit the row of one of its images, by a random word, `[N, 2]`."""
    by_digit = np.argsort(label, kind="stable")
    counts = np.bincount(label, minlength=len(DIGITS))
    starts = np.cumsum(counts) - counts
    return by_digit[starts[wanted] + (random % counts[wanted].astype(np.uint64)).astype(np.int64)]


def _places(relation: str, cell: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Returns rows and columns of the first digit and of the second."""
    middle = slice(cell // 2, cell // 2 + cell)
    ends = slice(0, cell), slice(cell, 2 * cell)
    first, second = ends if relation in FIRST else ends[::-1]
    if relation in ("above", "below"):
        return (first, middle), (second, middle)
    return (middle, first), (middle, second)
