"""Files and folders on disk: what lies there, how it is named in a sentence, bounded reading."""

import gzip
import os
import pathlib
import re
import stat
import zlib

SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
ARCHIVES = (
    ".zip",
    ".tar",
    ".tgz",
    ".tbz2",
    ".txz",
    ".7z",
    ".rar",
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
)
# Deflate cannot shrink by more than 1032 to 1: a header that claims more lies.
_MAX_DEFLATE_RATIO = 1032


def safe(value: object, length: int = 0) -> str:
    """Text as it can stand in one line of any terminal, cut to `length` characters if above 0."""
    text = str(value)
    if length and len(text) > length:
        text = text[: length - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def error_reason(error: BaseException) -> str:
    """What went wrong, in a few words of one line and without a full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    said = re.sub(r"\s*[\r\n]\s*", " ", said or "").strip().rstrip(".")
    return safe(f"{type(error).__name__}: {said}" if said else type(error).__name__, 160)


def natural_sort_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts batch_2 before batch_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    keys = [(0, int(p[:18]), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]
    return keys, name


def is_hidden(name: str) -> bool:
    """Files that systems leave behind: .DS_Store, .ipynb_checkpoints, __MACOSX, Thumbs.db."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def list_folder(folder: pathlib.Path) -> tuple[list[str], list[str], list[str]]:
    """Sorted names of a folder's files, its folders, and what is hidden or neither.

    Raises:
      ValueError: the folder is not there or cannot be opened.
    """
    files: list[str] = []
    folders: list[str] = []
    rest: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    rest.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    (files if entry.is_file() else rest).append(entry.name)
    except OSError as error:
        raise ValueError(
            f"the folder {safe(folder)} cannot be opened ({error_reason(error)})."
        ) from None
    return sorted(files), sorted(folders), sorted(rest)


def is_file(path: pathlib.Path) -> bool:
    """A regular file, or a link to one; False for names that no file can have."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_bytes(path: pathlib.Path, limit: int = 2**31) -> bytes:
    """All bytes of a file of at most `limit` bytes.

    Raises:
      ValueError: the file is missing, no regular file, larger, or cannot be read.
    """
    bytes_ = file_size(path)
    if bytes_ > limit:
        raise ValueError(f"{safe(path)} has {bytes_} bytes, more than the {limit} that are read.")
    try:
        with open(path, "rb") as file:
            # Room is made for what is asked, so the limit itself is not asked for.
            return file.read(bytes_)
    except OSError as error:
        raise ValueError(f"{safe(path)} cannot be read ({error_reason(error)}).") from None


def read_text(path: pathlib.Path) -> str:
    """A UTF-8 text file, a byte order mark dropped.

    Raises:
      ValueError: as `read_bytes`, and for other encodings and NUL bytes.
    """
    data = read_bytes(path)
    try:
        said = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{safe(path)} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    if "\0" in said:
        line = said.count("\n", 0, said.index("\0")) + 1
        raise ValueError(
            f"{safe(path)} holds a NUL character in line {line}; save it as plain UTF-8 text."
        )
    return said


def file_size(path: pathlib.Path) -> int:
    """Bytes of a regular file.

    Raises:
      ValueError: there is no such file.
    """
    if not is_file(path):
        raise ValueError(f"there is no file {safe(path)}.")
    return path.stat().st_size


class BinaryFile:
    """Bytes of a plain or a gzip file, read piece by piece; a context manager.

    compressed: whether the file is gzip, found from its first bytes and not its name.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Open `path`; raises ValueError where there is no such file."""
        self.path, self.bytes = path, file_size(path)
        try:
            self._raw = open(path, "rb")  # noqa: SIM115 (closed in __exit__)
        except OSError as error:
            raise ValueError(f"{safe(path)} cannot be read ({error_reason(error)}).") from None
        self.compressed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file = gzip.GzipFile(fileobj=self._raw) if self.compressed else self._raw

    def __enter__(self) -> "BinaryFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._raw.close()

    def max_bytes(self) -> int:
        """The number of bytes that the file can hold at most, unpacked."""
        return self.bytes * _MAX_DEFLATE_RATIO if self.compressed else self.bytes

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end of the file.

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
                f"{safe(self.path)} cannot be unpacked, it is truncated or damaged"
                f" ({error_reason(error)}); fetch it again."
            ) from None
        return b"".join(pieces)
