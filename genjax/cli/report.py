"""`python -m genjax.report WORKDIR...`: runs as one page, with curves and samples over time."""

import argparse
import pathlib
import sys

from genjax import report


def main(argv: list[str] | None = None) -> int:
    """Write the page and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m genjax.report", description=__doc__)
    parser.add_argument(
        "workdir", type=pathlib.Path, nargs="+", help="folder of a run, or one that holds runs"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="the page"
    )
    parser.add_argument("--title", help="of the page; else the experiment's name")
    options = parser.parse_args(argv)
    try:
        print(report.write(options.workdir, options.out, title=options.title))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
