"""`python -m experiments`: figures of the papers beside the figures obtained here."""

import argparse
import itertools
import json
import os
import pathlib
import shutil
import sys
import textwrap
from typing import Any

FIGURES = ("paper", "obtained", "std_error", "lowest", "highest")
RIGHT = ("paper", "obtained", "minutes")
NOTE = """
NLL in nats, lower is better; errors and accuracies in percent. Reached: better
than the paper's figure, or within two standard errors of it; a figure from
memory is none to reach. For all columns and the evidence of figures: --all,
--json."""
WIDE = 100  # columns from which on the whole name of a row fits


def text_table(rows: list[dict[str, str]], width: int) -> str:
    """Returns the cells as a table of at most `width` columns, 80 or more.

    Below `WIDE` columns the name of a file is on a line of its own, above its recipes. Where a
    column is too narrow, cells are broken between words.
    """
    header = list(rows[0])
    lines = [list(row.values()) for row in rows]
    headings: list[str] = []
    if width < WIDE:
        headings = [line[0].partition(":")[0] for line in lines]
        lines = [[" " + name.partition(":")[2], *rest] for name, *rest in lines]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for i in (header.index("what"), header.index("status")):  # the columns of several words
        excess = max(0, sum(widths) + len(widths) - 1 - width)
        longest = max(len(word) for line in lines for word in line[i].split())
        widths[i] = max(longest, widths[i] - excess)
    out = []
    for number, line in enumerate([header, ["-" * n for n in widths], *lines], -2):
        if headings and number >= 0 and headings[number] != (number and headings[number - 1]):
            out.append(headings[number])
        wrapped = (textwrap.wrap(cell, n) for cell, n in zip(line[1:], widths[1:], strict=True))
        for parts in itertools.zip_longest([line[0]], *wrapped, fillvalue=""):
            cells = zip(header, parts, widths, strict=True)
            padded = [c.rjust(n) if name in RIGHT else c.ljust(n) for name, c, n in cells]
            out.append(" ".join(padded).rstrip())
    return "\n".join(out)


def print_all(rows: list[dict[str, Any]]) -> None:
    """Prints all columns, each cell on one line."""
    from rich.console import Console
    from rich.table import Table

    page = Table()
    for column in rows[0]:
        right = column in FIGURES or column in ("parameters", "minutes")
        page.add_column(
            column.replace("_", " "), justify="right" if right else "left", no_wrap=True
        )
    for row in rows:
        page.add_row(*(_cell(column, value) for column, value in row.items()))
    Console(width=400, markup=False).print(page)  # a device may be called "[x]"


def _cell(column: str, value: Any) -> str:
    if value is None or value == []:
        return "-"
    if column in FIGURES:
        return f"{value:.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def main(argv: list[str] | None = None) -> int:
    """Prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--all", action="store_true", help="all columns, in long lines (less -S)")
    parser.add_argument("--json", action="store_true", help="all columns as a JSON list")
    parser.add_argument("--records", type=pathlib.Path, help="folder of records")
    options = parser.parse_args(argv)

    from experiments import table  # after --help, which needs no JAX

    folder = options.records or table.RECORDS
    try:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}; name the folder of the records.")
        rows = table.table(folder, count=options.all or options.json)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows, indent=1))
    elif options.all:
        print_all(rows)
    else:
        recipes = table.rows()
        cells = [table.summary(recipes[row["experiment"]], row) for row in rows]
        on_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
        print(text_table(cells, shutil.get_terminal_size().columns if on_terminal else WIDE))
        print(NOTE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
