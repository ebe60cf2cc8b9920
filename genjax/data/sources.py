"""Loading of data sets: embedded digits, .npz and .csv files, TFDS names and prepared folders.

TFDS data is read as `array_record`, without TensorFlow. Nothing is unpickled.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.data import cross_validation, toy_mixtures
from genjax.data.attribute_selection import select_attributes
from genjax.data.csv_table import read_csv
from genjax.data.data_config import Data
from genjax.data.dataset import SPLITS, Dataset, default_levels
from genjax.data.digit_styles import DIGIT_STYLES, load_styles
from genjax.data.file_io import error_reason, open_file
from genjax.data.glyphs import GLYPHS, load_glyphs
from genjax.data.label_subsets import limit_labels
from genjax.data.npz import check_table, read_npz
from genjax.data.operations import ENTRIES, IMAGES
from genjax.data.order import Order
from genjax.data.static_binarization import static_images
from genjax.data.tfds_folder import PreparedSplit, check_examples, open_prepared
from genjax.data.transforms import binarization, output_spec, parse_transform

RESIDENT_BYTES = 2**31
NPZ_LAYOUT = (
    "a .npz holds arrays train, validation and test, [N, ...] each, with optional"
    " train_label, validation_label, test_label [N] and levels []; or one table data [N, D], with"
    " --folds"
)


def load(settings: Data) -> Dataset:
    """Loads a data set, with everything that `settings` selects.

    Raises:
      ValueError: the data does not exist, cannot be read, or does not fit the settings; the message
        names the file and the expected layout.

    >>> load(Data(data="digits", limit=100)).counts()
    {'train': 100, 'validation': 100, 'test': 100}
    """
    source = settings.data
    names: dict[str, tuple[str, ...]] = {}
    levels: int | None = None
    splits: dict[str, Any]
    is_table, stacked = False, _is_stacked_name(source)
    made: Dataset | None = None
    if source in ("digits", "digits_4x4"):
        splits, levels = _digits(source)
    elif source in (*GLYPHS, *DIGIT_STYLES):
        made = load_glyphs(source) if source in GLYPHS else load_styles(source, *_digits("digits"))
        splits, levels, names = made.splits, made.levels, dict(made.names)
    elif source in toy_mixtures.GAUSSIANS:
        splits, levels = toy_mixtures.gaussians(source), 0
    elif stacked:
        splits, levels = _stacked(settings)
    elif source.endswith(".npz"):
        file = _read_arrays(pathlib.Path(source))
        is_table = set(file) == {"data"}
        if is_table:
            check_table(source, file["data"])
            splits, levels = cross_validation.table_splits(file["data"], settings)
        else:
            splits, levels = _npz(pathlib.Path(source), file, settings.unpaired)
            names = _attribute_names(source, file, splits)
    elif source.endswith(".csv"):
        is_table = True
        splits, levels = cross_validation.table_splits(read_csv(pathlib.Path(source)), settings)
    else:
        splits, names = open_prepared(source, settings.data_dir)
        levels = next(iter(splits.values())).levels
    unpaired = settings.unpaired or bool(made and made.unpaired)
    paired = made.paired if made else _paired_splits(splits)
    domains = _domains(splits, settings, unpaired)
    if not stacked:  # `_stacked` held out already
        domains = [_hold_out(d, settings) for d in domains]
    stream = any(_streams(d["train"], settings) for d in domains)
    arrays, streams = _load_or_stream(domains[0], stream)
    y_arrays, y_streams = _load_or_stream(domains[1], stream) if len(domains) > 1 else ({}, {})
    arrays = {s: v | y_arrays.get(s, {}) for s, v in arrays.items()}
    if levels is None:
        levels = _prepared_levels(source, arrays, [*streams.values(), *y_streams.values()])
    dataset = Dataset(
        source,
        arrays,
        levels,
        streams,
        names,
        unpaired=len(domains) > 1,
        y_streams=y_streams,
        paired=frozenset(s for s in domains[0] if (s if s in splits else "train") in paired),
        render=made.render if made else None,
    )
    dataset = select_attributes(dataset, settings.attributes)
    _check_transform(settings.transform, dataset)
    dataset = cross_validation.standardize(dataset, settings, is_table)
    if binarization(settings.transform) == "static":
        dataset = _static(dataset, settings.binarize_seed)
    return limit_labels(dataset, settings)


def example_shape(settings: Data) -> tuple[int, ...]:
    """Returns the shape of a transformed example, read from the first one where that suffices.

    Raises:
      ValueError: as `load`.
    """
    whole = dataclasses.replace(settings, labels_per_class=0, standardize=False, stream="no")
    try:
        dataset = load(dataclasses.replace(whole, limit=1))
    except ValueError:  # the levels of one example may be fewer than those of all
        dataset = load(whole)
    return output_spec(settings.transform, dataset).shape


def is_table(source: str) -> bool:
    """Returns whether a source is one table without splits; False if it cannot be read."""
    if not source.endswith(".npz"):
        return source.endswith(".csv")
    try:
        with open_file(source) as file, zipfile.ZipFile(file) as archive:
            return archive.namelist() == ["data.npy"]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _check_transform(transform: str, dataset: Dataset) -> None:
    """Raises if an operation cannot be applied to the data."""
    entries = dataset.entries("train")
    for operation in parse_transform(transform):
        missing = set(operation.keys) - entries
        if missing and operation.keys != IMAGES:  # by default, y is optional
            raise ValueError(
                f"transform '{transform}': {dataset.name} has no {min(missing)}, it has"
                f" {', '.join(sorted(entries))}; leave it out of keys."
            )
    for name in sorted(entries & set(ENTRIES)):
        output_spec(transform, dataset, name)


def _is_stacked_name(source: str) -> bool:
    """Returns whether the name is of images to be stacked, and not of a file."""
    if not source.startswith(toy_mixtures.STACKED_PREFIX):
        return False
    path = pathlib.Path(source)
    return not (path.is_file() or any(path.glob("**/dataset_info.json")))


def _paired_splits(splits: dict[str, Any]) -> frozenset[str]:
    """Returns the splits whose `x` and `y` have as many rows: such rows are pairs."""

    def paired(part: Any) -> bool:
        if isinstance(part, PreparedSplit):
            return "y" in part.entries()
        return "y" in part and len(part["y"]) == len(part["x"])

    return frozenset(split for split, part in splits.items() if paired(part))


def _domains(loaded: dict[str, Any], settings: Data, unpaired: bool) -> list[dict[str, Any]]:
    """Returns the splits of the data, or of each of its two domains."""
    if "train" not in loaded and "trainA" in loaded and "trainB" in loaded:
        return [
            {
                split: dataclasses.replace(loaded[split + side], renamed=((name, "x"),))
                for split in SPLITS
                if split + side in loaded
            }
            for side, name in (("A", "x"), ("B", "y"))
        ]
    if "train" not in loaded:
        raise ValueError(f"{settings.data} has no split called train, it has {sorted(loaded)}.")
    splits = {s: loaded[s] for s in SPLITS if s in loaded}
    if not unpaired:
        return [splits]
    for split, part in splits.items():
        if "y" not in (part.entries() if isinstance(part, PreparedSplit) else part):
            raise ValueError(
                f"{settings.data} has no second image y in {split}; add {split}_y, or leave out"
                f" --unpaired."
            )

    def domain(part: Any, name: str) -> Any:
        if isinstance(part, PreparedSplit):
            own = [k for k in part.entries() if (k == "y") == (name == "y")]
            return dataclasses.replace(part, renamed=tuple((k, k) for k in own))
        return {k: v for k, v in part.items() if (k == "y") == (name == "y")}

    return [{s: domain(part, name) for s, part in splits.items()} for name in ("x", "y")]


def _hold_out(splits: dict[str, Any], settings: Data) -> dict[str, Any]:
    """Holds out validation images from the end of train, and keeps the first `limit` of each."""

    def part(split: Any, start: int, stop: int) -> Any:
        if isinstance(split, PreparedSplit):
            return split.slice(start, stop)
        return {k: v[start:stop] for k, v in split.items()}

    def size(split: Any) -> int:
        return len(split) if isinstance(split, PreparedSplit) else len(next(iter(split.values())))

    train = splits["train"]
    if "validation" not in splits and settings.validation:
        n = size(train) - settings.validation
        if n < 1:
            raise ValueError(
                f"validation={settings.validation} leaves no training example of {settings.data},"
                f" which has {size(train)}; hold out fewer."
            )
        splits = {**splits, "train": part(train, 0, n), "validation": part(train, n, size(train))}
    if settings.limit:
        splits = {s: part(v, 0, settings.limit) for s, v in splits.items()}
    return splits


def _streams(train: Any, settings: Data) -> bool:
    """Returns whether train stays on disk: on request, or if it would fill the memory."""
    if isinstance(train, PreparedSplit):
        large = settings.stream == "auto" and train.nbytes() > RESIDENT_BYTES
        return settings.stream == "yes" or large
    if settings.stream == "yes":
        raise ValueError(
            f"{settings.data} is read whole and cannot be streamed; prepare it with: genjax prepare"
            f" {settings.data} OUT --name NAME."
        )
    return False


def _load_or_stream(
    splits: dict[str, Any], stream: bool
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, PreparedSplit]]:
    """Returns the splits in memory and those on disk."""
    if not isinstance(splits["train"], PreparedSplit):
        return splits, {}
    streams = {"train": splits["train"]} if stream else {}
    return {s: v.all() for s, v in splits.items() if s not in streams}, streams


def _prepared_levels(
    source: str, arrays: dict[str, dict[str, np.ndarray]], streams: Sequence[Any]
) -> int:
    """Returns the levels of a folder prepared by TFDS, from its values."""
    for i, rows in enumerate(streams):
        if any(v.dtype.kind == "f" for k, v in rows.read([0]).items() if k in IMAGES):
            return 0
        arrays = {**arrays, f"stream {i}": {"x": np.array([[int(rows.highest())]])}}
    return _levels(source, None, arrays)


def _static(dataset: Dataset, seed: int) -> Dataset:
    """Binarizes all images once; the checksum stays that of the original data."""
    splits = {
        name: arrays | static_images(arrays, None, seed, SPLITS.index(name), dataset.levels)
        for name, arrays in dataset.splits.items()
    }

    def drawn(streams: Any) -> dict[str, Any]:
        return {
            name: dataclasses.replace(rows, static=(seed, SPLITS.index(name), dataset.levels))
            for name, rows in streams.items()
        }

    streams, y_streams = drawn(dataset.streams), drawn(dataset.y_streams)
    return dataset.replace_arrays(splits, levels=2, streams=streams, y_streams=y_streams)


def save_npz(dataset: Dataset, path: str | os.PathLike) -> None:
    """Saves a data set as one compressed .npz file, which `load` reads with NumPy alone."""
    arrays: dict[str, Any] = {"levels": np.int64(dataset.levels)}
    for name, split in dataset.splits.items():
        arrays[name] = split["x"]
        for entry in sorted(set(split) - {"x"}):
            arrays[f"{name}_{entry}"] = split[entry]
    if dataset.names.get("attributes"):
        arrays["attribute_names"] = np.array(dataset.names["attributes"])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _digits(name: str) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns scikit-learn's 8x8 digits, levels 0 .. 16, split 1,437 / 180 / 180."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, levels = digits.images.astype(np.uint8)[..., None], 17
    if name == "digits_4x4":
        # Sums of 2x2 pixels are integers in 0 .. 64.
        x = x.reshape(-1, 4, 2, 4, 2, 1).sum((2, 4), dtype=np.uint8)
        levels = 65
    label = digits.target.astype(np.int32)
    perm = Order(len(x), 0).epoch(0)
    cuts = {"train": perm[:1437], "validation": perm[1437:1617], "test": perm[1617:]}
    return {s: {"x": x[i], "label": label[i]} for s, i in cuts.items()}, levels


def _stacked(settings: Data) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns stacks of another data set, split first so that splits share no image."""
    name = settings.data.removeprefix(toy_mixtures.STACKED_PREFIX)
    single = load(
        dataclasses.replace(settings, data=name, transform="", stream="no", labels_per_class=0)
    )
    return toy_mixtures.stacked(name, single.splits), single.levels


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        open_file(path).close()
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; {NPZ_LAYOUT}.") from None
    try:
        return read_npz(path)
    except Exception as error:  # NumPy and zipfile raise many types on damaged files
        raise ValueError(
            f"{path} cannot be read ({error_reason(error)}: truncated, not a .npz file, or with"
            f" Python objects); {NPZ_LAYOUT}."
        ) from None


def _npz(
    path: pathlib.Path, arrays: dict[str, np.ndarray], unpaired: bool
) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns the splits of a .npz, and the levels."""
    if "train" not in arrays:
        raise ValueError(f"{path} has arrays {sorted(arrays)}; {NPZ_LAYOUT}.")
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name in SPLITS:
        if name not in arrays:
            continue
        splits[name] = {"x": check_examples(path, name, arrays[name])}
        for entry in ("attributes", "caption", "y", "label"):
            if f"{name}_{entry}" in arrays:
                splits[name][entry] = _read_entry(path, name, entry, arrays, unpaired)
    if len({s["x"].shape[1:] for s in splits.values()}) > 1:
        shapes = {n: s["x"].shape[1:] for n, s in splits.items()}
        raise ValueError(
            f"{path}: splits have examples of different shapes, {shapes}; make them agree."
        )
    return splits, _levels(path, arrays.get("levels"), splits)


def _read_entry(
    path: Any, name: str, entry: str, arrays: dict[str, Any], unpaired: bool
) -> np.ndarray:
    """Returns the entries of the examples of a split, checked and cast."""
    array, n = arrays[f"{name}_{entry}"], len(arrays[name])
    if entry == "label":
        if array.shape != (n,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: {name}_label must be one integer per example, [{n}], got {array.dtype}"
                f"{list(array.shape)}."
            )
        return array.astype(np.int32)
    kinds, axes = {"attributes": ("iub", 2), "caption": ("U", 1), "y": ("iuf", 4)}[entry]
    free = unpaired and entry == "y"
    if array.ndim != axes or (len(array) != n and not free):
        fix = " (or set --unpaired)" if entry == "y" and array.ndim == axes else ""
        raise ValueError(f"{path}: {name}_{entry} must have {axes} axes and {n} rows{fix}.")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{path}: {name}_{entry} has the wrong dtype, {array.dtype}; cast it.")
    if entry == "y":
        return check_examples(path, f"{name}_y", array)
    return array.astype(np.uint8) if entry == "attributes" else array


def _attribute_names(
    path: Any, arrays: dict[str, np.ndarray], splits: dict[str, dict[str, np.ndarray]]
) -> dict[str, tuple[str, ...]]:
    """Returns the names of the attributes of a .npz, if it has them."""
    given = arrays.get("attribute_names")
    if given is None:
        return {}
    counts = {v["attributes"].shape[1] for v in splits.values() if "attributes" in v}
    names = tuple(given.tolist()) if given.dtype.kind == "U" and given.ndim == 1 else ()
    if counts != {len(names)} or len(set(names)) != len(names):
        raise ValueError(
            f"{path}: attribute_names must hold one name for each of the attributes"
            f" ({', '.join(map(str, sorted(counts))) or 'there are none'}), got"
            f" {given.dtype}{list(given.shape)}."
        )
    return {"attributes": names}


def _levels(path: Any, given: Any, splits: dict[str, dict[str, np.ndarray]]) -> int:
    """Returns the levels: as stated, or derived from the highest value; 0 for real numbers."""
    images = [s[name] for s in splits.values() for name in IMAGES if name in s]
    real = [x.dtype.kind == "f" for x in images]
    if any(real):
        if not all(real) and any("y" in s for s in splits.values()):
            raise ValueError(f"{path}: x and y must both hold integers or both real numbers.")
        return 0
    highest = max(int(x.max()) for x in images)
    if given is not None and (given.size != 1 or given.dtype.kind not in "iu" or given < 2):
        raise ValueError(
            f"{path}: levels must be one integer above 1, got {given.dtype}{list(given.shape)}."
        )
    levels = default_levels(highest) if given is None else int(given.item())
    if highest >= levels:
        raise ValueError(
            f"{path}: the highest value {highest} is not below levels={levels}; correct levels."
        )
    return levels
