"""Splits as columns; images are decoded on access.

No column has open files, so that splits can be pickled for workers.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from genjax.data import image_decoding
from genjax.data.file_io import error_reason, file_crc, read_bytes, safe
from genjax.data.readers.base import Field, ReadOptions


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Size and channels that all images of a field are converted to.

    Attributes:
      size: height and width.
      mode: rgb or grey.
      reading: the other options.
    """

    size: tuple[int, int]
    mode: Literal["rgb", "grey"]
    reading: ReadOptions

    def field(self) -> Field:
        """Returns the field of such images."""
        return Field(kind="image", shape=(*self.size, 1 if self.mode == "grey" else 3))

    def resize(self, image: np.ndarray, where: str = "the image") -> np.ndarray:
        """Resizes one image."""
        r = self.reading
        return image_decoding.resize(image, self.size, r.fit, r.background, where)


@dataclasses.dataclass(frozen=True)
class ImageFiles(Sequence[np.ndarray]):
    """Encoded images `root/name`, decoded one at a time to uint8 `[*spec.size, C]`."""

    root: pathlib.Path
    names: tuple[str, ...]
    spec: ImageSpec

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        path, r = self.root / self.names[i], self.spec.reading
        # At most 8 bytes per pixel, and metadata.
        data = read_bytes(path, 8 * r.max_pixels + 2**26)
        background, pixels = r.background, r.max_pixels
        x = image_decoding.decode(
            data, str(path), mode=self.spec.mode, background=background, max_pixels=pixels
        )
        return self.spec.resize(x, str(path))

    def fingerprint(self, i: int) -> str:
        """Returns the name and the CRC of a file."""
        try:
            return f"{self.names[i]} {file_crc(self.root / self.names[i])}"
        except ValueError:
            return self.names[i]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageArray(Sequence[np.ndarray]):
    """Images uint8 `[N, H, W, C]`, converted to `spec` one at a time."""

    array: np.ndarray
    spec: ImageSpec

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        x = np.ascontiguousarray(self.array[i])
        return self.spec.resize(image_decoding.convert_channels(x, self.spec.mode))

    def fingerprint(self, i: int) -> np.ndarray:
        """Returns the pixels of the file."""
        return self.array[i]


@dataclasses.dataclass(frozen=True, eq=False)
class Columns(Sequence[Mapping[str, Any]]):
    """A split: columns of equal length, by field."""

    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: Any) -> dict[str, Any]:  # type: ignore[override]
        if isinstance(i, slice):
            raise TypeError("a split cannot be sliced; read one example at a time, split[i].")
        return {name: column[i] for name, column in self.columns.items()}

    def column(self, name: str) -> Any:
        """Returns one field of all examples."""
        return self.columns[name]

    def fingerprint(self, rows: Sequence[int]) -> int:
        """Returns a CRC of names and bytes of files, or of values."""
        crc = 0
        for name, column in sorted(self.columns.items()):
            one = getattr(column, "fingerprint", lambda i, column=column: column[i])
            crc = zlib.crc32(name.encode(), crc)
            for i in rows:
                crc = zlib.crc32(_to_bytes(one(i)), crc)
        return crc


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape}".encode() + value.tobytes()
    return str(value).encode(errors="surrogatepass")


def inspect_images(root: pathlib.Path, names: Iterable[str], reading: ReadOptions) -> ImageSpec:
    """Returns size and channels of images, from `reading` or from their headers.

    Raises:
      ValueError: sizes differ and `reading.size` is None, or a header cannot be read.
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
                header = image_decoding.read_header(file, str(path), reading.max_pixels)
        except OSError as error:
            raise ValueError(f"{safe(path)} cannot be read ({error_reason(error)}).") from None
        first = first or (path, header)
        one = first[1]
        if reading.size is None and (header.height, header.width) != (one.height, one.width):
            raise ValueError(
                f"{safe(path)} is {header.height} x {header.width} and {safe(first[0])} is"
                f" {one.height} x {one.width} (height x width); set size, such as 32 32, and fit to"
                f" crop, pad or stretch."
            )
        grey = grey and header.grey
        if reading.size is not None and not grey:
            break
    if size is None:
        if first is None:
            raise ValueError(f"{safe(root)} holds no images; add some.")
        size = (first[1].height, first[1].width)
    return ImageSpec(size, mode or ("grey" if grey else "rgb"), reading)


def array_image_spec(array: np.ndarray, reading: ReadOptions, where: object) -> ImageSpec:
    """Returns size and channels for images `[N, H, W, C]`.

    Raises:
      ValueError: `reading.size` differs and `reading.fit` is exact.
    """
    original = (array.shape[1], array.shape[2])
    size = reading.size or original
    if size != original and reading.fit == "exact":
        raise ValueError(
            f"images of {safe(where)} are {original[0]} x {original[1]} and size is {size[0]} x"
            f" {size[1]} (height x width); set fit to crop, pad or stretch."
        )
    return ImageSpec(size, reading.mode or ("grey" if array.shape[3] == 1 else "rgb"), reading)
