"""Writes a gallery of runs and weights as a static site; open DIR/index.html in a browser.

    python -m experiments.gallery --out gallery                        # the package's weights
    python -m experiments.gallery --out gallery runs weights.safetensors NAME

A family without a run has a page without samples. What needs weights or data that are not there is
left out with a note.
"""

import argparse
import pathlib
import sys

from experiments.gallery.site import write_site
from genjax.cli.options import run_command, set_up_process
from genjax.train.named_weights import weights_names


def main(argv: list[str] | None = None) -> int:
    """Writes the site, prints the path of the map and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="*",
        metavar="RUN or NAME",
        help="a run, a folder of runs, a weights file or a name of weights; by default all weights"
        " of the package",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the site")
    text = "data that have moved since training, or that weights have no path of"
    parser.add_argument("--data", nargs="+", default=[], metavar="SOURCE", help=text)
    options = parser.parse_args(argv)
    set_up_process()

    def write() -> None:
        print(write_site(options.out, options.source or weights_names(), options.data)[0])

    return run_command(write)


if __name__ == "__main__":
    sys.exit(main())
