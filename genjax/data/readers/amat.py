"""Text matrices, one example per line: .amat files of MNIST variants."""

import pathlib
import re
from collections.abc import Iterator

import numpy as np

from genjax.data.dataset import SPLITS
from genjax.data.file_io import SPLIT_FOLDERS, BinaryFile, list_folder, safe
from genjax.data.readers.base import Contents, Field, ReadOptions

LAYOUT = "name_train.amat, name_valid.amat and name_test.amat, each plain or .gz, or one .amat file"
_FILE = re.compile(
    r"((?P<prefix>.*?)[-_.])?(?P<split>train|validation|valid|val|test)\.amat(?P<gz>\.gz)?"
)
_BLOCK_BYTES = 2**22
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
# Separators for str.split and NumPy, but not for editors: replaced by bytes that are invalid.
_INVALID_SEPARATORS = bytes.maketrans(b"\x1c\x1d\x1e\x1f", b"\xff" * 4)
_MAX_LINE_BYTES = 2**26
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def matches(name: str) -> bool:
    """Returns whether a file name has this format."""
    return name.endswith((".amat", ".amat.gz"))


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads a folder, or one file as train: `x`, and `label` as `reading.label` selects.

    Integers from 0 to 255 become uint8, with levels 2 if none is above 1, else 256; other numbers
    become float32 with levels 0.

    Raises:
      ValueError: a line holds a word, a NaN, or another number of values.
    """
    files = _split_files(path) if path.is_dir() else {"train": path}
    xs: dict[str, np.ndarray] = {}
    ys: dict[str, np.ndarray] = {}
    for split, file in files.items():
        xs[split], ys[split] = _read_matrix(file, reading)
    one = next(iter(xs))
    for split, x in xs.items():
        if x.shape[1] != xs[one].shape[1]:
            raise ValueError(
                f"{safe(files[split])} has rows of {x.shape[1]} numbers and {safe(files[one])} of"
                f" {xs[one].shape[1]}; make them agree."
            )
    if any(x.dtype == np.float32 for x in xs.values()):
        xs, levels = {s: x.astype(np.float32, copy=False) for s, x in xs.items()}, 0
    else:
        levels = 2 if all(x.max() <= 1 for x in xs.values()) else 256
    shape = reading.shape or (xs[one].shape[1],)
    if np.prod(shape, dtype=object) != xs[one].shape[1]:
        raise ValueError(
            f"{safe(files[one])} has rows of {xs[one].shape[1]} numbers, which do not fit"
            f" the shape {' '.join(map(str, shape))}; correct --shape."
        )
    fields = {"x": Field(kind="array", shape=tuple(shape), dtype=xs[one].dtype.name)}
    columns: dict[str, dict] = {s: {"x": x.reshape(-1, *shape)} for s, x in xs.items()}
    if reading.label != "none":
        fields["label"] = Field(kind="label", classes=max(int(y.max()) for y in ys.values()) + 1)
        for split, y in ys.items():
            columns[split]["label"] = y.tolist()
    return Contents(fields, columns, [file.name for file in files.values()], levels)


def _split_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    names = list_folder(folder)[0]
    # A plain file takes precedence over its .gz.
    amat_files = [n for n in names if matches(n) and (n[-3:] != ".gz" or n[:-3] not in names)]
    if not amat_files:
        raise ValueError(f"{safe(folder)} has no .amat file; use {LAYOUT}.")
    if len(amat_files) == 1 and not _FILE.fullmatch(amat_files[0]):
        return {"train": folder / amat_files[0]}
    by_split: dict[str, pathlib.Path] = {}
    for name in amat_files:
        match = _FILE.fullmatch(name)
        split = SPLIT_FOLDERS[match["split"]] if match else ""
        if not split or split in by_split:
            other = by_split[split].name if split else next(n for n in amat_files if n != name)
            raise ValueError(
                f"{safe(folder)} has {safe(other)} and {safe(name)}, whose splits are ambiguous;"
                f" use {LAYOUT}."
            )
        by_split[split] = folder / name
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _read_blocks(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """Yields lines in blocks, with the number of the first line of each block.

    Blank lines are rejected, except at the end, so that line numbers are right.
    """
    with BinaryFile(path) as file:
        rest, number, blank = b"", 1, 0
        while True:
            block = file.read(_BLOCK_BYTES)
            pieces = (rest + block).split(b"\n")
            rest = pieces.pop() if block else b""
            lines = []
            for i, piece in enumerate(pieces):
                if not piece.strip():
                    blank = blank or number + i
                    continue
                if blank:
                    raise ValueError(f"{safe(path)} line {blank} is empty; remove it.")
                lines.append(piece)
            if len(rest) > _MAX_LINE_BYTES:
                raise ValueError(
                    f"{safe(path)} line {number + len(pieces)} has more than {_MAX_LINE_BYTES}"
                    f" bytes, so it is not a text matrix; write one example per line."
                )
            if lines:
                # Bytes that are not ASCII become an invalid character.
                yield (
                    number,
                    [x.translate(_INVALID_SEPARATORS).decode("ascii", "replace") for x in lines],
                )
            number += len(pieces)
            if not block:
                return


def _read_matrix(path: pathlib.Path, reading: ReadOptions) -> tuple[np.ndarray, np.ndarray]:
    """Returns examples uint8 or float32 `[N, D]`, and labels int32 `[N]`, empty without labels."""
    parts: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    width = 0
    for number, lines in _read_blocks(path):
        block = _parse_lines(path, number, lines, width)
        width = block.shape[1]
        if reading.label != "none":
            at = 0 if reading.label == "first" else -1
            label = block[:, at]
            bad = np.flatnonzero((label != np.floor(label)) | (label < 0) | (label >= 2**31 - 1))
            if len(bad) or width < 2:
                i = int(bad[0]) if len(bad) else 0
                raise ValueError(
                    f"{safe(path)} line {number + i} has {label[i]:g} in its {reading.label}"
                    f" column, which is not a class from 0 beside other numbers; set label to none,"
                    f" first or last."
                )
            labels.append(label.astype(np.int32))
            block = block[:, 1:] if reading.label == "first" else block[:, :-1]
        whole = bool(((block == np.floor(block)) & (block >= 0) & (block <= 255)).all())
        parts.append(block.astype(np.uint8 if whole else np.float32))
    if not parts:
        raise ValueError(f"{safe(path)} holds no numbers; write one example per line.")
    if any(part.dtype == np.float32 for part in parts):
        parts = [part.astype(np.float32, copy=False) for part in parts]
    return np.concatenate(parts), np.concatenate(labels) if labels else np.zeros(0, np.int32)


def _parse_lines(path: pathlib.Path, number: int, lines: list[str], width: int) -> np.ndarray:
    """Parses lines to float64 `[len(lines), D]`."""
    try:
        block = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except (ValueError, OverflowError):
        _raise_parse_error(path, number, lines, width)
        raise ValueError(
            f"{safe(path)} holds words near line {number}; write numbers only."
        ) from None
    odd = len(block) != len(lines) or block.shape[1] != (width or block.shape[1])
    # Infinite as float64 or as float32.
    if odd or not (np.abs(block) <= _MAX_FLOAT32).all():
        _raise_parse_error(path, number, lines, width)
        raise ValueError(
            f"{safe(path)} is not a matrix near line {number}; make all lines equally long."
        )
    return block


def _raise_parse_error(path: pathlib.Path, number: int, lines: list[str], width: int) -> None:
    """Raises an error for the first invalid line."""
    for i, line in enumerate(lines):
        where = f"{safe(path)} line {number + i}"
        words = line.split()
        for word in words:
            if not _NUMBER.fullmatch(word):
                raise ValueError(
                    f"{where} holds {safe(word, 30)}, which is not a finite number; correct it."
                )
            if not abs(float(word)) <= _MAX_FLOAT32:
                raise ValueError(
                    f"{where} holds {safe(word, 30)}, too large for float32; rescale the data."
                )
        width = width or len(words)
        if len(words) != width:
            raise ValueError(
                f"{where} has {len(words)} numbers and the lines above it {width}; make them agree."
            )
