"""Loading of data sets: embedded digits, .npz and .csv files, published files of MNIST and CIFAR,
TFDS names and prepared folders.

TFDS data is read as `array_record`, without TensorFlow. Nothing is unpickled.
"""

import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.data import cross_validation, toy_mixtures
from genjax.data.attribute_selection import select_attributes
from genjax.data.caption_text import add_text
from genjax.data.captioned_digits import CAPTIONED_DIGITS, load_captioned_digits
from genjax.data.class_selection import select_classes
from genjax.data.csv_table import read_csv
from genjax.data.data_config import Data
from genjax.data.dataset import HELD_OUT, SPLITS, Dataset
from genjax.data.digit_styles import DIGIT_STYLES, load_styles
from genjax.data.file_io import open_file
from genjax.data.glyphs import GLYPHS, load_glyphs
from genjax.data.label_subsets import limit_labels
from genjax.data.npz import check_table
from genjax.data.npz_splits import npz_splits, read_arrays, stored_levels
from genjax.data.operations import ENTRIES, IMAGES
from genjax.data.order import Order
from genjax.data.original_files import original_folder, read_original
from genjax.data.scenes import SCENES, load_scenes
from genjax.data.static_binarization import static_images
from genjax.data.tfds_folder import PreparedSplit, open_prepared
from genjax.data.transforms import binarization, output_spec, parse_transform

RESIDENT_BYTES = 2**31


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
    splits: dict[str, Any] = {}
    is_table, stacked = False, _is_stacked_name(source)
    made: Dataset | None = None
    if source in ("digits", "digits_4x4"):
        splits, levels = _digits(source)
    elif source in (*GLYPHS, *DIGIT_STYLES):
        made = load_glyphs(source) if source in GLYPHS else load_styles(source, *_digits("digits"))
    elif source in SCENES:
        made = load_scenes()
    elif source in CAPTIONED_DIGITS:
        made = load_captioned_digits(source, *_single_digits(source, settings.data_dir))
    elif source in toy_mixtures.GAUSSIANS:
        splits, levels = toy_mixtures.gaussians(source), 0
    elif stacked:
        splits, levels = _stacked(settings)
    elif source.endswith(".npz"):
        file = read_arrays(pathlib.Path(source))
        is_table = set(file) == {"data"}
        if is_table:
            check_table(source, file["data"])
            splits, levels = cross_validation.table_splits(file["data"], settings)
        else:
            made = npz_splits(pathlib.Path(source), file, settings.unpaired)
    elif source.endswith(".csv"):
        is_table = True
        splits, levels = cross_validation.table_splits(read_csv(pathlib.Path(source)), settings)
    elif folder := original_folder(source, settings.data_dir):
        splits, levels, names = read_original(folder, source)
    else:
        splits, names = open_prepared(
            source, settings.data_dir, settings.caption, captioned=bool(settings.tokenizer)
        )
        levels = next(iter(splits.values())).levels
    unpaired, paired = settings.unpaired, _prepared_pairs(splits)
    if made is not None:
        splits, levels, names = made.splits, made.levels, dict(made.names)
        unpaired, paired = unpaired or made.unpaired, made.paired
    domains = _domains(splits, settings, unpaired)
    original_crcs = None
    if settings.classes and not stacked:  # `_stacked` selected them already
        if len(domains) > 1:
            raise ValueError(
                f"{source} has two domains without pairs, which have no common labels; leave out"
                f" `classes`."
            )
        selected = select_classes(domains[0], names.get("label", ()), settings)
        domains[0], names["label"], original_crcs = selected
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
        original_crcs=original_crcs,
        unpaired=len(domains) > 1,
        y_streams=y_streams,
        paired=frozenset(s for s in domains[0] if (s if s in splits else "train") in paired),
        render=made.render if made else None,
        caption_check=made.caption_check if made else None,
    )
    dataset = select_attributes(dataset, settings.attributes)
    _check_transform(settings.transform, dataset)
    dataset = cross_validation.standardize(dataset, settings, is_table)
    if binarization(settings.transform) == "static":
        dataset = _static(dataset, settings.binarize_seed)
    return add_text(limit_labels(dataset, settings), settings)


def example_shape(settings: Data) -> tuple[int, ...]:
    """Returns the shape of a transformed example, read from the first one where that suffices.

    Raises:
      ValueError: as `load`.
    """
    whole = dataclasses.replace(
        settings, labels_per_class=0, standardize=False, stream="no", tokenizer=""
    )
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


def _prepared_pairs(splits: dict[str, Any]) -> frozenset[str]:
    """Returns the splits of a prepared folder that hold pairs."""
    return frozenset(
        split
        for split, part in splits.items()
        if isinstance(part, PreparedSplit) and "y" in part.entries()
    )


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
    splits = {s: loaded[s] for s in (*SPLITS, *HELD_OUT) if s in loaded}
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
    return stored_levels(source, None, arrays)


def _static(dataset: Dataset, seed: int) -> Dataset:
    """Binarizes all images once; the checksum stays that of the original data."""
    order = (*SPLITS, *HELD_OUT)
    splits = {
        name: arrays | static_images(arrays, None, seed, order.index(name), dataset.levels)
        for name, arrays in dataset.splits.items()
    }

    def drawn(streams: Any) -> dict[str, Any]:
        return {
            name: dataclasses.replace(rows, static=(seed, order.index(name), dataset.levels))
            for name, rows in streams.items()
        }

    streams, y_streams = drawn(dataset.streams), drawn(dataset.y_streams)
    return dataset.replace_arrays(splits, levels=2, streams=streams, y_streams=y_streams)


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


def _single_digits(name: str, folder: str | None) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns the digits of scikit-learn, or of MNIST with 5,000 for validation."""
    if name.endswith("_8x8"):
        return _digits("digits")
    mnist = load(Data(data="mnist", data_dir=folder, validation=5000, stream="no"))
    return mnist.splits, mnist.levels


def _stacked(settings: Data) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns stacks of another data set, split first so that splits share no image."""
    name = settings.data.removeprefix(toy_mixtures.STACKED_PREFIX)
    single = load(
        dataclasses.replace(
            settings, data=name, transform="", stream="no", labels_per_class=0, tokenizer=""
        )
    )
    return toy_mixtures.stacked(name, single.splits), single.levels
