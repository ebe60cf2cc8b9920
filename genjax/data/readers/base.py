"""What every reader gives: typed fields, and splits whose examples are read one at a time."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from genjax import checks

FORMATS = ("auto", "images", "pairs", "captions", "attributes", "idx", "cifar", "amat")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One entry of every example.

    kind: image, uint8 `[H, W, C]`; label, an int from 0; text, a str; attributes, uint8 `[A]` of 0
      and 1; array, numbers `[*shape]`.
    shape: of one example; () for labels and text.
    dtype: numpy's name, of images and arrays.
    names: of the classes of a label, or of the attributes; () where nobody named them.
    classes: of a label: values run from 0 to classes - 1.
    """

    kind: Literal["image", "label", "text", "attributes", "array"]
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    names: tuple[str, ...] = ()
    classes: int = 0


class Examples(Protocol):
    """A split: examples read one at a time, in any order, in any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...

    def fingerprint(self, rows: Sequence[int], /) -> int:
        """A number that changes when what these examples are made of does; decodes nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as it lies on disk.

    name: the path or name it was asked for by.
    format: the reader that found it.
    fields: by name; `image` or `x` is what a model is of (`image_a`, `image_b` in pairs), beside
      it `label`, `caption`, `attributes`.
    splits: by name; `split[i]` reads example i, a dict with one value a field.
    levels: integers of the image run from 0 to levels - 1; 0 for real numbers, and for integers
      some of which are negative; None where only the numbers themselves can tell.
    ignored: files and folders (these end in /) that are no part of the data, from the root on.
    """

    name: str
    format: str
    fields: Mapping[str, Field]
    splits: Mapping[str, Examples]
    levels: int | None = 256
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files become examples; what is not said is found from the files."""

    format: Literal["auto", "images", "pairs", "captions", "attributes", "idx", "cifar", "amat"] = (
        "auto"
    )
    """auto: detect it from the files."""
    size: tuple[int, int] | None = None
    """Height and width of every image; None keeps them, and then all must agree."""
    fit: Literal["exact", "crop", "pad", "stretch"] = "exact"
    """How an image of another size gets there. exact: refuse it; crop: scale until the size is
    covered and cut the middle; pad: scale until it fits inside and fill up with the background;
    stretch: scale each side by itself."""
    mode: Literal["rgb", "grey"] | None = None
    """Channels: rgb 3, grey 1; None takes grey where every image is grey, else rgb."""
    background: int = 255
    """Grey level behind transparent pixels and around padded images, 0 to 255."""
    paired: bool = False
    """trainA and trainB hold the same scenes under the same names."""
    label: Literal["none", "first", "last"] = "none"
    """amat: the column that is the class."""
    shape: tuple[int, ...] | None = None
    """amat: shape of one example, such as 28 28 1; None keeps the row."""
    max_pixels: int = 2**26
    """An image with more pixels is refused before it is unpacked; WebP counts twice."""

    def __post_init__(self) -> None:
        checks.one_of(FORMATS, format=self.format)
        checks.one_of(("exact", "crop", "pad", "stretch"), fit=self.fit)
        checks.one_of(("none", "first", "last"), label=self.label)
        if self.mode is not None:
            checks.one_of(("rgb", "grey"), mode=self.mode)
        checks.positive(max_pixels=self.max_pixels)
        if self.size is not None:
            if len(self.size) != 2:
                raise ValueError(f"size must be height and width, got {self.size}.")
            checks.positive(height=self.size[0], width=self.size[1])
        if self.shape is not None:
            checks.positive(**{f"shape_{i}": n for i, n in enumerate(self.shape)})
        if not 0 <= self.background <= 255:
            raise ValueError(f"background must be from 0 to 255, got {self.background}.")
