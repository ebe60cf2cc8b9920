"""Writing of files: whole or not at all, and never through a link."""

import contextlib
import os
import pathlib
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO

from genjax.data.file_io import safe

STALE_SECONDS = 3600.0
"""Age from which a `.part` file is one of a process that was killed."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Yields a new binary file, which replaces `path` at the end of the block.

    The data are written to `<name>.<process>.part` beside it, which an error removes, so that a
    reader never sees an incomplete file. A link at `path` is replaced, and its target is unchanged.

    Args:
      path: the file.
      sync: wait until the data are on disk; else the file may be empty after a power failure.

    Raises:
      ValueError: `path` is a folder, a pipe or a device.
    """
    path = pathlib.Path(path)
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise ValueError(f"{safe(path)} is not a regular file; give the name of a file.")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)  # a link, or of an earlier process of the same number
    try:
        with open(part, "xb", opener=no_follow) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_file(path: str | os.PathLike, data: bytes, *, sync: bool = False) -> None:
    """Writes a file as `replacing` does."""
    with replacing(path, sync=sync) as file:
        file.write(data)


def no_follow(path: str, flags: int) -> int:
    """Opens a file unless it is a link; an `opener` for `open`."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def remove_parts(folder: str | os.PathLike, seconds: float = STALE_SECONDS) -> None:
    """Removes the `.part` files of processes that were killed.

    Args:
      folder: where they are; nothing is done if it is missing or a link.
      seconds: age of the files; 0 removes all, where no other process writes.
    """
    folder = pathlib.Path(folder)
    if folder.is_symlink():
        return
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.lstat().st_mtime >= seconds and not part.is_dir():
                part.unlink()
