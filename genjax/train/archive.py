"""Archives of run folders in parts of bounded size, to move runs between machines.

An archive is `pack.json` (names and SHA-256 of the parts) and `pack-<digest>.000`, `.001`, ...,
which concatenated are one gzipped tar. A new archive replaces an old one only when it is complete.
"""

import functools
import hashlib
import io
import pathlib
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from typing import TypedDict

from genjax.data.json_files import read_object
from genjax.train.checkpoint import write_json

PART_BYTES = 16 * 2**20 - 4096


class Manifest(TypedDict):
    """Entries of pack.json that are read."""

    parts: list[dict[str, str]]


def create_archive(
    workdirs: Iterable[pathlib.Path], out: pathlib.Path, *, part_bytes: int = PART_BYTES
) -> list[pathlib.Path]:
    """Writes run folders as parts of at most `part_bytes`; returns the files written.

    The latest checkpoints of a finished run with a best one are left out: no steps are left.

    Raises:
      ValueError: two folders have one name.
    """
    workdirs = list(workdirs)
    names = [workdir.name for workdir in workdirs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two runs are called {', '.join(twice)}; rename one, or it would overwrite the other."
        )
    out.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for workdir in workdirs:
            tar.add(workdir, arcname=workdir.name, filter=functools.partial(_wanted, workdir))
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:8]
    paths, parts = [], []
    for number, start in enumerate(range(0, max(1, len(data)), part_bytes)):
        chunk = data[start : start + part_bytes]
        path = out / f"pack-{digest}.{number:03d}"
        path.write_bytes(chunk)
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
      ValueError: a part is missing or damaged.
    """
    manifest = source / "pack.json"
    if not manifest.is_file():
        raise ValueError(f"{source} holds no archive: there is no {manifest}.")
    fix = "write the archive again"
    parts = read_object(manifest, Manifest, fix=fix)["parts"]
    if not all(p.keys() >= {"name", "sha256"} for p in parts):
        raise ValueError(f"{manifest} is damaged (a part has no name or SHA-256); {fix}.")
    names = [(p["name"], p["sha256"]) for p in parts]
    joined = io.BytesIO()
    for name, digest in names:
        path = source / pathlib.Path(name).name
        if not path.is_file():
            raise ValueError(f"{source} lacks the part {name}; copy all {len(names)} parts.")
        chunk = path.read_bytes()
        if hashlib.sha256(chunk).hexdigest() != digest:
            raise ValueError(f"{path} is damaged (its SHA-256 differs); copy it again.")
        joined.write(chunk)
    joined.seek(0)
    root.mkdir(parents=True, exist_ok=True)
    # Extracted to a temporary folder, then moved: an incomplete run must not look complete.
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as beside:
        try:
            with tarfile.open(fileobj=joined, mode="r:gz") as tar:
                for member in tar.getmembers():
                    inside = pathlib.PurePosixPath(member.name)
                    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
                        raise ValueError(
                            f"{source} holds {member.name}, a path outside a run; do not use it."
                        )
                tar.extractall(beside, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{source} cannot be extracted ({type(error).__name__}); write the archive again."
            ) from None
        found = []
        for run in sorted(pathlib.Path(beside).iterdir()):
            if not (root / run.name).exists():
                run.rename(root / run.name)
                found.append(run.name)
    return found


def _wanted(workdir: pathlib.Path, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    inside = pathlib.PurePosixPath(member.name).parts[1:]
    finished = (workdir / "record.json").exists()
    best = workdir / "checkpoints" / "best"
    has_best = best.is_dir() and any(best.iterdir())
    if finished and has_best and inside[:2] == ("checkpoints", "latest") and len(inside) > 2:
        return None
    if inside[:1] == ("profile",) or inside[:1] == (".lock",):
        return None
    return member
