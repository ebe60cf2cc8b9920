"""A data set by split: arrays in memory, or rows left on disk and read when asked for."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

SPLITS = ("train", "validation", "test")


class Rows(Protocol):
    """A split on disk. It pickles to a few words, so that worker processes can open it too."""

    def __len__(self) -> int: ...

    def read(self, indices: Any, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """The entries of some rows, `[len(indices), ...]` each; all entries, or those named."""

    def crcs(self) -> dict[str, np.ndarray]:
        """`row_crcs` of every entry."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of `x`."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Splits in memory and splits on disk.

    name: as it was asked for.
    splits: `{"train": {"x": [N, *shape], "label": [N]}, ...}`; beside `x`, what there is of
      `label`, `attributes` `[N, A]`, `caption` `[N]` and `y` (the other image of a pair).
    levels: integers in `x` run from 0 to levels - 1; 0 for real numbers.
    streams: splits that stay on disk.
    names: of the classes of `label`, and of the `attributes` in alphabetic order.
    crcs: `{split: {entry: row_crcs}}` of what was read, where `splits` is made from it.
    """

    name: str
    splits: dict[str, dict[str, np.ndarray]]
    levels: int
    streams: Mapping[str, Rows] = dataclasses.field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    crcs: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of `x`."""
        return self.entry_shape("x")

    def entry_shape(self, name: str) -> tuple[int, ...]:
        """Event shape of an entry."""
        if "train" in self.streams:
            return self.streams["train"].read([0], (name,))[name].shape[1:]
        return self.splits["train"][name].shape[1:]

    def entries(self, split: str) -> set[str]:
        """Names of the entries of a split."""
        in_memory = split in self.splits
        return set(self.splits[split] if in_memory else self.streams[split].read([0]))

    def counts(self) -> dict[str, int]:
        """Examples in each split."""
        found = {name: len(split["x"]) for name, split in self.splits.items()}
        found |= {name: len(rows) for name, rows in self.streams.items()}
        return {s: found[s] for s in (*SPLITS, *sorted(found)) if s in found}

    def checksum(self) -> str:
        """CRC-32 over all that was read: tells whether two runs saw the same data.

        The same whether a split is in memory or on disk, and before binarisation.
        """
        return self._checksum

    @functools.cached_property
    def _checksum(self) -> str:
        """Asked when a run begins and for its record: gigabytes are summed once."""
        crcs = {s: {k: row_crcs(a) for k, a in v.items()} for s, v in self.splits.items()}
        crcs |= {s: rows.crcs() for s, rows in self.streams.items()}
        return combine({**crcs, **self.crcs})


def levels_for(highest: int) -> int:
    """Levels of integers from 0 where nobody states them: 2, 256, or as many as there must be."""
    return 2 if highest <= 1 else 256 if highest <= 255 else highest + 1


def combine(crcs: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """One checksum from those of all rows, `{split: {entry: [N] uint32}}`, as 8 digits."""
    crc = 0
    for split in sorted(crcs):
        for key in sorted(crcs[split]):
            rows = np.ascontiguousarray(crcs[split][key], "<u4")
            crc = zlib.crc32(f"{split} {key} {len(rows)}".encode(), crc)
            crc = zlib.crc32(rows.data, crc)
    return f"{crc:08x}"


def row_crcs(array: np.ndarray) -> np.ndarray:
    """CRC-32 of every row, `[N]` uint32, its dtype and shape among what is summed."""
    array = np.ascontiguousarray(array)
    head = zlib.crc32(f"{array.dtype.str} {array.shape[1:]}".encode())
    if array.dtype.kind == "U":  # as wide as the longest caption: sum the text, not the padding
        head = zlib.crc32(b"text")
        return np.array([zlib.crc32(s.encode(), head) for s in array.tolist()], np.uint32)
    flat = array.reshape(len(array), -1).view(np.uint8)
    return np.array([zlib.crc32(row.data, head) for row in flat], np.uint32)
