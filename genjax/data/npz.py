""".npz files, whose headers are checked before memory is allocated."""

import math
import os
import zipfile
from typing import Any

import numpy as np

from genjax.data.file_io import file_size, open_file, safe

# Deflate reaches ratios up to 1032, but only for constant data.
MAX_RATIO, ALWAYS_ALLOWED = 200, 2**28


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads every array of a .npz file; nothing is unpickled.

    Raises:
      ValueError: the path is no regular file; a member is not an array, holds Python objects, or
        has another size than its header states; or the file decompresses to more than 200 times
        its size and 256 MiB.
      Exception: NumPy and zipfile raise many types on damaged files.
    """
    # Opened here: NumPy does not close the file if the archive is damaged.
    with open_file(path) as opened:
        size = os.fstat(opened.fileno()).st_size
        with zipfile.ZipFile(opened) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > max(ALWAYS_ALLOWED, MAX_RATIO * size):
                raise ValueError(
                    f"it would decompress to {total} bytes, {total // size} times"
                    f" its size; save it without compression (np.savez)"
                )
            for member in members:
                _check_member(archive, member)
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
    return arrays


def check_table(path: str | os.PathLike, table: np.ndarray) -> None:
    """Checks the size of a table as float64, which its rows and their permutation take.

    Raises:
      ValueError: it is above 200 times the size of the file and 256 MiB, as in `read_npz`; the
        table of a small file may be of truth values.
    """
    if 8 * table.size > max(ALWAYS_ALLOWED, MAX_RATIO * file_size(path)):
        raise ValueError(
            f"{safe(path)}: data has {table.size} numbers, more than {MAX_RATIO // 8} for every"
            f" byte of the file; save it without compression (np.savez)."
        )


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Checks that a member is one array of the size that its header states."""
    name = safe(member.filename, 60)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} has an unsupported compression")
    with archive.open(member) as file:
        if not member.filename.endswith(".npy") or file.read(6) != b"\x93NUMPY":
            raise ValueError(f"'{name.removesuffix('.npy')}' is not an array")
        file.seek(0)
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"'{name}' has a header of version {version}")
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds Python objects")
        if min(shape, default=0) < 0:
            raise ValueError(f"'{name}' has shape {shape} in its header")
        size = file.tell() + math.prod(shape) * dtype.itemsize
        if size != member.file_size:
            raise ValueError(
                f"'{name}' is {safe(dtype, 60)}{list(shape)}, {size} bytes, by its header, and has"
                f" {member.file_size}"
            )
