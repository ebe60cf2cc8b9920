"""Sources that can be prepared: files in known formats, .npz, digits, TFDS data sets."""

import dataclasses
import os
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from genjax.data import readers
from genjax.data.captioned_digits import CAPTIONED_DIGITS
from genjax.data.data_config import Data
from genjax.data.dataset import combined_checksum, row_crcs
from genjax.data.digit_styles import DIGIT_STYLES
from genjax.data.file_io import safe
from genjax.data.glyphs import GLYPHS
from genjax.data.image_decoding import convert_channels, resize
from genjax.data.joined_sources import join
from genjax.data.original_files import original_folder
from genjax.data.readers import Field, ReadOptions, Source
from genjax.data.scenes import SCENES
from genjax.data.sources import load
from genjax.data.tfds_folder import PreparedSplit, class_names, open_folder
from genjax.data.toy_mixtures import GAUSSIANS, STACKED_PREFIX

GENERATED = (
    *("digits", "digits_4x4"),
    *(*DIGIT_STYLES, *GLYPHS, *SCENES, *CAPTIONED_DIGITS, *GAUSSIANS),
)


def open_source(source: str, reading: ReadOptions) -> Source:
    """Detects and opens a source; images are decoded on access.

    Args:
      source: a folder or file that `genjax.data.readers.read` knows, a .npz file, one of
        `GENERATED`, stacked_NAME, a TFDS name, or a folder prepared by TFDS; or two of these,
        A+B, whose rows are pairs.
      reading: size and mode of images, and options of the format.

    Raises:
      ValueError: there is no such source.
    """
    path = pathlib.Path(source)
    a, plus, b = source.partition("+")
    if a and plus and b and not path.exists():
        return join(open_source(a, reading), open_source(b, reading))
    if source in GENERATED or source.startswith(STACKED_PREFIX) or source.endswith(".npz"):
        return _open_arrays(source, reading)
    if source.endswith(".csv"):
        raise ValueError(
            f"{safe(source)} is a table, which is read as it is; give it to genjax train --data."
        )
    if path.exists() and not (path / "dataset_info.json").is_file():
        return readers.read(path, reading)
    if folder := original_folder(source, None):
        return readers.read(folder, reading)
    if not path.exists() and os.sep in source:
        return readers.read(path, reading)  # raises an error
    return _open_tfds(source, reading)


@dataclasses.dataclass(frozen=True)
class _ArrayRows:
    """Examples of arrays in memory."""

    entries: Mapping[str, np.ndarray]
    fitted: "_FitImages"

    def __len__(self) -> int:
        return len(next(iter(self.entries.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = {k: v[index] for k, v in self.entries.items()}
        plain = {k: v.tolist() for k, v in row.items() if v.ndim == 0 or v.dtype.kind == "U"}
        return self.fitted(row | plain)

    def column(self, name: str) -> list[Any]:
        """Returns one entry of all examples."""
        return self.entries[name].tolist()

    def fingerprint(self, rows: Sequence[int]) -> int:
        """Returns a CRC of the values."""
        return zlib.crc32(
            combined_checksum(
                {"": {k: row_crcs(v[list(rows)]) for k, v in self.entries.items()}}
            ).encode()
        )


@dataclasses.dataclass(frozen=True)
class _FitImages:
    """Converts the images of an example to the requested size and mode."""

    images: tuple[str, ...]
    reading: ReadOptions
    where: str
    levels: int | None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        r = self.reading
        for key in self.images:
            image = row[key]
            if r.mode is not None:
                image = convert_channels(image, r.mode)
            if r.size is not None:
                background = min(r.background, (self.levels or 256) - 1)
                image = resize(image, r.size, r.fit, background, self.where)
                if self.levels:  # Lanczos overshoots
                    image = np.minimum(image, self.levels - 1).astype(np.uint8)
            row[key] = image
        return row

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of an image after conversion."""
        channels = {"rgb": 3, "grey": 1, None: shape[-1]}[self.reading.mode]
        return (*(self.reading.size or shape[:2]), channels)


def _open_arrays(source: str, reading: ReadOptions) -> Source:
    dataset = load(Data(data=source))
    if dataset.unpaired:
        raise ValueError(
            f"{source} has two domains without pairs; prepare pairs (glyphs_paired), and train on"
            f" them with --unpaired."
        )
    train = dataset.splits["train"]
    x = train["x"]
    both = [train[key] for key in ("x", "y") if key in train]
    are_images = all(a.dtype == np.uint8 and a.ndim == 4 and a.shape[-1] in (1, 3) for a in both)
    names = {"x": "image" if are_images else "x"}
    if "y" in train and not are_images:
        raise ValueError(
            f"{source} holds pairs of {x.dtype}{list(x.shape[1:])} and {train['y'].dtype}"
            f"{list(train['y'].shape[1:])}; use uint8 images [H, W, 1 or 3]."
        )
    if "y" in train:
        names = {"x": "image_a", "y": "image_b"}
    images = tuple(v for k, v in names.items() if v.startswith("image"))
    if not images and (reading.size or reading.mode):
        raise ValueError(
            f"{source} holds {x.dtype}{list(x.shape[1:])} and not uint8 images [H, W, 1 or 3];"
            f" leave out --size and --mode."
        )
    fitted = _FitImages(images, reading, source, dataset.levels)
    fields = {}
    for key, array in train.items():
        name = names.get(key, key)
        if name in images:
            fields[name] = Field(kind="image", shape=fitted.shape(array.shape[1:]))
        elif key == "label":
            high = max(int(s["label"].max()) for s in dataset.splits.values() if "label" in s)
            fields[name] = Field(kind="label", classes=high + 1)
        elif key == "attributes":
            given = dataset.names.get("attributes") or tuple(map(str, range(array.shape[1])))
            fields[name] = Field(kind="attributes", shape=array.shape[1:], names=given)
        elif key == "caption":
            fields[name] = Field(kind="text", shape=array.shape[1:])
        else:
            fields[name] = Field(kind="array", shape=array.shape[1:], dtype=array.dtype.name)
    missing = [s for s, v in dataset.splits.items() if set(v) != set(train)]
    if missing:
        raise ValueError(
            f"{source}: the splits train and {missing[0]} have different entries; make them agree."
        )
    splits = {
        s: _ArrayRows({names.get(k, k): v for k, v in entries.items()}, fitted)
        for s, entries in dataset.splits.items()
    }
    return Source(name=source, format="npz", fields=fields, splits=splits, levels=dataset.levels)


@dataclasses.dataclass(frozen=True)
class _TfdsRows:
    """Examples of a prepared split, with all features; files are opened on access."""

    rows: PreparedSplit
    keys: tuple[str, ...]
    fitted: _FitImages

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """Returns one feature of all examples; the others are not decoded."""
        return [self.rows.example(i, (name,))[name] for i in range(len(self))]

    def fingerprint(self, rows: Sequence[int]) -> int:
        """Returns a CRC of the state of the folder."""
        return zlib.crc32(f"{self.rows.split} {self.rows.fingerprint} {list(rows)}".encode())

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.fitted(self.rows.example(index, self.keys))


def _open_tfds(source: str, reading: ReadOptions) -> Source:
    from tensorflow_datasets import features

    about, rows = open_folder(source, None)
    fields: dict[str, Field] = {}
    unsupported = [f"feature {name}" for name in about.unsupported]
    images = tuple(k for k, f in about.features.items() if _field_kind(f) == "image")
    levels = next(iter(rows.values())).levels
    fitted = _FitImages(images, reading, source, levels)
    for key, feature in about.features.items():
        kind = _field_kind(feature)
        if kind == "image":
            if reading.size is None and None in feature.shape[:2]:
                raise ValueError(
                    f"{source} has images of different sizes; set --size H W and --fit."
                )
            fields[key] = Field(kind="image", shape=fitted.shape(tuple(feature.shape)))
        elif kind == "array":
            dtype = np.dtype(feature.np_dtype).name
            fields[key] = Field(kind="array", shape=tuple(feature.shape), dtype=dtype)
        elif kind:
            names, classes = class_names(feature), getattr(feature, "num_classes", 0)
            shape = (len(names),) if kind == "attributes" else ()
            if kind == "text" and isinstance(feature, features.Sequence):
                shape = tuple(feature.shape)
            fields[key] = Field(kind=kind, shape=shape, names=names, classes=classes)
        else:
            unsupported.append(f"feature {key}")
    if not fields:
        raise ValueError(
            f"{safe(source)} has no supported features, only {unsupported}; use another data set."
        )
    return Source(
        name=source,
        format="tfds",
        fields=fields,
        splits={s: _TfdsRows(split, tuple(fields), fitted) for s, split in rows.items()},
        levels=levels,
        ignored=tuple(unsupported),
    )


def _field_kind(feature: Any) -> Literal["image", "label", "text", "attributes", "array", ""]:
    """Returns the kind of field of a feature from `metadata`; "" if it is not supported."""
    from tensorflow_datasets import features

    if isinstance(feature, features.Image):
        return "image" if feature.np_dtype == np.uint8 and feature.shape[-1] in (1, 3) else ""
    if isinstance(feature, features.ClassLabel):
        return "label"
    if isinstance(feature, features.FeaturesDict):
        return "attributes"
    if isinstance(feature, features.Sequence):
        return "text" if feature.shape[0] else ""
    return "text" if isinstance(feature, features.Text) else "array"
