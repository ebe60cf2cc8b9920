"""Splits as columns: each gives one field's value of example i, read when it is asked for.

All are small frozen dataclasses of names and arrays, without open files: a worker process gets
them by pickle.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from genjax.data import image_decoding
from genjax.data.file_io import reason, show, slurp
from genjax.data.readers.base import Field, Reading


@dataclasses.dataclass(frozen=True)
class Look:
    """What every image of a field is brought to.

    size: height and width.
    mode, fit, background, max_pixels: as in `Reading`, mode decided.
    """

    size: tuple[int, int]
    mode: Literal["rgb", "grey"]
    fit: Literal["exact", "crop", "pad", "stretch"]
    background: int
    max_pixels: int

    def field(self) -> Field:
        """The field of such images."""
        return Field(kind="image", shape=(*self.size, 1 if self.mode == "grey" else 3))


@dataclasses.dataclass(frozen=True)
class Pictures(Sequence[np.ndarray]):
    """Encoded pictures `root/name`, decoded one at a time to uint8 `[*look.size, C]`."""

    root: pathlib.Path
    names: tuple[str, ...]
    look: Look

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        path, look = self.root / self.names[i], self.look
        # A picture has at most 8 bytes a pixel, its notes left aside.
        data = slurp(path, 8 * look.max_pixels + 2**26)
        x = image_decoding.decode(
            data,
            str(path),
            mode=look.mode,
            background=look.background,
            max_pixels=look.max_pixels,
        )
        return image_decoding.resize(x, look.size, look.fit, look.background, str(path))

    def stamp(self, i: int) -> str:
        """Name and content of a file; what is wrong with it is told where it is decoded."""
        crc = 0
        try:
            with open(self.root / self.names[i], "rb") as file:
                while piece := file.read(2**20):
                    crc = zlib.crc32(piece, crc)
        except (OSError, ValueError):
            return self.names[i]
        return f"{self.names[i]} {crc}"


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels(Sequence[np.ndarray]):
    """Unpacked images uint8 `[N, H, W, C]`, brought to `draw_noise_figures` one at a time."""

    array: np.ndarray
    look: Look

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        look = self.look
        x = image_decoding.recoloured(np.ascontiguousarray(self.array[i]), look.mode)
        return image_decoding.resize(x, look.size, look.fit, look.background)

    def stamp(self, i: int) -> np.ndarray:
        """The pixels as they are in the file."""
        return self.array[i]


@dataclasses.dataclass(frozen=True, eq=False)
class Labels(Sequence[int]):
    """Classes, int `[N]`."""

    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> int:  # type: ignore[override]
        return int(self.array[i])


@dataclasses.dataclass(frozen=True, eq=False)
class Rows(Sequence[Mapping[str, Any]]):
    """A split: columns of one length by the names of the fields."""

    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: Any) -> dict[str, Any]:  # type: ignore[override]
        if isinstance(i, slice):
            raise TypeError("a split is read one example at a time: split[i], not split[i:j].")
        return {name: column[i] for name, column in self.columns.items()}

    def stamp(self, rows: Sequence[int]) -> int:
        """Of files their names and bytes; of all else the values."""
        crc = 0
        for name, column in sorted(self.columns.items()):
            one = getattr(column, "stamp", lambda i, column=column: column[i])
            crc = zlib.crc32(name.encode(), crc)
            for i in rows:
                crc = zlib.crc32(_bytes(one(i)), crc)
        return crc


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape}".encode() + value.tobytes()
    return str(value).encode(errors="surrogatepass")


def survey(root: pathlib.Path, names: Iterable[str], reading: Reading) -> Look:
    """The size and channels of these pictures, from their headers where `reading` says neither.

    Raises:
      ValueError: they differ in size and `reading.size` is None, or a header cannot be read.
    """
    size, mode = reading.size, reading.mode
    first: tuple[pathlib.Path, image_decoding.Header] | None = None
    grey = True
    for name in names:
        if size is not None and mode is not None:
            break
        path = root / name
        try:
            with open(path, "rb") as file:
                header = image_decoding.probe(file, str(path), reading.max_pixels)
        except OSError as error:
            raise ValueError(f"{show(path)} cannot be read ({reason(error)}).") from None
        first = first or (path, header)
        one = first[1]
        if reading.size is None and (header.height, header.width) != (one.height, one.width):
            raise ValueError(
                f"{show(path)} is {header.height} x {header.width} and {show(first[0])} is"
                f" {one.height} x {one.width} (height x width); set size, such as 32 32, and fit to"
                f" crop, pad or stretch."
            )
        grey = grey and header.grey
        if reading.size is not None and not grey:
            break
    if size is None:
        if first is None:
            raise ValueError(f"{show(root)} holds no picture.")
        size = (first[1].height, first[1].width)
    mode = mode or ("grey" if grey else "rgb")
    return Look(size, mode, reading.fit, reading.background, reading.max_pixels)


def look_of(array: np.ndarray, reading: Reading, where: object) -> Look:
    """What unpacked images `[N, H, W, C]` are brought to.

    Raises:
      ValueError: another size is asked for and `reading.fit` is exact.
    """
    have = (array.shape[1], array.shape[2])
    size = reading.size or have
    if size != have and reading.fit == "exact":
        raise ValueError(
            f"images of {show(where)} are {have[0]} x {have[1]} and size is {size[0]} x {size[1]}"
            f" (height x width); set fit to crop, pad or stretch."
        )
    mode = reading.mode or ("grey" if array.shape[3] == 1 else "rgb")
    return Look(size, mode, reading.fit, reading.background, reading.max_pixels)
