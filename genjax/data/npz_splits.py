"""Data sets as .npz files: splits with their entries, checked when read."""

import os
import pathlib
from typing import Any

import numpy as np

from genjax import checks
from genjax.data.dataset import HELD_OUT, SPLITS, Dataset, default_levels
from genjax.data.file_io import error_reason, open_file
from genjax.data.npz import read_npz
from genjax.data.operations import IMAGES
from genjax.data.tfds_folder import check_examples

NPZ_LAYOUT = (
    "a .npz holds arrays train, validation and test, [N, ...] each, with optional"
    " train_label, validation_label, test_label [N] and levels []; or one table data [N, D], with"
    " --folds"
)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a .npz file.

    Raises:
      ValueError: it does not exist or is damaged; the message has the expected layout.
    """
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


def npz_splits(path: pathlib.Path, arrays: dict[str, np.ndarray], unpaired: bool) -> Dataset:
    """Returns the data of a .npz with splits.

    Args:
      path: for error messages.
      arrays: of the file.
      unpaired: `y` may have other numbers of examples than `x`.

    Raises:
      ValueError: an array is missing or has the wrong shape, type or values.
    """
    if "train" not in arrays:
        raise ValueError(f"{path} has arrays {sorted(arrays)}; {NPZ_LAYOUT}.")
    paired = _paired_names(path, arrays)
    splits: dict[str, dict[str, np.ndarray]] = {}
    for name in (*SPLITS, *HELD_OUT):
        if name not in arrays:
            continue
        free = unpaired if paired is None else name not in paired
        splits[name] = {"x": check_examples(path, name, arrays[name])}
        for entry in ("attributes", "caption", "y", "label"):
            if f"{name}_{entry}" in arrays:
                splits[name][entry] = _read_entry(path, name, entry, arrays, free)
    if len({s["x"].shape[1:] for s in splits.values()}) > 1:
        shapes = {n: s["x"].shape[1:] for n, s in splits.items()}
        raise ValueError(
            f"{path}: splits have examples of different shapes, {shapes}; make them agree."
        )
    levels = stored_levels(path, arrays.get("levels"), splits)
    names = _attribute_names(path, arrays, splits)
    if paired is None:  # rows of the same number are pairs
        paired = {s for s, v in splits.items() if "y" in v and len(v["y"]) == len(v["x"])}
    else:
        unpaired = unpaired or "train" not in paired
    return Dataset(
        str(path), splits, levels, names=names, unpaired=unpaired, paired=frozenset(paired)
    )


def save_npz(dataset: Dataset, path: str | os.PathLike) -> None:
    """Saves a data set as one compressed .npz file, which `load` reads with NumPy alone."""
    arrays: dict[str, Any] = {"levels": np.int64(dataset.levels)}
    for name, split in dataset.splits.items():
        arrays[name] = split["x"]
        for entry in sorted(set(split) - {"x", "text"}):  # text is made of the captions
            arrays[f"{name}_{entry}"] = split[entry]
    if dataset.names.get("attributes"):
        arrays["attribute_names"] = np.array(dataset.names["attributes"])
    if dataset.unpaired:
        arrays["paired"] = np.array(sorted(dataset.paired), "U")
    np.savez_compressed(path, allow_pickle=False, **arrays)


def stored_levels(path: Any, given: Any, splits: dict[str, dict[str, np.ndarray]]) -> int:
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


def _read_entry(path: Any, name: str, entry: str, arrays: dict[str, Any], free: bool) -> np.ndarray:
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
    if entry == "caption" and array.ndim == 2:  # several per image
        axes = 2
    if array.ndim != axes or (len(array) != n and not (free and entry == "y")):
        fix = " (or set --unpaired)" if entry == "y" and array.ndim == axes else ""
        raise ValueError(f"{path}: {name}_{entry} must have {axes} axes and {n} rows{fix}.")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{path}: {name}_{entry} has the wrong dtype, {array.dtype}; cast it.")
    if entry == "y":
        return check_examples(path, f"{name}_y", array)
    if entry == "caption" and not all(map(checks.is_unicode, array.ravel().tolist())):
        raise ValueError(f"{path}: {name}_caption holds text that is not Unicode; correct it.")
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


def _paired_names(path: Any, arrays: dict[str, np.ndarray]) -> set[str] | None:
    """Returns the splits that a .npz states to be paired; None if it does not say so."""
    given = arrays.get("paired")
    if given is None:
        return None
    names = set(given.tolist()) if given.dtype.kind == "U" and given.ndim == 1 else {""}
    if not all(f"{name}_y" in arrays for name in names):
        raise ValueError(
            f"{path}: paired must hold the names of splits with a second image y, such as test, got"
            f" {given.dtype}{list(given.shape)}; leave it out if all are paired."
        )
    return names
