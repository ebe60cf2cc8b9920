"""Preparation: writes a source as a TFDS folder of array_record files, without TensorFlow."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from genjax.data.dataset import combined_checksum, default_levels
from genjax.data.file_io import UnreadableFile, file_crc, open_file, safe
from genjax.data.file_writing import write_file
from genjax.data.image_grid import image_grid
from genjax.data.json_files import check_entries, read_object
from genjax.data.metadata import INDEX, SUMMARY
from genjax.data.npz import read_npz
from genjax.data.open_source import open_source
from genjax.data.order import Order
from genjax.data.readers import ReadOptions, Source
from genjax.data.readers.base import Examples
from genjax.data.shards import Shard, WriteOptions, tfds_features, write_shards
from genjax.data.tfds_folder import entry_features, open_folder

VERSION = "1.0.0"
PLAN = "plan.json"
SHUFFLED = ("images", "captions", "attributes", "pairs")
CONTACT_SHEET_IMAGES = 64  # images of a split on its contact sheet


class SplitSummary(TypedDict):
    """Entries of a split in genjax.json."""

    examples: int
    shape: list[int]
    range: list[float]
    bytes: int


class Summary(TypedDict):
    """Entries of genjax.json that are read; those of an earlier version have no `files`."""

    levels: int
    checksum: str
    splits: dict[str, dict]
    ignored: list[str]
    ignored_count: int
    files: NotRequired[dict[str, int]]


@dataclasses.dataclass(frozen=True)
class PreparedFolder:
    """A prepared folder.

    Attributes:
      folder: path of the data set.
      summary: contents of its genjax.json.
    """

    folder: pathlib.Path
    summary: dict[str, Any]

    def describe(self) -> list[str]:
        """Returns one line per split and one for the whole."""
        lines = []
        for split, s in self.summary["splits"].items():
            low, high = s["range"]
            lines.append(
                f"{split}: {s['examples']:,} examples, shape {tuple(s['shape'])}, values {low:g} to"
                f" {high:g}, {s['bytes'] / 2**20:.1f} MiB"
            )
        names = self.summary["ignored"][:3]
        if names:
            more = self.summary["ignored_count"] - len(names)
            lines.append(
                f"ignored: {', '.join(safe(n, 60) for n in names)}"
                + (f" and {more:,} more" if more else "")
            )
        about = [f"levels {self.summary['levels']}", f"checksum {self.summary['checksum']}"]
        about += sorted(p.name for p in self.folder.glob("contact_sheet-*.png"))
        lines.append(f"{self.folder}: {', '.join(about)}")
        return lines


def prepare(
    source: str,
    out: str | pathlib.Path,
    writing: WriteOptions,
    reading: ReadOptions | None = None,
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> PreparedFolder:
    """Writes a source as `out/name/1.0.0`; resumes an interrupted call.

    A finished folder of the same source is verified, and written again if it is damaged; files in
    it that are not of the data set are kept.

    Args:
      source: input of `genjax.data.readers.read`, a .npz file, a TFDS name or folder, or digits.
      out: folder of prepared data sets.
      writing: name, hold-outs, encoding.
      reading: options such as size and mode.
      progress: called with a line per written file.

    Raises:
      ValueError: an example or a file of the folder cannot be read; an example does not fit; the
        folder holds other data; or another process is writing it.
    """
    opened = open_source(source, reading or ReadOptions())
    _check_source(opened, writing)
    splits = _assign_splits(opened, writing)
    folder = pathlib.Path(out) / writing.name / VERSION
    plan = _plan(opened, splits, reading or ReadOptions(), writing)
    part, damaged = (folder.with_name(f"{VERSION}.{end}") for end in ("incomplete", "damaged"))
    shards = []
    for split, rows in splits.items():
        count = -(-len(rows) // writing.shard_examples)
        origin = _origin(opened, split)
        for i in range(count):
            name = f"{writing.name}-{split}.array_record-{i:05d}-of-{count:05d}"
            own_rows = rows[i * writing.shard_examples :][: writing.shard_examples]
            state = opened.splits[origin].fingerprint(own_rows)
            shards.append(Shard(str(part / name), opened, origin, own_rows, writing, state))
    full_plan = {**plan, "fingerprint": zlib.crc32(repr([s.fingerprint for s in shards]).encode())}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        for path in (folder, part, damaged):
            if path.is_symlink():
                raise ValueError(f"{path} is a link; remove it, or use another --name.")
        if damaged.exists():  # left by a call that was killed
            _replace(damaged, folder)
        if folder.exists():
            summary = _read_json(folder / SUMMARY)
            if summary.get("plan") != full_plan:
                raise ValueError(
                    f"{folder} holds another data set, its source files have changed since, or its"
                    f" {SUMMARY} is damaged; use another --name, or remove it."
                )
            problem = _find_damage(folder, summary)
            if not problem:
                shutil.rmtree(part, ignore_errors=True)
                progress(f"{folder} exists already")
                return PreparedFolder(folder, summary)
            progress(f"{folder} is damaged ({problem}); it is prepared again")
        if part.exists() and (_read_json(part / PLAN) != plan or _has_links(part)):
            shutil.rmtree(part)  # from other data or settings, or not written by `prepare`
        part.mkdir(exist_ok=True)
        write_file(part / PLAN, json.dumps(plan).encode())
        write_shards(shards, writing.workers, progress)
        summary = _finish(part, opened, splits, shards, writing, full_plan)
        if folder.exists():
            folder.rename(damaged)
        part.rename(folder)
        if damaged.exists():
            _replace(damaged, folder)
    return PreparedFolder(folder, summary)


def _replace(damaged: pathlib.Path, folder: pathlib.Path) -> None:
    """Removes a damaged folder; files that its replacement lacks are moved there."""
    if not folder.exists():  # the replacement is not complete
        damaged.rename(folder)
        return
    for path in damaged.iterdir():
        if not os.path.lexists(folder / path.name):
            path.rename(folder / path.name)
    shutil.rmtree(damaged)


def _find_damage(folder: pathlib.Path, summary: Mapping[str, Any]) -> str:
    """Returns what is wrong with a finished folder; empty if it is whole.

    Raises:
      UnreadableFile: a system error, which is no damage.
    """
    try:
        check_entries(summary, Summary)
        for split in summary["splits"].values():
            check_entries(split, SplitSummary)
            if len(split["range"]) != 2:
                raise ValueError("`range` must be two numbers")
        for name, crc in summary.get("files", {}).items():
            if file_crc(folder / name) != crc:
                return f"{safe(name, 60)} has changed"
        if "files" not in summary:  # of an earlier version
            for path in folder.glob("*.array_record-*"):
                open_file(path).close()  # array_record does not tell system errors from damage
            for split in open_folder(str(folder), None)[1].values():
                for start in range(0, len(split), 256):
                    split.read(range(start, min(start + 256, len(split))))
    except UnreadableFile:
        raise
    except ValueError as error:
        return str(error).rstrip(".")
    except (AttributeError, TypeError):
        return f"{SUMMARY} is damaged"
    return ""


def _has_links(folder: pathlib.Path) -> bool:
    """Returns whether a file that is opened by name may be elsewhere."""
    return any(path.is_symlink() for path in folder.iterdir())


@contextlib.contextmanager
def _lock(folder: pathlib.Path) -> Iterator[None]:
    """Locks the folder; raises ValueError if another process holds the lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is preparing {folder}; wait for it, or use another --name."
            ) from None
        yield
    finally:
        os.close(handle)


def _check_source(source: Source, writing: WriteOptions) -> None:
    """Raises if a prepared folder cannot hold the source, before anything is written."""
    if "x" not in entry_features(tfds_features(source, writing)):
        raise ValueError(
            f"{safe(source.name)} has the entries {', '.join(sorted(source.fields))} and none is"
            f" called image, x, features or image_a; rename one."
        )
    for field in source.fields.values():
        for name in field.names:
            if not name.isprintable() or name != name.strip():
                raise ValueError(
                    f"{safe(source.name)} has a class or attribute called {safe(repr(name), 60)},"
                    f" which cannot be stored as one line of text; rename it."
                )
    for name, split in source.splits.items():
        if not len(split):
            raise ValueError(
                f"split {name} of {safe(source.name)} has no examples; add some, or remove it."
            )


def _origin(source: Source, split: str) -> str:
    """Returns the split of the source that holds the examples of a written split."""
    return split if split in source.splits else "train"


def _assign_splits(source: Source, writing: WriteOptions) -> dict[str, list[int]]:
    """Returns the rows of each written split; hold-outs are from the end of train."""
    out: dict[str, list[int]] = {}
    for name, split in source.splits.items():
        out[name] = list(range(len(split)))
        if source.format in SHUFFLED or writing.group:
            out[name] = _shuffled(_groups(source, split, writing), len(split), writing)
    for name, count in (("test", writing.test), ("validation", writing.validation)):
        if not count:
            continue
        if name in out:
            raise ValueError(
                f"{source.name} has a split {name} of {len(out[name])} examples already; leave out"
                f" --{name}."
            )
        train = out.get("train", [])
        if count >= len(train):
            raise ValueError(
                f"{name}={count} leaves no training example of {source.name}, which has"
                f" {len(train)}; hold out fewer."
            )
        names, start = _groups(source, source.splits["train"], writing), len(train) - count
        while names and start and names[train[start]] == names[train[start - 1]]:
            start -= 1
        if not start:
            raise ValueError(
                f"{name}={count} leaves no training example of {source.name}: the remaining"
                f" examples are all of one group; hold out fewer."
            )
        out[name], out["train"] = train[start:], train[:start]
    return out


def _groups(source: Source, split: Examples, writing: WriteOptions) -> Sequence[str]:
    """Returns the group of every example; () without groups."""
    if not writing.group:
        return ()
    kinds = {name: field.kind for name, field in source.fields.items()}
    if kinds.get(writing.group) not in ("text", "label"):
        usable = sorted(name for name, kind in kinds.items() if kind in ("text", "label"))
        raise ValueError(
            f"{safe(source.name)} has no text or label called '{safe(writing.group, 60)}', it has"
            f" {safe(usable)}; correct --group."
        )
    ignored = re.compile(writing.group_ignore)
    return [ignored.sub("", str(value)) for value in split.column(writing.group)]


def _shuffled(groups: Sequence[str], n: int, writing: WriteOptions) -> list[int]:
    """Returns the order of n examples; those of one group are neighbours."""
    order = Order(n, writing.shuffle_seed).epoch(0).tolist()
    if not groups:
        return order
    # The first examples of large groups tend to come early: with `group`, the groups are
    # shuffled instead, so that held-out ones are as large as others.
    if writing.group:
        distinct = list(dict.fromkeys(groups))
        ranks = Order(len(distinct), writing.shuffle_seed).epoch(0).tolist()
        rank = dict(zip(distinct, ranks, strict=True))
        return sorted(order, key=lambda i: rank[groups[i]])
    first: dict[str, int] = {}
    for place, i in enumerate(order):
        first.setdefault(groups[i], place)
    return sorted(order, key=lambda i: first[groups[i]])


def _plan(
    source: Source, splits: Mapping[str, list[int]], reading: ReadOptions, writing: WriteOptions
) -> dict[str, Any]:
    """Returns the outline of the data and all settings, to compare two calls."""
    how = {k: v for k, v in dataclasses.asdict(writing).items() if k != "workers"}
    order = {s: [len(r), zlib.crc32(np.array(r, np.int64).tobytes())] for s, r in splits.items()}
    plan = {
        "fields": {k: dataclasses.asdict(f) for k, f in source.fields.items()},
        "format": source.format,
        "levels": source.levels,
        "splits": order,
        "reading": dataclasses.asdict(reading),
        "writing": how,
    }
    return json.loads(json.dumps(plan))


def _finish(
    part: pathlib.Path,
    source: Source,
    splits: Mapping[str, list[int]],
    shards: Sequence[Shard],
    writing: WriteOptions,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Writes TFDS metadata, the index of rows, and contact sheets."""
    import tensorflow_datasets as tfds
    from PIL import Image

    index: dict[str, np.ndarray] = {}
    infos, about = [], {}
    features = tfds_features(source, writing)
    x = entry_features(features)["x"]
    for split in splits:
        own = [s for s in shards if f"/{writing.name}-{split}.array_record-" in s.path]
        parts = [read_npz(s.path + ".npz") for s in own]
        lows, highs = zip(*(p.pop("range") for p in parts), strict=True)
        size = sum(int(p.pop("size")) for p in parts)
        for name in set(parts[0]) - {"fingerprint"}:
            index[f"{split}/{name}"] = np.concatenate([p[name] for p in parts])
        index[f"{split}/range"] = np.array([min(lows), max(highs)])
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(s.rows) for s in own],
                num_bytes=size,
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=part,
                    dataset_name=writing.name,
                    split=split,
                    filetype_suffix="array_record",
                ),
            )
        )
        about[split] = {
            "examples": len(splits[split]),
            "shape": list(source.fields[x].shape),
            "range": [float(min(lows)), float(max(highs))],
            "bytes": size,
        }
    levels = source.levels
    if levels is None:  # as in `load`
        highest = max(float(index[f"{split}/range"][1]) for split in splits)
        levels = 0 if np.dtype(source.fields[x].dtype).kind == "f" else default_levels(int(highest))
    index["levels"] = np.array(levels)
    for split in splits:
        if source.fields[x].kind == "image":
            rows, examples = splits[split], source.splits[_origin(source, split)]
            places = np.linspace(0, len(rows) - 1, CONTACT_SHEET_IMAGES).astype(int).tolist()
            images = [examples[rows[i]][x] for i in dict.fromkeys(places)]
            sheet = image_grid(np.stack(images), 0, max(levels - 1, 1))
            Image.fromarray(sheet).save(part / f"contact_sheet-{split}.png")
    tfds.folder_dataset.write_metadata(
        data_dir=part,
        features=features,
        split_infos=infos,
        description=f"{writing.name}, prepared from files read as {source.format}.",
        check_data=False,  # would need TensorFlow
    )
    records = [pathlib.Path(s.path) for s in shards]
    index["files"] = np.array([path.name for path in records])
    index["sizes"] = np.array([path.stat().st_size for path in records], np.int64)
    with (part / INDEX).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **index)
    summary = {
        "levels": levels,
        "checksum": index_checksum(index),
        "splits": about,
        "ignored": list(source.ignored)[:100],
        "ignored_count": len(source.ignored),
        "plan": plan,
    }
    for leftover in [*part.glob("*.part"), *part.glob("*-of-*.npz"), part / PLAN]:
        leftover.unlink(missing_ok=True)
    files = [path for path in sorted(part.iterdir()) if path.suffix != ".png"]
    summary["files"] = {path.name: file_crc(path) for path in files}
    write_file(part / SUMMARY, json.dumps(summary, indent=1).encode())
    return summary


def index_checksum(index: Mapping[str, np.ndarray]) -> str:
    """Returns the CRC-32 over the rows of every split, as `Dataset.checksum`."""
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name, array in index.items():
        split, _, entry = name.partition("/")
        if entry and entry != "range":
            splits.setdefault(split, {})[entry] = array
    return combined_checksum(splits)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return read_object(path, fix="prepare it again")
    except UnreadableFile:
        raise
    except ValueError:
        return {}
