"""Two data sets as pairs: row i of one and row i of the other."""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.data.file_io import safe
from genjax.data.readers.base import Examples, Source


def join(a: Source, b: Source) -> Source:
    """Returns pairs `image_a` and `image_b` of two data sets with one image per example.

    Further fields that both have, such as names, must be equal in each row, which is checked when
    a row is read; those of one data set alone are left out.

    Raises:
      ValueError: the splits or their lengths differ, or a data set has not exactly one image.
    """
    name = f"{a.name}+{b.name}"
    counts = [{split: len(rows) for split, rows in s.splits.items()} for s in (a, b)]
    if counts[0] != counts[1]:
        raise ValueError(
            f"{safe(a.name)} has {_describe(counts[0])}, and {safe(b.name)} {_describe(counts[1])};"
            f" data sets joined by + need rows of the same number, in the same order."
        )
    if a.levels != b.levels:
        raise ValueError(
            f"{safe(name)} has values of {a.levels} and of {b.levels} levels; join data of the same"
            f" levels."
        )
    images = [_image(source) for source in (a, b)]
    shared = {k: f for k, f in a.fields.items() if k not in images and b.fields.get(k) == f}
    fields = {"image_a": a.fields[images[0]], "image_b": b.fields[images[1]], **shared}
    left_out = [
        f"feature {k} of {source.name}"
        for source in (a, b)
        for k in source.fields
        if k not in {*shared, *images}
    ]
    splits = {
        split: _Pairs(rows, b.splits[split], (images[0], images[1]), tuple(shared), safe(name))
        for split, rows in a.splits.items()
    }
    ignored = (*a.ignored, *b.ignored, *left_out)
    return Source(
        name=name, format="joined", fields=fields, splits=splits, levels=a.levels, ignored=ignored
    )


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Rows of two data sets side by side."""

    a: Examples
    b: Examples
    images: tuple[str, str]
    shared: tuple[str, ...]
    where: str

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, index: int) -> dict[str, Any]:
        a, b = self.a[index], self.b[index]
        for name in self.shared:
            if not np.array_equal(a[name], b[name]):
                raise ValueError(
                    f"{self.where}: row {index} has {name} {safe(a[name], 60)} in one data set and"
                    f" {safe(b[name], 60)} in the other, so the rows are no pairs; sort both alike."
                )
        pair = {"image_a": a[self.images[0]], "image_b": b[self.images[1]]}
        return {**pair, **{name: a[name] for name in self.shared}}

    def column(self, name: str) -> Sequence[Any]:
        """Returns a shared field of all rows."""
        return self.a.column(name)

    def fingerprint(self, rows: Sequence[int]) -> int:
        """Returns a number that changes with the rows of either data set."""
        both = f"{self.a.fingerprint(rows)} {self.b.fingerprint(rows)}"
        return zlib.crc32(both.encode())


def _image(source: Source) -> str:
    images = [name for name, field in source.fields.items() if field.kind == "image"]
    if len(images) != 1:
        raise ValueError(
            f"{safe(source.name)} has {len(images)} images per example; data sets joined by + need"
            f" one."
        )
    return images[0]


def _describe(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} rows in {split}" for split, n in counts.items())
