"""`genjax report WORKDIR...`: writes runs as one HTML page with curves and samples over time."""

import pathlib

from genjax import report
from genjax.cli.options import ArgumentParser, command


@command()
def main(argv: list[str]) -> None:
    """Writes the page and prints its path."""
    parser = ArgumentParser("report", __doc__)
    parser.add_argument(
        "workdir",
        type=pathlib.Path,
        nargs="+",
        help="a run: folder, weights file or name; or a folder of runs",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="HTML file to write"
    )
    parser.add_argument("--title", help="title of the page; else the name of the experiment")
    options = parser.parse_args(argv)
    print(report.write(options.workdir, options.out, title=options.title))
