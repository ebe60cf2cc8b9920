"""What readers return: typed fields, and splits whose examples are read one at a time."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from genjax import checks
from genjax.checks import Bounds, PositiveInt, PositiveInts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One entry of every example.

    Attributes:
      kind: image, uint8 `[H, W, C]`; label, an int; text, a str, or with a shape a
        list of as many, with empty ones at the end; attributes, uint8 `[A]` of 0
        and 1; array, numbers `[*shape]`.
      shape: shape of one example; () for labels and a single text.
      dtype: NumPy dtype of images and arrays.
      names: names of the classes of a label, or of the attributes; () if there are none.
      classes: labels run from 0 to classes - 1.
    """

    kind: Literal["image", "label", "text", "attributes", "array"]
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    names: tuple[str, ...] = ()
    classes: int = 0


class Examples(Protocol):
    """A split whose examples are read one at a time, in any order, in any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...

    def column(self, name: str, /) -> Sequence[Any]:
        """Returns one field of all examples; not for images."""

    def fingerprint(self, rows: Sequence[int], /) -> int:
        """Returns a number that changes with the files of these examples; decodes nothing."""


class Contents(NamedTuple):
    """What the reader of one format finds in a folder or file.

    Attributes:
      fields: as in `Source`.
      columns: `{split: {field: column}}`; a column is a sequence of values, one per example.
      used: files that are part of the data, relative to the folder.
      levels: as in `Source`.
    """

    fields: dict[str, Field]
    columns: Mapping[str, Mapping[str, Any]]
    used: Collection[str]
    levels: int = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A data set on disk.

    Attributes:
      name: path or name that was given.
      format: name of the reader.
      fields: fields by name: `image` or `x` (`image_a` and `image_b` in pairs), and `label`,
        `caption`, `attributes`.
      splits: splits by name; `split[i]` reads example i, a dict with one value per field.
      levels: integers of the image run from 0 to levels - 1; 0 for real numbers and for negative
        integers; None if it depends on the values.
      ignored: paths of files and folders (ending in /) that are not part of the data.
    """

    name: str
    format: str
    fields: Mapping[str, Field]
    splits: Mapping[str, Examples]
    levels: int | None = 256
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options of reading; by default they are derived from the files."""

    format: Literal["auto", "images", "pairs", "captions", "attributes", "idx", "cifar", "amat"] = (
        "auto"
    )
    """auto: detect it from the files."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width of every image; None keeps the size, which must be the same for all."""
    fit: Literal["exact", "crop", "pad", "stretch"] = "exact"
    """Resizing. exact: reject other sizes; crop: scale to cover the size and cut the middle; pad:
    scale to fit inside and fill up with the background; stretch: scale each side separately."""
    mode: Literal["rgb", "grey"] | None = None
    """Channels: rgb 3, grey 1; None is grey if every image is grey, else rgb."""
    background: Annotated[int, Bounds(0, 255)] = 255
    """Grey level behind transparent pixels and around padded images, 0 to 255."""
    paired: bool = False
    """trainA and trainB hold pairs of images, with equal names."""
    label: Literal["none", "first", "last"] = "none"
    """amat: column of the label."""
    shape: PositiveInts | None = None
    """amat: shape of one example, such as 28 28 1; None keeps the row."""
    max_pixels: PositiveInt = 2**26
    """Images with more pixels are rejected before decoding; WebP counts twice."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if self.fit != "exact" and self.size is None:
            raise ValueError(
                f"`fit` {self.fit} resizes images, and `size` is not set; set size, such as 64 64."
            )
