"""Data sets that TFDS prepared as `array_record`: rows read by number, without TensorFlow."""

import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.data.dataset import row_crcs
from genjax.data.transforms import draw_static

INDEX = "genjax.npz"
CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Rows start .. stop - 1 of a split of a prepared folder; opened where it is read.

    folder: with dataset_info.json and features.json.
    split: as the folder calls it.
    stamp: of the folder's files, `stamp`: a folder made anew is another one.
    static: (seed, number of the split, levels) of a binarisation drawn once for every row.
    """

    folder: str
    split: str
    start: int
    stop: int
    stamp: int = 0
    static: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of `x`."""
        return self.read([0], ("x",))["x"].shape[1:]

    def cut(self, start: int, stop: int) -> "Prepared":
        """Rows start .. stop - 1 of these."""
        stop = min(stop, len(self))
        return dataclasses.replace(self, start=self.start + start, stop=self.start + stop)

    def read(
        self, indices: Sequence[int] | np.ndarray, names: tuple[str, ...] | None = None
    ) -> dict[str, np.ndarray]:
        """The entries of some rows, `[n, ...]` each; all entries, or those named.

        Raises:
          ValueError: a file is missing or damaged, or images differ in size.
        """
        records, features, entries = _open(self.folder, self.split, names, self.stamp)
        numbers = [self.start + int(i) for i in indices]
        try:
            rows = [features.deserialize_example_np(r) for r in records.__getitems__(numbers)]
        except Exception as error:
            raise ValueError(self._unreadable(error)) from None
        try:
            out = entry_values(rows, entries)
        except ValueError:
            raise ValueError(
                f"{self.folder} has images of different sizes; resize them first, with: python -m"
                f" genjax.data.prepare {self.folder} OUT --name NAME --size H W --fit crop"
            ) from None
        if "x" in out:
            out["x"] = checked(self.folder, self.split, out["x"])
        if self.static and "x" in out:
            seed, number, levels = self.static
            rows_at = np.asarray(indices, np.int64)
            out["x"] = draw_static(out["x"], rows_at, levels=levels, seed=seed, stream=number)
        return out

    def all(self) -> dict[str, np.ndarray]:
        """Every row, in order, held against the checksums that `prepare` left."""
        parts = [self.read(chunk) for chunk in _chunks(len(self))]
        if not parts:
            raise ValueError(f"split {self.split} of {self.folder} holds no examples.")
        if len({p["x"].shape[1:] for p in parts}) > 1:
            raise ValueError(f"{self.folder} has images of different sizes; resize them first.")
        found = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        known = _index(self.folder, self.stamp)
        for entry, array in found.items():
            kept = known.get(f"{self.split}/{entry}")
            if kept is None or self.static:
                continue
            differ = np.flatnonzero(kept[self.start : self.stop] != row_crcs(array))
            if differ.size:
                raise ValueError(
                    f"row {self.start + int(differ[0])} of split {self.split} of {self.folder} is"
                    f" not what was prepared ({differ.size} rows differ); prepare it again."
                )
        return found

    def crcs(self) -> dict[str, np.ndarray]:
        """`row_crcs` of every entry: those `prepare` left, else read now, row by row."""
        return dataclasses.replace(self, static=None)._survey()[0]

    def highest(self) -> float:
        """The highest number in `x`."""
        return dataclasses.replace(self, static=None)._survey()[1]

    def nbytes(self) -> int:
        """Memory that `x` of every row would take."""
        return int(self.read([0], ("x",))["x"].nbytes) * len(self)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - frozen and small
    def _survey(self) -> tuple[dict[str, np.ndarray], float]:
        known, prefix = _index(self.folder, self.stamp), f"{self.split}/"
        whole = {k[len(prefix) :]: v for k, v in known.items() if k.startswith(prefix)}
        if whole:
            high = float(whole.pop("range")[1])
            return {k: v[self.start : self.stop] for k, v in whole.items()}, high
        parts: dict[str, list[np.ndarray]] = {}
        high = 0.0
        for chunk in _chunks(len(self)):
            rows = self.read(chunk)
            high = max(high, float(rows["x"].max()))
            for key, value in rows.items():
                parts.setdefault(key, []).append(row_crcs(value))
        return {k: np.concatenate(v) for k, v in parts.items()}, high

    def _unreadable(self, error: Exception) -> str:
        return (
            f"split {self.split} of {self.folder} cannot be read ({type(error).__name__}: a file is"
            f" missing, truncated, or not array_record); prepare it again."
        )


def find_builder(source: str, data_dir: str | None) -> tuple[Any, pathlib.Path, dict[str, int]]:
    """TFDS's builder of a name or of a prepared folder, the folder, and examples by split.

    Raises:
      ValueError: TFDS does not know it, or it is not prepared here; one sentence with the fix.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ValueError(
            f"'{source}' is a TFDS data set and tensorflow-datasets is not installed; install it,"
            f" or give a .npz file made by python -m genjax.data."
        ) from None
    given = pathlib.Path(source)
    looks_like_path = given.exists() or os.sep in source
    if given.exists() and not (given / "dataset_info.json").is_file():
        raise ValueError(
            f"{source} is not prepared (it has no dataset_info.json); prepare it with: python -m"
            f" genjax.data.prepare {source} OUT --name NAME"
        )
    try:
        if looks_like_path:
            builder = tfds.builder_from_directory(source)
        else:
            builder = tfds.builder(source, data_dir=data_dir or os.environ.get("TFDS_DATA_DIR"))
        folder = pathlib.Path(builder.data_path)
        # A name that was never prepared has a path and no files: TFDS would say so much later.
        splits = builder.info.splits if (folder / "dataset_info.json").is_file() else None
        counts = {name: int(split.num_examples) for name, split in (splits or {}).items()}
    except Exception as error:
        what = "a folder with dataset_info.json and features.json" if looks_like_path else "a name"
        raise ValueError(
            f"TFDS knows no data set '{source}' ({type(error).__name__}); give {what} of TFDS, a"
            f" .npz file, or digits."
        ) from None
    if not counts:
        raise ValueError(
            f"{source} is not prepared in {folder}; set TFDS_DATA_DIR to where it is, or prepare it"
            f" with: tfds build {source} --file_format=array_record"
        )
    return builder, folder, counts


def open_prepared(source: str, data_dir: str | None) -> tuple[dict[str, Prepared], dict[str, Any]]:
    """The splits of a TFDS name or of a prepared folder, and the names of classes and attributes.

    Raises:
      ValueError: as `find_builder`; or it has no images, or files that do not match its metadata.
    """
    builder, folder, counts = find_builder(source, data_dir)
    features = builder.info.features
    entries = entries_of(features)
    if "x" not in entries:
        raise ValueError(f"{source} has features {sorted(features)} and none called image.")
    now = stamp(folder)
    rows = {name: Prepared(str(folder), name, 0, n, now) for name, n in counts.items()}
    for split in rows.values():
        records, _, _ = _open(split.folder, split.split, None, now)
        if len(records) != len(split):
            raise ValueError(
                f"split {split.split} of {folder} has {len(records)} records and dataset_info.json"
                f" says {len(split)}; prepare it again."
            )
    return rows, {e: names_of(features[k]) for e, k in entries.items() if names_of(features[k])}


def entries_of(features: Any) -> dict[str, str]:
    """Which feature is which entry of an example: `{"x": "image", "label": "label"}`."""
    found = {}
    image = next((k for k in ("image", "x", "features", "image_a") if k in features), None)
    if image is not None:
        found["x"] = image
    if "image_b" in features and image == "image_a":
        found["y"] = "image_b"
    if "label" in features and features["label"].shape == ():
        found["label"] = "label"
    if "attributes" in features:
        found["attributes"] = "attributes"
    if "caption" in features and features["caption"].shape == ():
        found["caption"] = "caption"
    return found


def entry_values(
    rows: Sequence[Mapping[str, Any]], entries: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Decoded examples as arrays, `[len(rows), ...]` an entry.

    Raises:
      ValueError: the rows differ in shape.
    """
    return {
        entry: _typed(entry, np.stack([_value(row[key]) for row in rows]))
        for entry, key in entries.items()
    }


def names_of(feature: Any) -> tuple[str, ...]:
    """Names of a label's classes, where they have names, or of attributes."""
    if getattr(feature, "names", None):
        return tuple(feature.names)
    # By name: TFDS keeps them in a map without an order.
    return tuple(sorted(feature)) if hasattr(feature, "keys") else ()


def levels_of(folder: str) -> int | None:
    """What `prepare` knows of the levels; None for folders that others prepared."""
    known = _index(folder, stamp(folder))
    return int(known["levels"]) if "levels" in known else None


def stamp(folder: str | os.PathLike) -> int:
    """A number that changes when a file of a folder does: CRC-32 of names, sizes and times."""
    with os.scandir(os.fspath(folder)) as entries:
        files = sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries)
    return zlib.crc32(repr(files).encode())


def checked(path: Any, name: str, x: np.ndarray) -> np.ndarray:
    """Examples `[N, ...]` as uint8 or another integer from 0, or as finite float32.

    Raises:
      ValueError: they are neither; one sentence naming `path` and the split.
    """
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{path}: {name} must be [N, ...] with N above 0, got {list(x.shape)}.")
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype.kind not in "iuf":
        raise ValueError(f"{path}: {name} must hold numbers, got {x.dtype}.")
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity as float32; clean it first.")
        return x
    if x.min() < 0:
        raise ValueError(f"{path}: {name} holds integers below 0; levels start at 0.")
    return x


@functools.lru_cache(maxsize=32)
def _open(
    folder: str, split: str, names: tuple[str, ...] | None, stamp: int
) -> tuple[Any, Any, dict[str, str]]:
    """Raw records of a split, the features to decode of each, and which entry is which."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        records = builder.as_data_source(
            split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        entries = entries_of(builder.info.features)
        if names is not None:
            entries = {name: entries[name] for name in names}
        wanted = {key: builder.info.features[key] for key in entries.values()}
    except Exception as error:
        raise ValueError(
            f"split {split} of {folder} cannot be read ({type(error).__name__}: a file is missing,"
            f" truncated, or not array_record); prepare it again."
        ) from None
    return records, tfds.features.FeaturesDict(wanted), entries


@functools.lru_cache(maxsize=8)
def _index(folder: str, stamp: int) -> dict[str, np.ndarray]:
    """What `prepare` left about the rows; nothing for folders that others prepared."""
    path = pathlib.Path(folder) / INDEX
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}); prepare the folder again."
        ) from None


def _value(value: Any) -> Any:
    """Attributes of TFDS are a dict of booleans; text is bytes."""
    if isinstance(value, dict):
        return np.array([value[name] for name in sorted(value)])
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _typed(entry: str, array: np.ndarray) -> np.ndarray:
    if entry == "label":
        return array.astype(np.int32)
    return array.astype(np.uint8) if entry == "attributes" else array


def _chunks(n: int) -> list[range]:
    return [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
