"""Read a data set into arrays: the embedded digits, .npz files, TFDS names and folders.

TensorFlow is not needed: TFDS data is read as `array_record`. Nothing is unpickled.
"""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from genjax.data import cross_validation, toy_mixtures
from genjax.data.data_config import Data
from genjax.data.dataset import SPLITS, Dataset, levels_for, row_crcs
from genjax.data.file_io import reason
from genjax.data.label_subsets import few_labels
from genjax.data.npz import read_npz
from genjax.data.order import Order
from genjax.data.tfds_folder import Prepared, checked, open_prepared
from genjax.data.transforms import IMAGES, binarization, output_spec, static_images

RESIDENT_BYTES = 2**31
NPZ_LAYOUT = (
    "a .npz holds arrays train, validation and test, [N, ...] each, with optional"
    " train_label, validation_label, test_label [N] and levels []; or one table data [N, D], with"
    " --folds"
)


def load(settings: Data) -> Dataset:
    """Read what the settings name.

    Raises:
      ValueError: one sentence that names the file and the layout expected.
    """
    source = settings.data
    names: dict[str, tuple[str, ...]] = {}
    levels: int | None = None
    found: dict[str, Any]
    table, stacked = None, _is_stacked(source)
    if source in ("digits", "digits_4x4"):
        found, levels = _digits(source)
    elif source in toy_mixtures.GAUSSIANS:
        found, levels = toy_mixtures.gaussians(source), 0
    elif stacked:
        found, levels = _stacked(settings)
    elif source.endswith(".npz"):
        table = cross_validation.table(settings)
        found, levels = table or _npz(pathlib.Path(source))
    else:
        found, names = open_prepared(source, settings.data_dir)
        levels = next(iter(found.values())).levels
    if "train" not in found:
        raise ValueError(f"{source} has no split called train, it has {sorted(found)}.")
    if not stacked:  # whose parts were cut already
        found = _cut({s: found[s] for s in SPLITS if s in found}, settings)
    arrays, streams = _place(found, settings)
    if levels is None:
        levels = _prepared_levels(source, arrays, streams)
    dataset = Dataset(source, arrays, levels, streams, names)
    for name in IMAGES:
        if name in dataset.entries("train"):
            output_spec(settings.transform, dataset, name)  # raises if it cannot be applied
    dataset = cross_validation.standardized(dataset, settings, table is not None)
    if binarization(settings.transform) == "static":
        dataset = _static(dataset, settings.binarize_seed)
    return few_labels(dataset, settings)


def _is_stacked(source: str) -> bool:
    """Whether the name is that of stacks to be made, and not of a file."""
    if not source.startswith(toy_mixtures.STACKED):
        return False
    path = pathlib.Path(source)
    return not (path.is_file() or any(path.glob("**/dataset_info.json")))


def _cut(splits: dict[str, Any], settings: Data) -> dict[str, Any]:
    """Hold out validation images from the end of train, then keep the first `limit` of each."""

    def part(split: Any, start: int, stop: int) -> Any:
        if isinstance(split, Prepared):
            return split.cut(start, stop)
        return {k: v[start:stop] for k, v in split.items()}

    def size(split: Any) -> int:
        return len(split) if isinstance(split, Prepared) else len(split["x"])

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


def _place(
    splits: dict[str, Any], settings: Data
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Prepared]]:
    """Train stays on disk where it is asked for or would fill the memory; the rest is read."""
    train = splits["train"]
    if not isinstance(train, Prepared):
        if settings.stream == "yes":
            raise ValueError(
                f"{settings.data} is read whole and cannot be streamed; prepare it with: python -m"
                f" genjax.cli.prepare {settings.data} OUT --name NAME."
            )
        return splits, {}
    large = settings.stream == "auto" and train.nbytes() > RESIDENT_BYTES
    streams = {"train": train} if settings.stream == "yes" or large else {}
    return {s: v.all() for s, v in splits.items() if s not in streams}, streams


def _prepared_levels(
    source: str, arrays: dict[str, dict[str, np.ndarray]], streams: dict[str, Prepared]
) -> int:
    """Levels of a folder that others prepared, from its numbers."""
    for rows in streams.values():
        if rows.read([0])["x"].dtype.kind == "f":
            return 0
        highest = np.array([[int(rows.highest())]])
        arrays = {**arrays, "train": {"x": highest}}
    return _levels(source, None, arrays)


def _static(dataset: Dataset, seed: int) -> Dataset:
    """Binarise once, every split with its own draws; what was read keeps its checksum."""
    splits, streams, crcs = {}, {}, {}
    for number, name in enumerate(SPLITS):
        if name in dataset.splits:
            arrays = dataset.splits[name]
            crcs[name] = {k: row_crcs(v) for k, v in arrays.items()}
            rows = np.arange(len(arrays["x"]))
            drawn = (seed, number, dataset.levels)
            splits[name] = {**arrays, **static_images(arrays, rows, *drawn)}
        elif name in dataset.streams:
            rows_on_disk: Any = dataset.streams[name]
            drawn = (seed, number, dataset.levels)
            streams[name] = dataclasses.replace(rows_on_disk, static=drawn)
    return dataclasses.replace(dataset, splits=splits, levels=2, streams=streams, crcs=crcs)


def save_npz(dataset: Dataset, path: str | os.PathLike) -> None:
    """Write a data set as one compressed .npz that `load` reads where only numpy is."""
    arrays: dict[str, Any] = {"levels": np.int64(dataset.levels)}
    for name, split in dataset.splits.items():
        arrays[name] = split["x"]
        for entry in sorted(set(split) - {"x"}):
            arrays[f"{name}_{entry}"] = split[entry]
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _digits(name: str) -> tuple[dict[str, dict[str, np.ndarray]], int]:
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
    return {s: {"x": x[i], "label": label[i]} for s, i in cuts.items()}, levels


def _stacked(settings: Data) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Stacks of another data set, whose splits are cut first: no image is in stacks of two."""
    name = settings.data.removeprefix(toy_mixtures.STACKED)
    single = load(
        dataclasses.replace(settings, data=name, transform="", stream="no", labels_per_class=0)
    )
    return toy_mixtures.stacked(name, single.splits), single.levels


def _npz(path: pathlib.Path) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; say where it is with --data ({NPZ_LAYOUT}).")
    try:
        arrays = read_npz(path)
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged bytes
        raise ValueError(
            f"{path} cannot be read ({reason(error)}: it is truncated, not a .npz file, or holds"
            f" Python objects); {NPZ_LAYOUT}."
        ) from None
    if "train" not in arrays:
        raise ValueError(f"{path} has arrays {sorted(arrays)}; {NPZ_LAYOUT}.")
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name in SPLITS:
        if name not in arrays:
            continue
        splits[name] = {"x": checked(path, name, arrays[name])}
        for entry in ("attributes", "caption", "y"):
            if f"{name}_{entry}" in arrays:
                splits[name][entry] = _beside(path, name, entry, arrays)
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
    return splits, _levels(path, arrays.get("levels"), splits)


def _beside(path: Any, name: str, entry: str, arrays: dict[str, Any]) -> np.ndarray:
    """Attributes, captions or the other images of pairs: one an example, of the right kind."""
    array, n = arrays[f"{name}_{entry}"], len(arrays[name])
    kinds, axes = {"attributes": ("iub", 2), "caption": ("U", 1), "y": ("iuf", 4)}[entry]
    if not isinstance(array, np.ndarray) or len(array.shape) != axes or len(array) != n:
        raise ValueError(f"{path}: {name}_{entry} must have {axes} axes and {n} rows.")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{path}: {name}_{entry} must not hold {array.dtype}.")
    return array.astype(np.uint8) if entry == "attributes" else array


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
    levels = levels or levels_for(highest)
    if highest >= levels:
        raise ValueError(f"{path}: the highest value {highest} does not fit levels={levels}.")
    return levels
