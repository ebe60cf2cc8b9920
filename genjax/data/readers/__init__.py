"""Readers of file formats; examples are read one at a time."""

import os
import pathlib
from collections.abc import Callable

from genjax.data.file_io import ARCHIVES, BinaryFile, list_folder, open_file, safe, unused_files
from genjax.data.image_decoding import has_image_suffix
from genjax.data.readers import amat, attributes, captions, cifar, idx, image_folders, pairs
from genjax.data.readers.base import Contents, Field, ReadOptions, Source
from genjax.data.readers.columns import Columns

__all__ = ["Field", "ReadOptions", "Source", "detect", "read"]

_READERS: dict[str, Callable[[pathlib.Path, ReadOptions], Contents]] = {
    "images": image_folders.read,
    "pairs": pairs.read,
    "captions": captions.read,
    "attributes": attributes.read,
    "idx": idx.read,
    "cifar": cifar.read,
    "amat": amat.read,
}
_LAYOUTS = (
    "a folder of images (flat, one folder per class, or folders train, validation, test), folders"
    " trainA and trainB, images with captions.csv or list_attr_celeba.txt, IDX files, binary CIFAR"
    " files, or .amat files"
)


def read(source: str | pathlib.Path, reading: ReadOptions = ReadOptions()) -> Source:  # noqa: B008
    """Reads a folder or file; images are decoded on access.

    Raises:
      ValueError: it cannot be read; the message names the file and the fix.
    """
    path = pathlib.Path(source)
    _check_exists(path)
    name = detect(path) if reading.format == "auto" else reading.format
    if not path.is_dir() and name not in ("idx", "cifar", "amat"):
        raise ValueError(
            f"{safe(path)} is a file, and the format {name} is a folder; give the folder."
        )
    fields, columns, used, levels = _READERS[name](path, reading)
    return Source(
        name=str(path),
        format=name,
        fields=fields,
        splits={split: Columns(column) for split, column in columns.items()},
        levels=levels,
        ignored=unused_files(path, used) if path.is_dir() else (),
    )


def detect(path: pathlib.Path) -> str:
    """Detects the format of a folder or file from file names.

    Raises:
      ValueError: the format is unknown, or an archive must be unpacked.
    """
    _check_exists(path)
    if not path.is_dir():
        return _detect_file(path)
    files, folders, _ = list_folder(path)
    if {"trainA", "trainB"} & set(folders):
        return "pairs"
    if captions.has_tables(path):
        return "captions"
    if attributes.has_table(path):
        return "attributes"
    if any(idx.matches(name) for name in files):
        return "idx"
    if cifar.matches(files):
        return "cifar"
    if any(amat.matches(name) for name in files):
        return "amat"
    if any(has_image_suffix(name) for name in files):
        return "images"
    if cifar.pickled_file(files):
        cifar.raise_pickled(path, cifar.pickled_file(files))
    packed = [name for name in files if name.lower().endswith(ARCHIVES)]
    if not folders and packed:
        raise ValueError(f"{safe(path / packed[0])} is an archive; unpack it first.")
    if not folders:
        what = f", such as {safe(files[0], 60)}" if files else ""
        raise ValueError(
            f"{safe(path)} holds {len(files)} files{what}, in no known format; give {_LAYOUTS}."
        )
    return "images"


def _check_exists(path: pathlib.Path) -> None:
    if not os.path.exists(path):
        raise ValueError(f"there is no folder or file {safe(path)}; give {_LAYOUTS}.")
    if not path.is_dir():
        open_file(path).close()  # rejects pipes and devices
        if path.name.lower().endswith(ARCHIVES):
            raise ValueError(f"{safe(path)} is an archive; unpack it first, and give its folder.")


def _detect_file(path: pathlib.Path) -> str:
    """Detects the format of one file from its name, then from its first bytes."""
    if amat.matches(path.name):
        return "amat"
    if path.name.endswith(".bin") or cifar.pickled_file([path.name]):
        return "cifar"
    if idx.matches(path.name):
        return "idx"
    if has_image_suffix(path.name):
        raise ValueError(f"{safe(path)} is a single image; give its folder.")
    with BinaryFile(path) as file:
        head = file.read(4) if path.suffix in ("", ".gz") else b""
    if len(head) == 4 and head[:2] == b"\0\0" and head[2] in idx.TYPES and head[3]:
        return "idx"
    raise ValueError(f"{safe(path)} has no known format; give {_LAYOUTS}.")
