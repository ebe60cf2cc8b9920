"""A lecture on generative models: twelve systems in the order of a course, each trained in seconds.

The lessons are notebook-style scripts, `explicit.py`, `implicit.py` and `conditional.py`. An editor
with cells (#%%), such as VS Code, Spyder or PyCharm, shows their text and runs them cell by cell.
This command runs them all. Every figure is measured here, with chance or another baseline beside
it; OUT gets a picture per lesson and index.html.

    python -m experiments.examples.lecture                     # about eight minutes of one core
    python -m experiments.examples.lecture --only nade vae --out runs/lecture
    python -m experiments.examples.lecture --smoke             # a few steps each, to check it works
"""

import argparse
import pathlib
import sys

from experiments.examples.lecture import conditional, explicit, implicit
from experiments.examples.lecture.lessons import FOLDER, in_order, run_lesson, write_page
from genjax.cli.options import run_command, set_up_process

MODULES = (explicit, implicit, conditional)  # their import registers the lessons


def main(argv: list[str] | None = None) -> int:
    """Runs the lessons, writes their page and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.lecture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [lesson.name for lesson in in_order()]
    parser.add_argument("--only", nargs="+", choices=names, help="run these lessons")
    parser.add_argument("--smoke", action="store_true", help="train a few steps each")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help=f"folder ({FOLDER})")
    options = parser.parse_args(argv)
    set_up_process()

    def run() -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        chosen = [lesson for lesson in in_order() if lesson.name in (options.only or names)]
        notes = [run_lesson(lesson, options.out, smoke=options.smoke) for lesson in chosen]
        print(f"Pictures and text: {write_page(notes, options.out / 'index.html')}")

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
