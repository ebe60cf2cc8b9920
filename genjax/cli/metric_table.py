"""Tables of metrics on a terminal: the model beside its floors and ceilings."""

import sys
from typing import TextIO

from genjax.evals import TableResult


def table_rows(result: TableResult) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and the rows of all tables of a result, as text.

    Fractions are in percent. A quantity that a row does not have is empty.
    """
    cells = [(t, row, c) for t, rows in result.tables.items() for row, c in rows.items()]
    quantities = list(dict.fromkeys(name for _, _, c in cells for name in c))
    percent = {name: name in result.FRACTIONS for name in quantities}

    def text(name: str, value: float) -> str:
        return f"{100 * value:.1f}" if percent[name] else f"{value:.{3 if abs(value) < 10 else 1}f}"

    header = ["", "", *(f"{name} %" if percent[name] else name for name in quantities)]
    return header, [
        [title, row, *(text(name, c[name][0]) if name in c else "" for name in quantities)]
        for title, row, c in cells
    ]


def print_table(name: str, result: TableResult, file: TextIO | None = None) -> None:
    """Prints all tables of a result as one, to stderr by default.

    Args:
      name: title, the name of the metric.
      result: of the metric.
      file: where to print.
    """
    from rich.console import Console
    from rich.table import Table

    file = file or sys.stderr
    console = Console(file=file, width=None if file.isatty() else 160)
    header, rows = table_rows(result)
    table = Table(title=name)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i < 2 else "right")
    before = ""
    for title, *row in rows:
        if before and title != before:
            table.add_section()
        table.add_row("" if title == before else title, *row)
        before = title
    console.print(table)
