"""Files and folders: listing, bounded reading, and text for error messages."""

import errno
import gzip
import os
import pathlib
import re
import stat
import zlib
from collections.abc import Collection
from typing import BinaryIO

SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_TAR = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
ARCHIVES = (".zip", ".7z", ".rar", *_TAR)
# Deflate cannot compress by more than 1032 to 1.
_MAX_DEFLATE_RATIO = 1032


class UnreadableFile(ValueError):
    """A system error, of permissions or of a disk; it tells nothing about the contents."""


def safe(value: object, length: int = 0) -> str:
    """Returns text with unprintable characters escaped, cut to `length` characters if above 0."""
    text = str(value)
    if length and len(text) > length:
        text = text[: length - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def error_reason(error: BaseException) -> str:
    """Returns type and message of an error, in one line without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = re.sub(r"\s*[\r\n]\s*", " ", text or "").strip().rstrip(".")
    return safe(f"{type(error).__name__}: {text}" if text else type(error).__name__, 160)


def natural_sort_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Returns a key that sorts batch_2 before batch_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    keys = [(0, int(p[:18]), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]
    return keys, name


def is_hidden(name: str) -> bool:
    """Returns whether a file is hidden or created by a system, as .DS_Store and Thumbs.db."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def list_folder(folder: pathlib.Path) -> tuple[list[str], list[str], list[str]]:
    """Returns sorted names of files, of folders, and of hidden and special files.

    Links to nothing or to themselves are special files.

    Raises:
      ValueError: the folder does not exist or cannot be opened.
    """
    files: list[str] = []
    folders: list[str] = []
    rest: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                broken = entry.is_symlink() and not os.path.exists(entry.path)
                if broken or is_hidden(entry.name):
                    rest.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    (files if entry.is_file() else rest).append(entry.name)
    except OSError as error:
        raise ValueError(
            f"the folder {safe(folder)} cannot be opened ({error_reason(error)}); check the path."
        ) from None
    return sorted(files), sorted(folders), sorted(rest)


def unused_files(folder: pathlib.Path, used: Collection[str]) -> tuple[str, ...]:
    """Returns sorted paths of unused files; folders without used files as one path, ending in /."""
    used = set(used)
    parents = {""}
    for parts in {tuple(name.split("/")[:-1]) for name in used}:
        parents |= {"".join(f"{part}/" for part in parts[: i + 1]) for i in range(len(parts))}
    unused: list[str] = []
    for parent in parents:
        files, folders, rest = list_folder(folder / parent)
        names = [parent + name for name in files + rest] + [f"{parent}{n}/" for n in folders]
        unused += [name for name in names if name not in used and name not in parents]
    return tuple(sorted(unused))


def is_file(path: pathlib.Path) -> bool:
    """Returns whether a path is a regular file, or a link to one; False if it is no path."""
    return os.path.isfile(path)


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Opens a regular file, or a link to one, for reading.

    Raises:
      UnreadableFile: a system error.
      ValueError: it is missing, a folder, a pipe or a device.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for a process that writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        raise ValueError(f"there is no file {safe(path)}; check the path.") from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _special_error(path) from None
        raise _unreadable_error(path, error) from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise ValueError(f"{safe(path)} is a folder; give a file.")
        raise _special_error(path)
    return os.fdopen(handle, "rb")


def read_bytes(path: str | os.PathLike, limit: int = 2**31) -> bytes:
    """Reads a file of at most `limit` bytes.

    Raises:
      ValueError: the file is missing, not regular, larger, or cannot be read.
    """
    with open_file(path) as file:
        bytes_ = os.fstat(file.fileno()).st_size
        if bytes_ > limit:
            raise ValueError(f"{safe(path)} has {bytes_} bytes, and at most {limit} are supported.")
        try:
            # `read` allocates what is requested, so do not request the limit.
            return file.read(bytes_)
        except OSError as error:
            raise _unreadable_error(path, error) from None


def read_text(path: pathlib.Path) -> str:
    """Reads a UTF-8 text file, without a byte order mark.

    Raises:
      ValueError: as `read_bytes`, and for other encodings and NUL bytes.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{safe(path)} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{safe(path)} holds a NUL character in line {line}; save it as plain UTF-8 text."
        )
    return text


def file_size(path: str | os.PathLike) -> int:
    """Returns the size of a regular file in bytes.

    Raises:
      ValueError: as `open_file`.
    """
    with open_file(path) as file:
        return os.fstat(file.fileno()).st_size


def file_crc(path: str | os.PathLike) -> int:
    """Returns the CRC-32 of a regular file.

    Raises:
      UnreadableFile: a system error.
      ValueError: as `open_file`.
    """
    crc = 0
    with open_file(path) as file:
        try:
            while piece := file.read(2**20):
                crc = zlib.crc32(piece, crc)
        except OSError as error:
            raise _unreadable_error(path, error) from None
    return crc


def _special_error(path: str | os.PathLike) -> ValueError:
    return ValueError(
        f"{safe(path)} is a pipe, a device or a socket, which cannot be read as a file; copy its"
        f" contents to a file first."
    )


def _unreadable_error(path: str | os.PathLike, error: OSError) -> UnreadableFile:
    return UnreadableFile(
        f"{safe(path)} cannot be read ({error_reason(error)}); check its permissions."
    )


class BinaryFile:
    """A plain or gzip file, read piece by piece; a context manager.

    Attributes:
      compressed: whether the file is gzip, by its first bytes.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Opens `path`; raises ValueError if there is no such file."""
        self.path, self._raw = path, open_file(path)
        self.bytes = os.fstat(self._raw.fileno()).st_size
        self.compressed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file = gzip.GzipFile(fileobj=self._raw) if self.compressed else self._raw

    def __enter__(self) -> "BinaryFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._raw.close()

    def max_bytes(self) -> int:
        """Returns an upper bound of the uncompressed size in bytes."""
        return self.bytes * _MAX_DEFLATE_RATIO if self.compressed else self.bytes

    def read(self, count: int) -> bytes:
        """Reads the next `count` bytes, fewer at the end of the file.

        Raises:
          ValueError: the file is truncated or damaged gzip, or the disk fails.
        """
        pieces = []
        try:
            while count:
                piece = self._file.read(min(count, 2**20))
                if not piece:
                    break
                pieces.append(piece)
                count -= len(piece)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{safe(self.path)} cannot be decompressed ({error_reason(error)}): it is truncated"
                f" or damaged; download it again."
            ) from None
        return b"".join(pieces)
