"""`python -m experiments`: the paper's figures beside the ones obtained here."""

import argparse
import json
import pathlib
import sys
from typing import Any

from experiments.table import COLUMNS, RECORDS, table

FIGURES = ("paper", "obtained", "std_error", "lowest", "highest")


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table for a person."""
    from rich.console import Console
    from rich.table import Table

    page = Table(title="genjax: figures of the papers and figures obtained")
    for column in COLUMNS:
        right = column in FIGURES or column in ("parameters", "minutes")
        whole = column == "experiment"  # it is what `--only` and `select` are told
        page.add_column(
            column.replace("_", " "), justify="right" if right else "left", no_wrap=whole
        )
    for row in rows:
        page.add_row(*(_cell(column, row[column]) for column in COLUMNS))
    console = Console()
    # A pipe has no width of its own: show every column in full there.
    console.print(page) if console.is_terminal else Console(width=300).print(page)


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
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the rows as a JSON list")
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS, help="folder of records")
    options = parser.parse_args(argv)
    try:
        if not options.records.is_dir():
            raise ValueError(f"there is no folder {options.records}; say where records are.")
        rows = table(options.records)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
