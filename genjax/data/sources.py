"""Read a data set into arrays: the embedded digits, .npz files, TFDS names and folders.

TensorFlow is not needed: TFDS data is read as `array_record`. Nothing is unpickled.
"""

import dataclasses
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from genjax.data.order import Order
from genjax.data.settings import Data

SPLITS = ("train", "validation", "test")
NPZ_LAYOUT = (
    "a .npz holds arrays train, validation and test, [N, ...] each, with optional"
    " train_label, validation_label, test_label [N] and levels []"
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Arrays by split.

    name: as it was asked for.
    splits: `{"train": {"x": [N, *shape], "label": [N]}, ...}`; `label` where there is one.
    levels: integers in `x` run from 0 to levels - 1; 0 for real numbers.
    """

    name: str
    splits: dict[str, dict[str, np.ndarray]]
    levels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape."""
        return self.splits["train"]["x"].shape[1:]

    def counts(self) -> dict[str, int]:
        """Examples in each split."""
        return {name: len(split["x"]) for name, split in self.splits.items()}

    def checksum(self) -> str:
        """CRC-32 over all arrays: tells whether two runs saw the same data."""
        crc = 0
        for name in sorted(self.splits):
            for key in sorted(self.splits[name]):
                array = np.ascontiguousarray(self.splits[name][key])
                crc = zlib.crc32(f"{name} {key} {array.dtype} {array.shape}".encode(), crc)
                crc = zlib.crc32(array.data, crc)
        return f"{crc:08x}"


def load(settings: Data) -> Dataset:
    """Read what the settings name.

    Raises:
      ValueError: one sentence that names the file and the layout expected.
    """
    source = settings.data
    if source in ("digits", "digits_4x4"):
        dataset = _digits(source)
    elif source.endswith(".npz"):
        dataset = _npz(pathlib.Path(source))
    else:
        dataset = _tfds(source, settings.data_dir, settings.limit)
    splits = dict(dataset.splits)
    if "train" not in splits:
        raise ValueError(f"{source} has no split called train, it has {sorted(splits)}.")
    if "validation" not in splits and settings.validation:
        n = len(splits["train"]["x"]) - settings.validation
        if n < 1:
            raise ValueError(
                f"validation={settings.validation} leaves no training example of {source},"
                f" which has {len(splits['train']['x'])}; hold out fewer."
            )
        splits["validation"] = {k: v[n:] for k, v in splits["train"].items()}
        splits["train"] = {k: v[:n] for k, v in splits["train"].items()}
    if settings.limit:
        splits = {s: {k: v[: settings.limit] for k, v in a.items()} for s, a in splits.items()}
    if settings.transform not in ("none", "static") and not dataset.levels:
        raise ValueError(
            f"transform={settings.transform} needs integers, and {source} holds real numbers;"
            f" use transform=none."
        )
    if settings.transform == "static":
        splits = _binarize_once(splits, dataset.levels, settings.binarize_seed)
        return Dataset(source, splits, 2)
    return Dataset(source, splits, dataset.levels)


def save_npz(dataset: Dataset, path: str | os.PathLike) -> None:
    """Write a data set as one compressed .npz that `load` reads where only numpy is."""
    arrays: dict[str, Any] = {"levels": np.int64(dataset.levels)}
    for name, split in dataset.splits.items():
        arrays[name] = split["x"]
        if "label" in split:
            arrays[f"{name}_label"] = split["label"]
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _digits(name: str) -> Dataset:
    """scikit-learn's 8x8 digits, levels 0 .. 16: 1,437 / 180 / 180 by a fixed permutation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, levels = digits.images.astype(np.uint8)[..., None], 17
    if name == "digits_4x4":
        # Sums of 2x2 pixels: integers again, 0 .. 64.
        x = x.reshape(-1, 4, 2, 4, 2, 1).sum((2, 4), dtype=np.uint8)
        levels = 65
    label = digits.target.astype(np.int32)
    perm = Order(len(x), 0).epoch(0)
    cuts = {"train": perm[:1437], "validation": perm[1437:1617], "test": perm[1617:]}
    return Dataset(name, {s: {"x": x[i], "label": label[i]} for s, i in cuts.items()}, levels)


def _npz(path: pathlib.Path) -> Dataset:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; {NPZ_LAYOUT}.")
    try:
        # Opened here: numpy leaves the file open where the archive is damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged bytes
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: it is truncated, not a .npz file, or"
            f" holds Python objects); {NPZ_LAYOUT}."
        ) from None
    # A member that does not begin like an array is handed out as bytes.
    bare = sorted(name for name, x in arrays.items() if not isinstance(x, np.ndarray))
    if bare:
        raise ValueError(f"{path}: {bare[0]!r} is no array; {NPZ_LAYOUT}.")
    if "train" not in arrays:
        raise ValueError(f"{path} has arrays {sorted(arrays)}; {NPZ_LAYOUT}.")
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name in SPLITS:
        if name not in arrays:
            continue
        splits[name] = {"x": _checked(path, name, arrays[name])}
        if f"{name}_label" in arrays:
            label = arrays[f"{name}_label"]
            if label.shape != (len(splits[name]["x"]),) or label.dtype.kind not in "iu":
                raise ValueError(
                    f"{path}: {name}_label must be one integer an example,"
                    f" [{len(splits[name]['x'])}], got {label.dtype}{list(label.shape)}."
                )
            splits[name]["label"] = label.astype(np.int32)
    if len({s["x"].shape[1:] for s in splits.values()}) > 1:
        shapes = {n: s["x"].shape[1:] for n, s in splits.items()}
        raise ValueError(f"{path}: the splits differ in the shape of an example, {shapes}.")
    return Dataset(str(path), splits, _levels(path, arrays.get("levels"), splits))


def _checked(path: Any, name: str, x: np.ndarray) -> np.ndarray:
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


def _levels(path: Any, given: Any, splits: dict[str, dict[str, np.ndarray]]) -> int:
    """Levels as stated, or 2 or 256 by the highest value; 0 for real numbers."""
    if any(s["x"].dtype.kind == "f" for s in splits.values()):
        return 0
    highest = max(int(s["x"].max()) for s in splits.values())
    if given is not None and (given.size != 1 or given.dtype.kind not in "iu" or given < 2):
        raise ValueError(
            f"{path}: levels must be one integer above 1, got {given.dtype}{list(given.shape)}."
        )
    levels = int(given.item()) if given is not None else 0
    levels = levels or (2 if highest <= 1 else 256 if highest <= 255 else highest + 1)
    if highest >= levels:
        raise ValueError(f"{path}: the highest value {highest} does not fit levels={levels}.")
    return levels


def _tfds(source: str, data_dir: str | None, limit: int) -> Dataset:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ValueError(
            f"'{source}' is a TFDS data set and tensorflow-datasets is not installed; install it,"
            f" or give a .npz file ({NPZ_LAYOUT})."
        ) from None
    folder = pathlib.Path(source)
    looks_like_path = folder.is_dir() or os.sep in source
    try:
        if looks_like_path:
            builder = tfds.builder_from_directory(source)
        else:
            builder = tfds.builder(source, data_dir=data_dir or os.environ.get("TFDS_DATA_DIR"))
    except Exception as error:
        what = "a folder with dataset_info.json and features.json" if looks_like_path else "a name"
        raise ValueError(
            f"TFDS knows no data set '{source}' ({type(error).__name__}); give {what} of TFDS, a"
            f" .npz file, or digits."
        ) from None
    where = pathlib.Path(builder.data_path)
    # A name that was never prepared has a path and no files: TFDS would say so much later.
    if not (where / "dataset_info.json").is_file() or not builder.info.splits:
        raise ValueError(
            f"{source} is not prepared in {where}; set TFDS_DATA_DIR to where it is, or prepare it"
            f" with: tfds build {source} --file_format=array_record"
        )
    features = builder.info.features
    key = next((k for k in ("image", "x", "features") if k in features), None)
    if key is None:
        raise ValueError(f"{source} has features {sorted(features)} and none called image.")
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name in (s for s in SPLITS if s in builder.info.splits):
        try:
            records = builder.as_data_source(split=name)
            # Decoding is most of the time, so a limit holds here already; held-out images come
            # from the end of train, which a limit must not cut off first.
            whole = not limit or (name == "train" and "validation" not in builder.info.splits)
            rows = [records[i] for i in range(len(records) if whole else min(limit, len(records)))]
        except Exception as error:
            raise ValueError(
                f"split {name} of {source} in {where} cannot be read ({type(error).__name__}: a"
                f" file is missing, truncated, or not array_record); prepare it again with:"
                f" tfds build {source} --file_format=array_record"
            ) from None
        if len({np.shape(r[key]) for r in rows}) > 1:
            raise ValueError(f"{source} has images of different sizes; resize them first.")
        splits[name] = {"x": _checked(where, name, np.stack([r[key] for r in rows]))}
        if "label" in features and np.ndim(rows[0]["label"]) == 0:
            splits[name]["label"] = np.array([r["label"] for r in rows], np.int32)
    if not splits:
        raise ValueError(f"{source} has splits {sorted(builder.info.splits)}, none of {SPLITS}.")
    return Dataset(source, splits, _levels(where, None, splits))


def _binarize_once(
    splits: dict[str, dict[str, np.ndarray]], levels: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    if not levels:
        raise ValueError("transform=static needs integers, and the data holds real numbers.")
    out = {}
    for number, name in enumerate(SPLITS):
        if name in splits:
            x = splits[name]["x"]
            raw = np.random.Philox(key=[seed, number]).random_raw(x.size).reshape(x.shape)
            u = (raw >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
            out[name] = {**splits[name], "x": (u * (levels - 1) < x).astype(np.uint8)}
    return out
