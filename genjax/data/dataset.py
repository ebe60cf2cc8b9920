"""Data sets by split: arrays in memory, or rows on disk that are read on demand."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np

from genjax.data.tokenizers import Tokenizer

SPLITS = ("train", "validation", "test")
HELD_OUT = ("unseen", "bindings")
"""Further splits, of captions that no other split has."""


class Rows(Protocol):
    """A split on disk; small when pickled, for worker processes."""

    def __len__(self) -> int: ...

    def read(self, indices: Any, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """Returns entries of some rows, `[len(indices), ...]` each; None is all entries."""

    def crcs(self) -> dict[str, np.ndarray]:
        """Returns the `row_crcs` of every entry."""


@dataclasses.dataclass(frozen=True)
class CaptionCheck:
    """Reads images of a data set made by rule, to tell whether they show what a caption says.

    Attributes:
      matches: `matches(images, captions, classify=None)` returns bool `[N]` of images in the levels
        of `x`, `[N, *shape]`, and captions `[N]`. `classify(parts)`
        returns the labels of parts of images, where `parts` is not None.
      chance: probability that an image of a random caption matches another random caption.
      parts: examples and labels of the parts that `matches` classifies, `[M, *part]` and `[M]`, in
        the levels of `x`, to train a classifier; None where a rule reads them.
      canonical: `canonical(caption)` returns one of the captions that say the same, the same one
        for all of them; by default each caption says something else.
      test_parts: further ones, to measure the error of the classifier, or None.
    """

    matches: Callable[..., np.ndarray]
    chance: float
    parts: tuple[np.ndarray, np.ndarray] | None = None
    canonical: Callable[[str], str] = str
    test_parts: tuple[np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Splits in memory and splits on disk.

    Attributes:
      name: path or name that was loaded.
      splits: `{"train": {"x": [N, *shape], "label": [N]}, ...}`, of `SPLITS` and, with captions
        held out of training, of `HELD_OUT`; the entries besides `x` are
        `label`, `attributes` `[N, A]`, `caption` `[N]` or, with several per image, `[N, K]`
        (empty where there are fewer), `text` int32 `[N, K, T]`, tokens of the captions, and `y`, a
        second image per example.
      levels: integers in images run from 0 to levels - 1; 0 for real numbers.
      streams: splits that stay on disk.
      names: names of the classes of `label`, and of the `attributes`, in their order.
      crcs: `{split: {entry: row_crcs}}` of the original data where `replace_arrays` changed it.
      original_crcs: returns `crcs` of all examples, where only some classes are kept; the checksum
        is of these.
      unpaired: `x` and `y` are two domains, of different sizes, each with an order of its own.
      y_streams: splits of `y` that stay on disk, if unpaired.
      paired: splits in which row i of `y` is the true partner of row i of `x`.
      render: `render(rows, attributes)`, the true images of rows, as `read` returns them, with
        other attributes `[N, A]`, in the levels of `x`; None where they are not known.
      caption_check: tells whether images show what captions say; None where that is not known.
      tokenizer: of the captions, that made `text`; None without.
      warnings: what was changed when the data was loaded, such as captions that were cut.
    """

    name: str
    splits: dict[str, dict[str, np.ndarray]]
    levels: int
    streams: Mapping[str, Rows] = dataclasses.field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    crcs: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    original_crcs: Callable[[], Mapping[str, Mapping[str, np.ndarray]]] | None = None
    unpaired: bool = False
    y_streams: Mapping[str, Rows] = dataclasses.field(default_factory=dict)
    paired: frozenset[str] = frozenset()
    render: Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray] | None = None
    caption_check: CaptionCheck | None = None
    tokenizer: Tokenizer | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of `x`."""
        return self.entry_shape("x")

    def entry_shape(self, name: str) -> tuple[int, ...]:
        """Returns the event shape of an entry."""
        return self.read("train", [0], (name,))[name].shape[1:]

    def entries(self, split: str) -> set[str]:
        """Returns the names of the entries of a split."""
        return set(self.read(split, [0]))

    def stream(self, split: str, name: str = "x") -> Rows | None:
        """Returns the rows on disk that hold an entry of a split; None if it is in memory."""
        second = self.unpaired and name == "y"
        return (self.y_streams if second else self.streams).get(split)

    def read(
        self, split: str, rows: Any, names: tuple[str, ...] | None = None
    ) -> dict[str, np.ndarray]:
        """Returns entries `[len(rows), ...]` of some rows; None is all entries.

        Indices of unpaired data are into each domain.
        """
        if split in self.splits:
            arrays = self.splits[split]
            return {k: arrays[k][rows] for k in (arrays if names is None else names)}
        out: dict[str, np.ndarray] = {}
        groups = None if names is None else self.domains(names)
        for number, streams in enumerate((self.streams, self.y_streams)):
            if split in streams and (groups is None or number in groups):
                out |= streams[split].read(rows, None if groups is None else groups[number])
        return out

    def replace_arrays(
        self, splits: Mapping[str, dict[str, np.ndarray]], **changes: Any
    ) -> "Dataset":
        """Returns a copy with other arrays in some splits, and the checksum of the original."""
        new = set(splits) - set(self.crcs)
        crcs = {s: {k: row_crcs(a) for k, a in self.splits[s].items()} for s in new}
        changes |= {"splits": {**self.splits, **splits}, "crcs": {**crcs, **self.crcs}}
        return dataclasses.replace(self, **changes)

    def length(self, split: str, name: str = "x") -> int:
        """Returns the number of examples of an entry in a split."""
        stream = self.stream(split, name)
        return len(self.splits[split][name]) if stream is None else len(stream)

    def domains(self, names: Collection[str]) -> dict[int, tuple[str, ...]]:
        """Groups entries by the number of their domain: `y` of unpaired data is domain 1."""
        second = {"y"} & set(names) if self.unpaired else set()
        groups = {0: tuple(sorted(set(names) - second)), 1: tuple(second)}
        return {number: group for number, group in groups.items() if group}

    def counts(self) -> dict[str, int]:
        """Returns the examples of each split; of unpaired data, those of the larger domain."""
        sizes = {s: max(map(len, entries.values())) for s, entries in self.splits.items()}
        for stream in (self.streams, self.y_streams):
            sizes |= {s: max(len(rows), sizes.get(s, 0)) for s, rows in stream.items()}
        return {s: sizes[s] for s in (*SPLITS, *HELD_OUT, *sorted(sizes)) if s in sizes}

    def checksum(self) -> str:
        """Returns the CRC-32 of all data read, as 8 digits, to compare the data of two runs.

        It does not depend on binarisation, nor on whether a split is in memory or on disk. With a
        selection of classes it is that of the original data, without limit and hold-out.
        """
        return self._checksum

    @functools.cached_property
    def _checksum(self) -> str:
        if self.original_crcs is not None:
            return combined_checksum(self.original_crcs())
        crcs: dict[str, Any] = {
            s: {k: row_crcs(a) for k, a in v.items()}
            for s, v in self.splits.items()
            if s not in self.crcs
        }
        for stream in (self.streams, self.y_streams):
            for split, rows in stream.items():
                crcs[split] = {**crcs.get(split, {}), **rows.crcs()}
        return combined_checksum({**crcs, **self.crcs})


def default_levels(highest: int) -> int:
    """Returns the number of levels of integers 0 .. highest: 2, 256, or as few as possible."""
    return 2 if highest <= 1 else 256 if highest <= 255 else highest + 1


def combined_checksum(crcs: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Returns one checksum of 8 digits from those of all rows, `{split: {entry: [N] uint32}}`."""
    crc = 0
    for split in sorted(crcs):
        for key in sorted(crcs[split]):
            rows = np.ascontiguousarray(crcs[split][key], "<u4")
            crc = zlib.crc32(f"{split} {key} {len(rows)}".encode(), crc)
            crc = zlib.crc32(rows.data, crc)
    return f"{crc:08x}"


def row_crcs(array: np.ndarray) -> np.ndarray:
    """Returns the CRC-32 of every row, with its dtype and shape, uint32 `[N]`."""
    array = np.ascontiguousarray(array)
    head = zlib.crc32(f"{array.dtype.str} {array.shape[1:]}".encode())
    if array.dtype.kind == "U":  # without the padding to the longest caption
        head = zlib.crc32(b"text")
        rows = array.reshape(len(array), -1).tolist()  # several captions per row, or one
        texts = ("\0".join(row).rstrip("\0") for row in rows)
        return np.array([zlib.crc32(s.encode(), head) for s in texts], np.uint32)
    flat = array.reshape(len(array), -1).view(np.uint8)
    return np.array([zlib.crc32(row.data, head) for row in flat], np.uint32)
