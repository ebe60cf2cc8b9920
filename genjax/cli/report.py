"""`genjax report WORKDIR...`: runs as one page, with curves and samples over time."""

import pathlib

from genjax import report
from genjax.cli.options import ArgumentParser, run_command


def main(argv: list[str] | None = None) -> int:
    """Write the page and say where it is."""
    return run_command(lambda: write_report(argv))


def write_report(argv: list[str] | None) -> None:
    """Parses the options and writes the page."""
    parser = ArgumentParser("report", __doc__)
    parser.add_argument(
        "workdir", type=pathlib.Path, nargs="+", help="folder of a run, or one that holds runs"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="the page"
    )
    parser.add_argument("--title", help="of the page; else the experiment's name")
    options = parser.parse_args(argv)
    print(report.write(options.workdir, options.out, title=options.title))
