"""Compares the rate at which each family consumes examples with the rate of streaming.

Trains every family of the tour for some steps, with the digits in memory and streamed from disk,
and prints examples per second and the percentage of time that the loop waits for input. A second
table has the rate of streaming without training, for the digits and the data sets of `--data`.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time

import jax

from experiments.benchmarks.reporting import Row, make_parser, prepare_out, show
from experiments.examples.tour import RUNS
from genjax import checks, families
from genjax.cli.options import set_up_process
from genjax.data import Data, load
from genjax.data.prepare import prepare
from genjax.data.shards import WriteOptions
from genjax.data.streaming import Batches, batches
from genjax.train import Run, fit


def main(argv: list[str] | None = None) -> int:
    """Measures, prints two tables and returns the exit status."""
    parser = make_parser("input_rate", __doc__)
    parser.add_argument("--data", nargs="*", default=[], help="prepared folders or TFDS names")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), help="only these families")
    parser.add_argument("--steps", type=int, default=1500, help="training steps per family (1500)")
    parser.add_argument("--examples", type=int, default=20000, help="examples streamed (20000)")
    parser.add_argument("--batch-size", type=int, default=128, help="of the streaming table (128)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="readers (0 2)")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args(argv)
    set_up_process()
    names = RUNS if options.only is None else options.only
    try:
        prepare_out(options.out)
        checks.positive(examples=options.examples, batch_size=options.batch_size)
        for workers in options.workers:
            checks.not_negative(workers=workers)
        if options.steps < 3:
            raise ValueError(
                f"`steps` must be 3 or more, because the last third is timed; got {options.steps}."
            )
        for source in options.data:  # before anything is trained
            load(Data(data=source, stream="yes"))
        with tempfile.TemporaryDirectory() as folder:
            digits = prepare("digits", folder, WriteOptions(name="digits")).folder
            consumed = [
                consumption(n, str(digits), folder, options) for n in names if by_gradient(n)
            ]
            rates = [
                rate(source, workers, options)
                for source in (str(digits), *options.data)
                for workers in options.workers
            ]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show("Consumption, and the percentage of time spent waiting for input", consumed)
    show("Streaming alone", rates)
    if options.out:
        found = {"device": jax.devices()[0].device_kind, "consumed": consumed, "rates": rates}
        options.out.write_text(json.dumps(found, indent=1))
    return 0


def by_gradient(name: str) -> bool:
    """Returns whether a family trains by gradient; others read the data too few times to time."""
    return families.get(RUNS[name].family).traits(RUNS[name].model).fit == "gradient"


def consumption(name: str, digits: str, folder: str, options: argparse.Namespace) -> Row:
    """Returns examples per second and the percentage of time waited, in memory and streamed."""
    row: Row = {"family": name}
    for source in ("memory", "streamed"):
        run = RUNS[name]
        streamed = dataclasses.replace(run.data, data=digits, stream="yes")
        train = dataclasses.replace(
            run.train,
            steps=options.steps,
            log_every=options.steps // 3,
            eval_every=0,
            sample_every=0,
            save_every=0,
            eval_samples=1,
        )
        data = run.data if source == "memory" else streamed
        run = dataclasses.replace(run, data=data, train=train)
        last = last_metrics(run, pathlib.Path(folder) / f"{name}-{source}")
        row[f"{source}: examples/s"] = last["examples_per_second"]
        row[f"{source}: waited %"] = 100 * last["input_wait"]
    return row


def last_metrics(run: Run, workdir: pathlib.Path) -> dict[str, float]:
    """Trains a run, and returns the metrics of its last third, which exclude compilation."""
    fit(run, workdir, devices=jax.devices()[:1], quiet=True)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "input_wait" in line][-1]


def rate(source: str, workers: int, options: argparse.Namespace) -> Row:
    """Returns examples per second of streaming alone, from the second batch on."""
    dataset = load(Data(data=source, stream="yes"))
    rows = dataset.streams["train"]
    steps = max(2, options.examples // options.batch_size)
    plan = Batches(rows, seed=0, start=0, steps=steps, size=options.batch_size)
    stream = batches(plan, workers=workers)
    start = time.monotonic()
    next(stream)
    first = time.monotonic()
    count = sum(len(batch["x"]) for batch in stream)
    seconds = time.monotonic() - first
    return {
        "data": pathlib.Path(source).name if source.endswith("digits") else source,
        "shape": "x".join(map(str, dataset.shape)),
        "workers": workers,
        "examples/s": count / seconds,
        "seconds to the first": first - start,
    }


if __name__ == "__main__":
    sys.exit(main())
