""".csv tables of numbers, separated by commas, semicolons or tabs."""

import csv
import io
import math
import pathlib
import re

import numpy as np

from genjax.data.file_io import read_text, safe

SEPARATORS = ",;\t"


def read_csv(path: pathlib.Path) -> np.ndarray:
    """Reads a table `[N, D]` of finite numbers, with or without a line of names.

    Raises:
      ValueError: the file is not such a table; the message names line and column.
    """
    text = read_text(path)
    first = re.sub('"[^"]*"', "", text.partition("\n")[0])  # names may hold commas
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    rows: list[list[float]] = []
    width = 0
    try:
        for cells in reader:
            if not cells:  # an empty line
                continue
            if not width:
                width = len(cells)
                if names := _names(path, cells):
                    continue
            if len(cells) != width:
                raise ValueError(
                    f"{safe(path)}: line {reader.line_num} has {len(cells)} columns, and the first"
                    f" has {width}; make them agree."
                )
            numbers = [_number(cell) for cell in cells]
            if None in numbers:
                column = numbers.index(None)
                called = f" ({safe(names[column], 40)})" if names else ""
                raise ValueError(
                    f"{safe(path)}: line {reader.line_num}, column {column + 1}{called} is"
                    f" '{safe(cells[column], 40)}', not a finite number; correct it, or remove the"
                    f" line or the column."
                )
            rows.append([number for number in numbers if number is not None])
    except csv.Error as error:
        raise ValueError(f"{safe(path)}: line {reader.line_num} is not CSV ({error}).") from None
    if not rows:
        raise ValueError(f"{safe(path)} holds no row of numbers; add some.")
    return np.array(rows)


def _names(path: pathlib.Path, cells: list[str]) -> list[str]:
    """Returns the names in the first line, or none if it is a row of numbers.

    Raises:
      ValueError: it has both.
    """
    numbers = [_number(cell) is not None for cell in cells]
    if all(numbers):
        return []
    if any(numbers):
        column = numbers.index(False)
        raise ValueError(
            f"{safe(path)}: line 1 has numbers, but '{safe(cells[column], 40)}' in column"
            f" {column + 1}; correct it, or name every column."
        )
    return cells


def _number(cell: str) -> float | None:
    """Returns a finite number, or None if the cell is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
