"""Trains a progressive GAN over one growth, from 512x512 to 1024x1024, on narrow networks.

One step at half the side, then steps of the fade to the full side on random images. A run that is
stopped inside the fade and resumes from its checkpoint is compared with one that was not stopped:
the exit status is 1 if a bit of their states differs, a value is not finite, or nothing grew.

    python -m experiments.benchmarks.growing_run --out growing.json

The seconds of a step are those between two lines of metrics, without the first of each side, which
compiles. The peak of memory is that of the process.
"""

import argparse
import json
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np

from experiments.benchmarks.reporting import make_parser, prepare_out, provenance, save
from genjax.cli.options import set_up_process
from genjax.core import Optimizer
from genjax.data import Data, Dataset, save_npz
from genjax.families import progressive
from genjax.train import Run, Train, fit
from genjax.train.checkpoint import leaves
from genjax.train.load_run import load_state
from genjax.train.record import device

STOP, STEPS = 3, 5  # of the interrupted run at first, and in all; the fade begins after step 1
ADAM = Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)


def main(argv: list[str] | None = None) -> int:
    """Trains both runs, prints and writes the figures, and returns the exit status."""
    set_up_process()
    parser = make_parser("growing_run", __doc__)
    add = parser.add_argument
    add("--side", type=int, default=1024, help="of the images after growing (1024)")
    add("--base", type=int, default=8192, help="8192")
    add("--max-width", type=int, default=16, help="most channels of a map (16)")
    add("--batch-size", type=int, default=1, help="images per step (1)")
    add("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    try:
        prepare_out(options.out)
        config = config_of(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = measure(config, options.batch_size, pathlib.Path(folder))
    save(options.out, provenance(options, device=device()), [found])
    print(json.dumps(found))
    return 0 if found["finite"] and found["grown"] and found["resumed_to_the_bit"] else 1


def config_of(options: argparse.Namespace) -> progressive.Config:
    """Returns the networks, whose fade takes more steps than the run."""
    return progressive.Config(
        shape=(options.side, options.side, 3),
        start=options.side // 2,
        base=options.base,
        max_width=options.max_width,
        latent=options.max_width,
        group=options.batch_size,
        fade_images=2 * STEPS * options.batch_size,
        stable_images=options.batch_size,
        refresh=1,
    )


def measure(config: progressive.Config, batch_size: int, folder: pathlib.Path) -> dict[str, Any]:
    """Trains in a folder without and with an interruption, and returns the figures."""
    data = write_images(folder, config.shape, 2 * batch_size)
    whole, cut = folder / "whole", folder / "cut"
    seconds = {"whole": train(config, batch_size, data, whole, STEPS)}
    seconds["cut"] = train(config, batch_size, data, cut, STOP)
    seconds["resumed"] = train(config, batch_size, data, cut, STEPS)
    states = [load_state(path, newest=True)[1] for path in (whole, cut)]
    lines = metrics_of(whole)
    times = [line["seconds"] for line in lines]
    return {
        "seconds_per_step": min(np.diff(times)[1:]),
        "seconds": seconds,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "alpha": [line["alpha"] for line in lines],
        "finite": all(map(finite, states)),
        "grown": progressive.side(states[0].variables) == config.shape[0],
        "resumed_to_the_bit": same(*states),
        "metrics": lines[-1],
    }


def write_images(folder: pathlib.Path, shape: tuple[int, ...], count: int) -> str:
    """Writes random images as an .npz file, and returns its path."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, *shape), np.uint8)
    path = folder / "images.npz"
    save_npz(
        Dataset("images", {name: {"x": x} for name in ("train", "validation", "test")}, 256), path
    )
    return str(path)


def train(
    config: progressive.Config, batch_size: int, data: str, workdir: pathlib.Path, steps: int
) -> float:
    """Trains or resumes a run, and returns its seconds."""
    run = Run(
        experiment="growing_run",
        family="progressive",
        model=config,
        data=Data(data=data, transform="scale(-1, 1)"),
        optimizer={"discriminator": ADAM, "generator": ADAM},
        train=Train(steps=steps, batch_size=batch_size, ema=0.999, log_every=1, samples=1),
    )
    start = time.monotonic()
    fit(run, workdir, quiet=True)
    return time.monotonic() - start


def metrics_of(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "alpha" in line]


def finite(state: Any) -> bool:
    """Returns whether all numbers of a state are finite."""
    return all(np.isfinite(np.asarray(a)).all() for a in leaves(state).values())


def same(a: Any, b: Any) -> bool:
    """Returns whether two states have the same bits."""
    first, second = leaves(a), leaves(b)
    return first.keys() == second.keys() and all(
        np.asarray(first[path]).tobytes() == np.asarray(second[path]).tobytes() for path in first
    )


if __name__ == "__main__":
    sys.exit(main())
