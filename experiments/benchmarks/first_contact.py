"""Times what a new user does first, in a fresh environment, and prints the seconds of each step.

    python -m experiments.benchmarks.first_contact

The steps, in this order: a virtual environment and the first install command of README; a picture
drawn by weights of the package; one line of Python that loads them; the tour; the example for own
photos; and the figure of a recorded run, computed again from its weights. The last line
that each step prints is below the table. The install needs a package index.

The exit status is 1 if a step fails, or if the picture takes longer than 10 seconds.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.benchmarks.reporting import make_parser

ROOT = pathlib.Path(__file__).parents[2]
PICTURE_SECONDS = 10.0
"""Most seconds from the command to a picture, once the package is installed."""
WEIGHTS = "nade_digits"


class Step(NamedTuple):
    """A command of a new user."""

    title: str
    words: Sequence[str]
    """Arguments of Python."""
    made: str = ""
    """File that it must write, relative to the folder of outputs."""


def steps(out: pathlib.Path) -> list[Step]:
    """Returns the steps, whose outputs go to a folder."""
    load = (
        "import genjax, jax; m = genjax.from_pretrained('nade_digits');"
        " x = m.family.sample(m.config, m.variables, jax.random.key(0), 16);"
        " print(x.shape, m.record['obtained'], m.record['unit'])"
    )
    return [
        Step("install", ["-m", "pip", "install", "--quiet", "-e", str(ROOT)]),
        Step(
            "picture",
            ["-m", "genjax", "sample", WEIGHTS, "--out", str(out / "picture.png")],
            "picture.png",
        ),
        Step("weights in Python", ["-c", load]),
        Step(
            "tour",
            ["-m", "experiments.examples.tour", "--out", str(out / "tour")],
            "tour/report.html",
        ),
        Step("own photos", ["-m", "experiments.examples.own_photos", "--out", str(out / "photos")]),
        Step("figure from weights", ["-m", "genjax", "evaluate", WEIGHTS, "--figure"]),
    ]


def run_step(step: Step, python: str, environment: Mapping[str, str]) -> tuple[float, str]:
    """Runs a step in the root of the repository.

    Returns:
      Its seconds and the last line of its output.

    Raises:
      ValueError: it fails.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [python, *step.words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise ValueError(f"{step.title} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    lines = done.stdout.strip().splitlines()
    return seconds, lines[-1] if lines else ""


def main(argv: list[str] | None = None) -> int:
    """Prints the table and returns the exit status."""
    parser = make_parser("first_contact", __doc__)
    names = [step.title for step in steps(pathlib.Path())]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="STEP")
    parser.add_argument(
        "--python", help="of an environment with genjax; no environment is made and installed"
    )
    options = parser.parse_args(argv)
    chosen = [name for name in options.only if name != "install" or not options.python]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        # Nothing of this process, such as a path or a cache of compiled programs, is inherited.
        kept = ("PATH", "HOME", "JAX_PLATFORMS", "TFDS_DATA_DIR", "SSL_CERT_FILE")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"XDG_CACHE_HOME": str(work / "cache"), "MPLCONFIGDIR": str(work / "mpl")}
        python = options.python or str(work / "venv" / "bin" / "python")
        print("| step | seconds |\n|---|---|")
        if not options.python:
            began = time.perf_counter()
            venv.create(work / "venv", with_pip=True)
            print(f"| environment | {time.perf_counter() - began:.1f} |", flush=True)
        outputs, total = [], 0.0
        for step in steps(work / "out"):
            if step.title not in chosen:
                continue
            try:
                seconds, last = run_step(step, python, environment)
                if step.made and not (work / "out" / step.made).is_file():
                    raise ValueError(f"{step.title} wrote no {step.made}.")
            except ValueError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            total += seconds
            print(f"| {step.title} | {seconds:.1f} |", flush=True)
            outputs.append(f"{step.title}: {last}")
            if step.title == "picture" and seconds > PICTURE_SECONDS:
                print(
                    f"error: the picture took {seconds:.1f} s; at most {PICTURE_SECONDS:.0f} s.",
                    file=sys.stderr,
                )
                return 1
        print(f"| all of these | {total:.1f} |\n")
        print("\n".join(outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
