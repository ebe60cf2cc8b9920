"""Archives of run folders in parts of bounded size, to move runs between machines.

An archive is `pack.json` (names and SHA-256 of the parts) and `pack-<digest>.000`, `.001`, ...,
which concatenated are one gzipped tar. A new archive replaces an old one only when it is complete.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import os
import pathlib
import shutil
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Iterable
from typing import BinaryIO, TypedDict

from genjax.data.file_io import error_reason, is_file, read_bytes, safe
from genjax.data.file_writing import write_file
from genjax.data.json_files import read_object
from genjax.train.checkpoint import write_json

PART_BYTES = 16 * 2**20 - 4096
# Of the unpacked size: checkpoints hardly compress.
MAX_RATIO, ALWAYS_ALLOWED = 100, 2**28


class Manifest(TypedDict):
    """Entries of pack.json that are read."""

    parts: list[dict[str, str]]


def create_archive(
    workdirs: Iterable[pathlib.Path], out: pathlib.Path, *, part_bytes: int = PART_BYTES
) -> list[pathlib.Path]:
    """Writes run folders as parts of at most `part_bytes`; returns the files written.

    The latest checkpoints of a finished run with a best one are left out: no steps are left. A link
    to a run folder stands for the folder.

    Raises:
      ValueError: two folders have one name; a run is no folder; or there is no file to archive, in
        which case an earlier archive stays.

    Warns:
      Links, pipes and devices inside a run are left out.
    """
    workdirs = list(workdirs)
    names = [workdir.name for workdir in workdirs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two runs are called {', '.join(twice)}; rename one, or it would overwrite the other."
        )
    for workdir in workdirs:
        if not workdir.is_dir():
            raise ValueError(f"{safe(workdir)} is not a run folder; check the path.")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for workdir in workdirs:
            wanted = functools.partial(_wanted, workdir)
            tar.add(workdir.resolve(), arcname=workdir.name, filter=wanted)
        if not any(member.isreg() for member in tar.getmembers()):
            raise ValueError("no run has a file to archive; start a run first.")
    data = buffer.getvalue()
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()[:8]
    paths, parts = [], []
    for number, start in enumerate(range(0, max(1, len(data)), part_bytes)):
        chunk = data[start : start + part_bytes]
        path = out / f"pack-{digest}.{number:03d}"
        write_file(path, chunk)
        paths.append(path)
        parts.append({"name": path.name, "sha256": hashlib.sha256(chunk).hexdigest()})
    write_json(out / "pack.json", {"parts": parts, "bytes": len(data)})
    for stale in set(out.glob("pack-*.[0-9][0-9][0-9]")) - set(paths):
        stale.unlink()
    return [*paths, out / "pack.json"]


def extract_archive(source: pathlib.Path, root: pathlib.Path) -> list[str]:
    """Extracts the run folders of an archive to `root`; returns their names.

    Existing run folders are not overwritten.

    Raises:
      ValueError: a part is missing or damaged; the archive holds a link or a file outside a run,
        or unpacks to more than 100 times its size and 256 MiB.
    """
    manifest = source / "pack.json"
    if not manifest.is_file():
        raise ValueError(f"{source} holds no archive: there is no {manifest}.")
    fix = "write the archive again"
    parts = read_object(manifest, Manifest, fix=fix)["parts"]
    if not all(p.keys() >= {"name", "sha256"} for p in parts):
        raise ValueError(f"{manifest} is damaged (a part has no name or SHA-256); {fix}.")
    names = {p["name"]: p["sha256"] for p in parts}
    joined = io.BytesIO()
    for name, digest in names.items():
        path = source / pathlib.Path(name).name
        if not is_file(path):
            raise ValueError(
                f"{source} lacks the part {safe(name, 100)}; copy all {len(names)} parts."
            )
        chunk = read_bytes(path)
        if hashlib.sha256(chunk).hexdigest() != digest:
            raise ValueError(f"{path} is damaged (its SHA-256 differs); copy it again.")
        joined.write(chunk)
    limit = max(ALWAYS_ALLOWED, MAX_RATIO * joined.tell())
    joined.seek(0)
    root.mkdir(parents=True, exist_ok=True)
    # Extracted to a temporary folder, then moved: an incomplete run must not look complete.
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as scratch:
        beside = pathlib.Path(scratch)
        try:
            # As a stream: the limit applies to the headers too, which tarfile reads whole.
            unpacked = _Limited(joined, limit, str(source))
            with tarfile.open(fileobj=unpacked, mode="r|") as tar:
                for member in tar:
                    _check_member(member, source)
                    _extract_member(tar, member, beside)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{source} cannot be extracted ({error_reason(error)}); free disk space if it is"
                f" full, else write the archive again."
            ) from None
        found = []
        for run in sorted(beside.iterdir()):
            if not os.path.lexists(root / run.name):
                run.rename(root / run.name)
                found.append(run.name)
    return found


class _Limited(gzip.GzipFile):
    """Decompresses at most `limit` bytes."""

    def __init__(self, compressed: BinaryIO, limit: int, source: str) -> None:
        super().__init__(fileobj=compressed, mode="rb")
        self._left, self._limit, self._source = limit, limit, source

    def read(self, size: int | None = -1) -> bytes:
        """Reads as `GzipFile` does; raises ValueError beyond the limit."""
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(
                f"{self._source} unpacks to more than {self._limit} bytes, {MAX_RATIO} times its"
                f" size; do not use it."
            )
        return data


def _check_member(member: tarfile.TarInfo, source: pathlib.Path) -> None:
    """Raises unless a member is a file or a folder inside a run."""
    inside = pathlib.PurePosixPath(member.name)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ValueError(
            f"{source} holds {safe(member.name)}, a path outside a run; do not use it."
        )
    if len(inside.parts) == 1 and member.isreg():
        raise ValueError(
            f"{source} holds the file {safe(inside)}, which is not inside a run folder; do not"
            f" use it."
        )
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise ValueError(
            f"{source} holds {safe(member.name)}, which is a link or a special file; do not use it."
        )


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, root: pathlib.Path) -> None:
    """Writes a file or folder, with its time of change and the default permissions.

    `TarFile.extract` has its filters only since Python 3.11.4.
    """
    target = root / member.name
    content = tar.extractfile(member)
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, open(target, "wb") as file:
        shutil.copyfileobj(content, file)
    with contextlib.suppress(OverflowError, ValueError, OSError):  # a damaged time is no loss
        os.utime(target, (member.mtime, member.mtime))


def _wanted(workdir: pathlib.Path, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    inside = pathlib.PurePosixPath(member.name).parts[1:]
    finished = (workdir / "record.json").exists()
    best = workdir / "checkpoints" / "best"
    has_best = best.is_dir() and any(best.iterdir())
    if finished and has_best and inside[:2] == ("checkpoints", "latest") and len(inside) > 2:
        return None
    if inside[:1] in (("profile",), (".lock",)) or member.name.endswith(".part"):
        return None
    if member.islnk():  # a second name of a file is stored as a file
        member.type, member.size = tarfile.REGTYPE, workdir.joinpath(*inside).stat().st_size
    if not (member.isreg() or member.isdir()):
        warnings.warn(f"{safe(member.name)} is no regular file and is left out.", stacklevel=2)
        return None
    return member
