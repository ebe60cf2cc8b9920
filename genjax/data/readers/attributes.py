"""Images with a table of binary attributes, as CelebA: list_attr_celeba.txt beside them."""

import pathlib
import re

import numpy as np

from genjax.data.dataset import SPLITS
from genjax.data.file_io import list_folder, read_text, safe
from genjax.data.image_decoding import has_image_suffix
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageFiles, inspect_images
from genjax.data.readers.image_folders import images_in

LAYOUT = (
    "list_attr_celeba.txt (a line with the count, a line with the names, then lines of a file and"
    " its values, -1 and 1 or 0 and 1; as .csv a header line and rows), optionally"
    " list_eval_partition.txt, and images beside it or in one folder"
)
_TABLE = re.compile(r"list_attr.*\.(txt|csv)")
_PARTITION = re.compile(r"list_eval_partition.*\.(txt|csv)")


def has_table(path: pathlib.Path) -> bool:
    """Returns whether a folder has this layout."""
    return any(_TABLE.fullmatch(name) for name in list_folder(path)[0])


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads images with attributes: `image`, and `attributes` uint8 `[A]` of 0 and 1.

    Raises:
      ValueError: a count, a column, a value, a row or an image is wrong or missing.
    """
    files, folders, _ = list_folder(path)
    table = _find_one(path, files, _TABLE)
    if not table:
        raise ValueError(f"{safe(path)} has no list_attr*.txt; use {LAYOUT}.")
    names, attributes, values = _read_table(path / table)
    folder = _image_folder(path, files, folders)
    images = images_in(path, folder)[0]
    start = f"{folder}/" if folder else ""
    _check_images_match(path, table, [start + name for name in names], images)
    partition = _find_one(path, files, _PARTITION)
    part = _read_partition(path / partition, names) if partition else np.zeros(len(names), np.int32)
    spec = inspect_images(path, images, reading)
    columns = {}
    for k in sorted({int(p) for p in part}):
        rows = np.flatnonzero(part == k)
        chosen = tuple(start + names[i] for i in rows)
        columns[SPLITS[k]] = {"image": ImageFiles(path, chosen, spec), "attributes": values[rows]}
    fields = {
        "image": spec.field(),
        "attributes": Field(kind="attributes", shape=(len(attributes),), names=attributes),
    }
    return Contents(fields, columns, [*images, table, partition])


def _find_one(path: pathlib.Path, files: list[str], pattern: re.Pattern) -> str:
    matching = [name for name in files if pattern.fullmatch(name)]
    if len(matching) > 1:
        raise ValueError(
            f"{safe(path)} has {matching[0]} and {safe(matching[1])}; keep one of them."
        )
    return matching[0] if matching else ""


def _image_folder(path: pathlib.Path, files: list[str], folders: list[str]) -> str:
    """Returns the folder of the images, "" if they are beside the table."""
    if any(has_image_suffix(name) for name in files):
        return ""
    candidates = [name for name in folders if images_in(path, name)[0]]
    if len(candidates) != 1:
        what = f"images in {', '.join(map(safe, candidates[:3]))}" if candidates else "no images"
        raise ValueError(f"{safe(path)} has {what}; use {LAYOUT}.")
    return candidates[0]


def _read_cells(path: pathlib.Path) -> list[tuple[str, list[str]]]:
    """Returns the position and the words of each line that is not empty."""
    lines = read_text(path).split("\n")
    comma = path.suffix == ".csv"
    split = [[w.strip() for w in line.split(",")] if comma else line.split() for line in lines]
    return [(f"{safe(path)} line {i}", w) for i, w in enumerate(split, 1) if any(w)]


def _read_table(path: pathlib.Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    """Returns file names, attribute names, and values uint8 `[N, A]`."""
    lines = _read_cells(path)
    count = None
    if lines and len(lines[0][1]) == 1 and re.fullmatch("[0-9]{1,18}", lines[0][1][0]):
        count = int(lines.pop(0)[1][0])
    if len(lines) < 2 or (count is None and path.suffix != ".csv"):
        raise ValueError(f"{safe(path)} has no count, no names or no rows; use {LAYOUT}.")
    rows = lines[1:]
    names = lines[0][1]
    # A .csv has a name for the column of files, too.
    if path.suffix == ".csv" and len(names) == len(rows[0][1]):
        names = names[1:]
    if count is not None and count != len(rows):
        raise ValueError(
            f"{safe(path)} states {count} rows and has {len(rows)}; download it again."
        )
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(
            f"{safe(path)} has empty, duplicate or no names in its names line; correct it."
        )
    values = np.zeros((len(rows), len(names)), np.int8)
    for i, (where, words) in enumerate(rows):
        if len(words) != len(names) + 1:
            raise ValueError(
                f"{where} has {len(words)} columns instead of {len(names) + 1}, a file and"
                f" {len(names)} values; correct it."
            )
        for k, word in enumerate(words[1:]):
            if word not in _VALUES:
                raise ValueError(
                    f"{where} has {safe(word, 30)} for {safe(names[k], 30)}; use -1, 0 or 1."
                )
            values[i, k] = _VALUES[word]
    if (values == -1).any() and (values == 0).any():
        where = rows[int(np.argwhere(values == 0)[0, 0])][0]
        raise ValueError(
            f"{where} has the value 0 and other rows have -1; use -1 and 1, or 0 and 1."
        )
    return (
        [w[0] for _, w in rows],
        tuple(safe(n, 80) for n in names),
        (values > 0).astype(np.uint8),
    )


_VALUES = {"-1": -1, "0": 0, "1": 1, "+1": 1}


def _check_images_match(path: pathlib.Path, table: str, rows: list[str], images: list[str]) -> None:
    """Checks that rows and images match one to one."""
    have, named = set(images), set(rows)
    if len(named) < len(rows):
        seen: set[str] = set()
        twice = next(r for r in rows if r in seen or seen.add(r))  # type: ignore[func-returns-value]
        raise ValueError(f"{safe(path / table)} has two rows for {safe(twice, 60)}; keep one.")
    lost = [row for row in rows if row not in have]
    if lost:
        raise ValueError(
            f"{safe(path / table)} has a row for {safe(lost[0], 60)}, which does not exist, and"
            f" {len(lost) - 1} more such rows; remove the rows or add the images."
        )
    lost = [image for image in images if image not in named]
    if lost:
        raise ValueError(
            f"{safe(path / lost[0])} has no row in {safe(table)}, and {len(lost) - 1} more images"
            f" have none; add the rows or remove the images."
        )


def _read_partition(path: pathlib.Path, names: list[str]) -> np.ndarray:
    """Returns the split of every name, 0, 1 or 2, int32 `[N]`."""
    lines = _read_cells(path)
    if lines and len(lines[0][1]) == 2 and lines[0][1][1].lower() == "partition":
        lines = lines[1:]
    parts: dict[str, int] = {}
    for where, words in lines:
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{where} must be a file and 0 (train), 1 (validation) or 2 (test), got"
                f" {safe(' '.join(words), 60)}; correct it."
            )
        if words[0] in parts:
            raise ValueError(f"{where} names {safe(words[0], 60)} again; keep one line.")
        parts[words[0]] = int(words[1])
    odd = sorted(set(parts) ^ set(names))
    if odd:
        where = "not among the attributes" if odd[0] in parts else "missing in it"
        raise ValueError(
            f"{safe(path)} and the attributes differ: {safe(odd[0], 60)} is {where}, like"
            f" {len(odd) - 1} more; make them agree."
        )
    return np.array([parts[name] for name in names], np.int32)
