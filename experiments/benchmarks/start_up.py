"""Measures start-up: imports, help, and the first step of the tour's NADE.

Each line is the shortest wall time of several fresh processes, from their start, and its excess
over that of JAX. The first step ends with its line of metrics; cold is with an empty cache of
compiled programs, warm with a filled one.

    python -m experiments.benchmarks.start_up
"""

import pathlib
import subprocess
import sys
import tempfile
import time

from experiments.benchmarks.loop_cost import cold_start
from experiments.benchmarks.reporting import make_parser
from experiments.examples.tour import RUNS
from genjax.train.run_config import resolve

COMMANDS = {
    "`import jax`": ["-c", "import jax"],
    "`import genjax`": ["-c", "import genjax"],
    "`import genjax.losses`": ["-c", "import genjax.losses"],
    "`import genjax.core`": ["-c", "import genjax.core"],
    "`import genjax.families.nade`": ["-c", "import genjax.families.nade"],
    "`import genjax.train`": ["-c", "import genjax.train"],
    "`genjax --help`": ["-m", "genjax", "--help"],
    "`genjax train nade --help`": ["-m", "genjax", "train", "nade", "--help"],
}


def main(argv: list[str] | None = None) -> int:
    """Prints the table and returns the exit status."""
    parser = make_parser("start_up", __doc__)
    parser.add_argument("--repeats", type=int, default=5, help="processes per line (5)")
    options = parser.parse_args(argv)
    run = resolve(RUNS["nade"], "cpu")
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats):  # all lines in turn: the machine's speed varies
        for title, words in COMMANDS.items():
            found.setdefault(title, []).append(timed(words))
        with tempfile.TemporaryDirectory() as folder:
            for name, seconds in cold_start(run, pathlib.Path(folder)).items():
                found.setdefault(f"first step, {name.removesuffix('_seconds')}", []).append(seconds)
    print("| | seconds | beyond JAX |\n|---|---|---|")
    jax = min(found["`import jax`"])
    for title, times in found.items():
        print(f"| {title} | {min(times):.2f} | {max(0.0, min(times) - jax):.2f} |")
    return 0


def timed(words: list[str]) -> float:
    """Returns the seconds of a Python process with these arguments."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
