""".npz files, held against their own headers before room is made for what they claim."""

import math
import pathlib
import zipfile
from typing import Any

import numpy as np

from genjax.data.file_io import is_file, safe

# Deflate shrinks by up to 1032 to 1, and nothing but zeros by that much.
MAX_RATIO, ALWAYS_ALLOWED = 200, 2**28


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of a .npz file; nothing is unpickled.

    Raises:
      ValueError: a member is no array, holds Python objects, or is not of the size that its header
        says; or the whole unpacks to more than 200 times the file and 256 MiB.
      Exception: numpy and zipfile raise a dozen kinds on damaged bytes.
    """
    if not is_file(path):  # a device never ends
        raise ValueError("it is no regular file")
    # Opened here: numpy leaves the file open where the archive is damaged.
    with path.open("rb") as opened:
        with zipfile.ZipFile(opened) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size):
                raise ValueError(
                    f"it would unpack to {total} bytes, {total // path.stat().st_size} times its"
                    f" size; save it without compression (np.savez)"
                )
            for member in members:
                _check_member(archive, member)
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
    return arrays


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """A member is one array and nothing else, of as many bytes as its header says."""
    name = safe(member.filename, 60)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that numpy does not write")
    with archive.open(member) as file:
        if not member.filename.endswith(".npy") or file.read(6) != b"\x93NUMPY":
            raise ValueError(f"'{name.removesuffix('.npy')}' is no array")
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
            raise ValueError(f"'{name}' says that its shape is {shape}")
        size = file.tell() + math.prod(shape) * dtype.itemsize
        if size != member.file_size:
            raise ValueError(
                f"'{name}' says that it is {safe(dtype, 60)}{list(shape)}, {size} bytes, and has"
                f" {member.file_size}"
            )
