"""Files as people bring them, read one example at a time."""

import pathlib
from collections.abc import Callable

from genjax.data.file_io import ARCHIVES, Opened, is_file, listing, show
from genjax.data.image_decoding import suffixed
from genjax.data.readers import amat, attributes, captions, cifar, idx, image_folders, pairs
from genjax.data.readers.base import Field, Reading, Source

__all__ = ["Field", "Reading", "Source", "detect", "read"]

_READERS: dict[str, Callable[[pathlib.Path, Reading], Source]] = {
    "images": image_folders.read,
    "pairs": pairs.read,
    "captions": captions.read,
    "attributes": attributes.read,
    "idx": idx.read,
    "cifar": cifar.read,
    "amat": amat.read,
}
_LAYOUTS = (
    "a folder of pictures (flat, a folder a class, or folders train, validation, test), trainA and"
    " trainB, pictures with captions.csv or list_attr_celeba.txt, IDX files, binary CIFAR files, or"
    " .amat files"
)


def read(source: str | pathlib.Path, reading: Reading = Reading()) -> Source:  # noqa: B008
    """Read a folder or file that lies on disk; pictures are decoded when they are asked for.

    Raises:
      ValueError: one sentence that names the file and the fix.
    """
    path = pathlib.Path(source)
    name: str = reading.format
    if name == "auto":
        name = detect(path)
    else:
        _there(path)
    if not path.is_dir() and name not in ("idx", "cifar", "amat"):
        raise ValueError(
            f"{show(path)} is a file, and {name} are read from a folder; give its folder."
        )
    return _READERS[name](path, reading)


def detect(path: pathlib.Path) -> str:
    """The format of a folder or file, from the names in it.

    Raises:
      ValueError: nothing known is there, or an archive that must be unpacked.
    """
    _there(path)
    if not path.is_dir():
        return _file(path)
    files, folders, _ = listing(path)
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
    if any(suffixed(name) for name in files):
        return "images"
    if cifar.pickled(files):
        cifar.refuse_pickled(path, cifar.pickled(files))
    packed = [name for name in files if name.lower().endswith(ARCHIVES)]
    if not folders and packed:
        raise ValueError(f"{show(path / packed[0])} is an archive; unpack it first.")
    if not folders:
        what = f", such as {show(files[0], 60)}" if files else ""
        raise ValueError(
            f"{show(path)} holds {len(files)} files{what}, and nothing that is read; give"
            f" {_LAYOUTS}."
        )
    return "images"


def _there(path: pathlib.Path) -> None:
    try:
        found = path.is_dir() or is_file(path)
    except (OSError, ValueError):
        found = False
    if not found:
        raise ValueError(f"there is no folder or file {show(path)}; give {_LAYOUTS}.")
    if not path.is_dir() and path.name.lower().endswith(ARCHIVES):
        raise ValueError(f"{show(path)} is an archive; unpack it first, and give its folder.")


def _file(path: pathlib.Path) -> str:
    """The format of one file, from its name, then from its first bytes."""
    if amat.matches(path.name):
        return "amat"
    if path.name.endswith(".bin") or cifar.pickled([path.name]):
        return "cifar"
    if idx.matches(path.name):
        return "idx"
    if suffixed(path.name):
        raise ValueError(f"{show(path)} is one picture; give the folder that it lies in.")
    with Opened(path) as file:
        head = file.read(4) if path.suffix in ("", ".gz") else b""
    if len(head) == 4 and head[:2] == b"\0\0" and head[2] in idx.TYPES and head[3]:
        return "idx"
    raise ValueError(f"{show(path)} is no file that is read; give {_LAYOUTS}.")
