"""Records of prepared folders: files are opened once, rows decoded and checked.

array_record detects damage by hashes of every chunk; truncated and replaced files are detected by
size and number of records.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from genjax.data import image_decoding
from genjax.data.dataset import row_crcs
from genjax.data.file_io import error_reason, is_file, safe
from genjax.data.metadata import INDEX, folder_fingerprint, metadata
from genjax.data.npz import read_npz

THREADS = 16
MAX_CAPTION = 2**16  # characters of a text


@dataclasses.dataclass(frozen=True)
class _ShardFile:
    """A file of a split, in the form that array_record's data source expects."""

    filename: str
    take: int
    examples_in_shard: int
    skip: int = 0


@functools.lru_cache(maxsize=32)
def open_records(folder: str, split: str, fingerprint: str) -> Any:
    """Opens the raw records of a split.

    Raises:
      ValueError: the folder has changed since `fingerprint`; or a file is missing, truncated, or
        has another number of records than the metadata state.
    """
    from array_record.python import array_record_data_source, array_record_module

    if folder_fingerprint(folder) != fingerprint:
        raise ValueError(
            f"{safe(folder)} has changed since it was opened; start the command again."
        )
    shards = metadata(folder, fingerprint).splits[split]
    sizes = load_index(folder, fingerprint).sizes

    def problem(shard: tuple[str, int]) -> str:
        name, examples = shard
        path = pathlib.Path(folder, name)
        if not is_file(path):
            return f"{name} is missing"
        size = path.stat().st_size
        if size == 0 or sizes.get(name, size) != size:
            return f"{name} has {size} bytes"
        try:
            reader = array_record_module.ArrayRecordReader(str(path))
            records = reader.num_records()
            reader.close()
        except Exception as error:
            return f"{name}, {error_reason(error)}"
        if not records:
            return f"{name} is not array_record"
        differ = f"{name} has {records} records for {examples} examples"
        return differ if records != examples else ""

    with futures.ThreadPoolExecutor(THREADS) as pool:
        why = next(filter(None, pool.map(problem, shards)), "")
    if why:
        raise _unreadable_error(folder, split, why)
    parts = [_ShardFile(str(pathlib.Path(folder, name)), n, n) for name, n in shards]
    return array_record_data_source.ArrayRecordDataSource(parts)


def read_rows(
    folder: str, split: str, fingerprint: str, keys: tuple[str, ...], numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """Reads features `keys` of some rows of a split; images `[H, W, C]`, text as str.

    Raises:
      ValueError: as `open_records`; or a record is damaged or has other features.
    """
    records = open_records(folder, split, fingerprint)
    decode = _decoder(folder, fingerprint, keys)
    try:
        raw = records.__getitems__(list(numbers))
    except Exception as error:
        raise _unreadable_error(folder, split, error_reason(error)) from None
    where = [f"row {number} of split {split} of {folder}" for number in numbers]
    return [decode(record, row) for record, row in zip(raw, where, strict=True)]


class Decoder:
    """Decodes records to the values of some features."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        from tensorflow_datasets import features as kinds

        self.features = dict(features)
        # Images are parsed as bytes: TFDS would decode any number of pixels.
        self._parser = kinds.FeaturesDict(
            {k: kinds.Text() if isinstance(f, kinds.Image) else f for k, f in features.items()}
        )

    def __call__(self, record: bytes, where: str) -> dict[str, Any]:
        """Returns images `[H, W, C]`, attributes uint8 `[A]` and text as str.

        Raises:
          ValueError: the record does not have these features; the message names `where`.
        """
        try:
            parsed = self._parser.deserialize_example_np(record)
            values = {key: parsed[key] for key in self.features}
            return {
                key: _convert_value(values[key], f, where, key) for key, f in self.features.items()
            }
        except ValueError as error:
            if where in str(error):
                raise
            reason = error_reason(error)
        except Exception as error:
            reason = error_reason(error)
        raise ValueError(
            f"{safe(where)} does not have the features of features.json ({reason}); prepare it"
            f" again."
        )


@functools.lru_cache(maxsize=32)
def _decoder(folder: str, fingerprint: str, keys: tuple[str, ...]) -> Decoder:
    return Decoder({key: metadata(folder, fingerprint).features[key] for key in keys})


@dataclasses.dataclass(frozen=True)
class Index:
    """The index that `prepare` writes; empty for folders prepared by TFDS.

    Attributes:
      levels: levels of the images; None if unknown.
      crcs: `{split: {entry: row_crcs}}`.
      highest: highest value of each split.
      sizes: size of every file in bytes.
    """

    levels: int | None
    crcs: Mapping[str, Mapping[str, np.ndarray]]
    highest: Mapping[str, float]
    sizes: Mapping[str, int]


@functools.lru_cache(maxsize=8)
def load_index(folder: str, fingerprint: str) -> Index:
    """Reads the index of a folder.

    Raises:
      ValueError: it is damaged, or has other splits than the metadata.
    """
    path = pathlib.Path(folder, INDEX)
    if not path.exists() and not path.is_symlink():
        return Index(None, {}, {}, {})
    try:
        return _parse_index(read_npz(path), folder, fingerprint)
    except Exception as error:
        raise ValueError(
            f"{safe(path)} is damaged ({safe(error_reason(error), 300)}); prepare the folder again."
        ) from None


def _parse_index(arrays: Mapping[str, np.ndarray], folder: str, fingerprint: str) -> Index:
    about = metadata(folder, fingerprint)
    levels = int(arrays["levels"].item())
    if arrays["levels"].dtype.kind != "i" or not 0 <= levels < 2**31:
        raise ValueError(f"levels is {levels}")
    files = arrays.get("files", np.array([], "U"))
    sizes = arrays.get("sizes", np.array([], np.int64))
    if files.shape != sizes.shape or files.dtype.kind != "U" or sizes.dtype.kind != "i":
        raise ValueError("files and sizes do not match")
    crcs: dict[str, dict[str, np.ndarray]] = {split: {} for split in about.splits}
    highest = {}
    for name, array in arrays.items():
        split, _, entry = name.partition("/")
        if split not in crcs or not entry:
            continue
        if entry == "range":
            highest[split] = float(array.reshape(2)[1])
        elif array.dtype != np.uint32 or array.shape != (about.count(split),):
            raise ValueError(f"{name} does not match the split")
        else:
            crcs[split][entry] = array
    if any("x" not in crcs[s] or not np.isfinite(highest.get(s, np.nan)) for s in crcs):
        raise ValueError("a split is missing")
    return Index(levels, crcs, highest, dict(zip(files.tolist(), sizes.tolist(), strict=True)))


def check_rows(
    folder: str,
    split: str,
    fingerprint: str,
    numbers: Sequence[int],
    entries: Mapping[str, np.ndarray],
) -> None:
    """Checks entries of rows against the checksums of the index, if there are any.

    Raises:
      ValueError: a row has changed.
    """
    known = load_index(folder, fingerprint).crcs.get(split, {})
    for entry, array in entries.items():
        if entry not in known:
            continue
        differ = np.flatnonzero(known[entry][list(numbers)] != row_crcs(array))
        if differ.size:
            raise ValueError(
                f"row {numbers[int(differ[0])]} of split {split} of {safe(folder)} has changed"
                f" since it was prepared; prepare it again."
            )


def _convert_value(value: Any, feature: Any, where: str, key: str) -> Any:
    """Converts a value and checks it against its feature."""
    from tensorflow_datasets import features

    if isinstance(feature, features.Sequence):  # of texts
        if not isinstance(value, (list, np.ndarray)) or not all(
            isinstance(text, bytes) for text in value
        ):
            raise ValueError(f"{safe(where)} has no {safe(key)}; prepare it again.")
        return [_text(text, where, key) for text in value]
    if isinstance(feature, features.FeaturesDict):
        # Sorted: TFDS stores them in an unordered map.
        return np.array([bool(value[name]) for name in sorted(feature)], np.uint8)
    if isinstance(feature, (features.Image, features.Text)):
        if not isinstance(value, bytes):
            raise ValueError(f"{safe(where)} has no {safe(key)}; prepare it again.")
        if isinstance(feature, features.Text):
            return _text(value, where, key)
        x = image_decoding.decode_stored(value, f"{key} of {where}", feature.shape[-1])
        if feature.np_dtype == np.float32:
            x = x.view(np.float32)
        value = x
    elif isinstance(feature, features.ClassLabel):
        # TFDS uses -1 for unknown labels.
        if not -1 <= int(value) < feature.num_classes:
            raise ValueError(
                f"{safe(where)} has {safe(key)} {int(value)} of {feature.num_classes} classes;"
                f" prepare it again."
            )
        return int(value)
    fits = [b is None or a == b for a, b in zip(np.shape(value), feature.shape, strict=False)]
    if np.ndim(value) != len(feature.shape) or not all(fits):
        raise ValueError(
            f"{safe(where)} has {safe(key)} of shape {np.shape(value)}, and features.json says"
            f" {feature.shape}; prepare it again."
        )
    return value


def _text(value: bytes, where: str, key: str) -> str:
    text = value.decode(errors="replace")
    if len(text) > MAX_CAPTION:
        raise ValueError(
            f"{safe(where)} has {safe(key)} of {len(text):,} characters, above {MAX_CAPTION:,};"
            f" shorten it, and prepare the data again."
        )
    return text


def _unreadable_error(folder: str, split: str, why: str) -> ValueError:
    return ValueError(
        f"split {split} of {safe(folder)} cannot be read ({safe(why, 200)}: a file is missing,"
        f" truncated, damaged, or not array_record); prepare it again."
    )
