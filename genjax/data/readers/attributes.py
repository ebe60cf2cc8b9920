"""Pictures with a table of yes and no, as CelebA has: list_attr_celeba.txt beside them."""

import pathlib
import re

import numpy as np

from genjax.data.file_io import listing, show, text
from genjax.data.image_decoding import suffixed
from genjax.data.readers.base import Field, Reading, Source
from genjax.data.readers.columns import Pictures, Rows, survey
from genjax.data.readers.image_folders import pictures_in

LAYOUT = (
    "list_attr_celeba.txt (its first line the count, its second the names, then a file and its"
    " values, -1 and 1 or 0 and 1, a line; as .csv a header line and rows), perhaps"
    " list_eval_partition.txt, and pictures beside it or in one folder"
)
_TABLE = re.compile(r"list_attr.*\.(txt|csv)")
_PARTITION = re.compile(r"list_eval_partition.*\.(txt|csv)")
_PARTS = ("train", "validation", "test")


def has_table(path: pathlib.Path) -> bool:
    """Whether a folder is of this layout."""
    return any(_TABLE.fullmatch(name) for name in listing(path)[0])


def read(path: pathlib.Path, reading: Reading) -> Source:
    """Read pictures with attributes: `image`, and `attributes` uint8 `[A]` of 0 and 1.

    Raises:
      ValueError: one sentence; a count, a column, a value, a row or a picture is amiss.
    """
    files, folders, rest = listing(path)
    table = _only(path, files, _TABLE)
    if not table:
        raise ValueError(f"{show(path)} has no list_attr*.txt; attributes are {LAYOUT}.")
    names, attributes, values = _table(path / table)
    folder = _folder(path, files, folders)
    images, deeper, others = pictures_in(path, folder)
    start = f"{folder}/" if folder else ""
    _matched(path, table, [start + name for name in names], images)
    partition = _only(path, files, _PARTITION)
    part = _partition(path / partition, names) if partition else np.zeros(len(names), np.int32)
    look = survey(path, images, reading)
    splits = {}
    for k in sorted({int(p) for p in part}):
        rows = np.flatnonzero(part == k)
        chosen = tuple(start + names[i] for i in rows)
        columns = {"image": Pictures(path, chosen, look), "attributes": values[rows]}
        splits[_PARTS[k]] = Rows(columns)
    if not folder:
        others = []
    ignored = [n for n in files if n not in (table, partition) and n not in images] + rest + others
    ignored += [f"{n}/" for n in [*folders, *deeper] if n != folder]
    fields = {
        "image": look.field(),
        "attributes": Field(kind="attributes", shape=(len(attributes),), names=attributes),
    }
    return Source(
        name=str(path),
        format="attributes",
        fields=fields,
        splits=splits,
        ignored=tuple(sorted(set(ignored))),
    )


def _only(path: pathlib.Path, files: list[str], pattern: re.Pattern) -> str:
    found = [name for name in files if pattern.fullmatch(name)]
    if len(found) > 1:
        raise ValueError(f"{show(path)} has {found[0]} and {show(found[1])}; keep one of them.")
    return found[0] if found else ""


def _folder(path: pathlib.Path, files: list[str], folders: list[str]) -> str:
    """The folder that holds the pictures, "" if they lie beside the table."""
    if any(suffixed(name) for name in files):
        return ""
    found = [name for name in folders if pictures_in(path, name)[0]]
    if len(found) != 1:
        what = f"pictures in {', '.join(map(show, found[:3]))}" if found else "no pictures"
        raise ValueError(f"{show(path)} has {what}; attributes are {LAYOUT}.")
    return found[0]


def _cells(path: pathlib.Path) -> list[tuple[str, list[str]]]:
    """Lines that are not empty as where and words."""
    lines = text(path).split("\n")
    comma = path.suffix == ".csv"
    split = [[w.strip() for w in line.split(",")] if comma else line.split() for line in lines]
    return [(f"{show(path)} line {i}", w) for i, w in enumerate(split, 1) if any(w)]


def _table(path: pathlib.Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    """File names, names of the attributes, and uint8 `[N, A]`."""
    lines = _cells(path)
    count = None
    if lines and len(lines[0][1]) == 1 and re.fullmatch("[0-9]{1,18}", lines[0][1][0]):
        count = int(lines.pop(0)[1][0])
    if len(lines) < 2 or (count is None and path.suffix != ".csv"):
        raise ValueError(
            f"{show(path)} has no count, no names or no rows; attributes are {LAYOUT}."
        )
    rows = lines[1:]
    names = lines[0][1]
    # A .csv names the column of the files, too.
    if path.suffix == ".csv" and len(names) == len(rows[0][1]):
        names = names[1:]
    if count is not None and count != len(rows):
        raise ValueError(f"{show(path)} says that it has {count} rows and has {len(rows)}.")
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"{show(path)} has no names, empty ones, or one twice, in its names line.")
    values = np.zeros((len(rows), len(names)), np.int8)
    for i, (where, words) in enumerate(rows):
        if len(words) != len(names) + 1:
            raise ValueError(
                f"{where} has {len(words)} columns, and a file with {len(names)} values is"
                f" {len(names) + 1}."
            )
        for k, word in enumerate(words[1:]):
            if word not in _VALUES:
                raise ValueError(
                    f"{where} has {show(word, 30)} for {show(names[k], 30)}; -1, 0 or 1."
                )
            values[i, k] = _VALUES[word]
    if (values == -1).any() and (values == 0).any():
        where = rows[int(np.argwhere(values == 0)[0, 0])][0]
        raise ValueError(f"{where} has the value 0 where others have -1; use -1 and 1, or 0 and 1.")
    return [w[0] for _, w in rows], tuple(show(n, 80) for n in names), (values > 0).astype(np.uint8)


_VALUES = {"-1": -1, "0": 0, "1": 1, "+1": 1}


def _matched(path: pathlib.Path, table: str, rows: list[str], images: list[str]) -> None:
    """Every row has its picture, every picture its row, once."""
    have, named = set(images), set(rows)
    if len(named) < len(rows):
        seen: set[str] = set()
        twice = next(r for r in rows if r in seen or seen.add(r))  # type: ignore[func-returns-value]
        raise ValueError(f"{show(path / table)} has two rows for {show(twice, 60)}; keep one.")
    lost = [row for row in rows if row not in have]
    if lost:
        raise ValueError(
            f"{show(path / table)} has a row for {show(lost[0], 60)}, and there is no such picture,"
            f" nor {len(lost) - 1} more; remove the rows or fetch the pictures."
        )
    lost = [image for image in images if image not in named]
    if lost:
        raise ValueError(
            f"{show(path / lost[0])} has no row in {show(table)}, nor have {len(lost) - 1} more;"
            f" add the rows or remove the pictures."
        )


def _partition(path: pathlib.Path, names: list[str]) -> np.ndarray:
    """0, 1 or 2 for every name, int32 `[N]`."""
    lines = _cells(path)
    if lines and len(lines[0][1]) == 2 and lines[0][1][1].lower() == "partition":
        lines = lines[1:]
    parts: dict[str, int] = {}
    for where, words in lines:
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{where} must be a file and 0 (train), 1 (validation) or 2 (test), got"
                f" {show(' '.join(words), 60)}."
            )
        if words[0] in parts:
            raise ValueError(f"{where} names {show(words[0], 60)} a second time; keep one line.")
        parts[words[0]] = int(words[1])
    odd = sorted(set(parts) ^ set(names))
    if odd:
        where = "in no row of the attributes" if odd[0] in parts else "missing in it"
        raise ValueError(
            f"{show(path)} and the attributes differ: {show(odd[0], 60)} is {where}, and"
            f" {len(odd) - 1} more are like it."
        )
    return np.array([parts[name] for name in names], np.int32)
