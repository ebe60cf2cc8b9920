"""Does the input keep up? Streaming rates beside what each family of the tour consumes.

Trains every stop of the tour for some steps, once with the digits in memory and once with the
same digits streamed from disk, and prints the examples a second it consumed and the share of the
time that the loop waited for its input. Below, what streaming alone gives: of the prepared digits,
and of any prepared folder named on the command line (`--data`, such as one of 64x64 JPEGs).
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import TextIO

import jax

from experiments.examples.tour import STOPS
from genjax import checks, families
from genjax.cli.options import use_compilation_cache
from genjax.data import Data, load
from genjax.data.prepare import prepare
from genjax.data.shards import Writing
from genjax.data.streaming import Batches, batches
from genjax.train import Run, fit


def main(argv: list[str] | None = None) -> int:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.input_rate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="*", default=[], help="prepared folders or TFDS names")
    parser.add_argument("--only", nargs="*", choices=list(STOPS), help="just these families")
    parser.add_argument("--steps", type=int, default=1500, help="training steps a family")
    parser.add_argument("--examples", type=int, default=20000, help="examples streamed for a rate")
    parser.add_argument("--batch-size", type=int, default=128, help="of the rates")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="processes")
    parser.add_argument("--out", type=pathlib.Path, help="write the figures there as JSON")
    options = parser.parse_args(argv)
    use_compilation_cache()
    names = STOPS if options.only is None else options.only
    try:
        prepare_out(options.out)
        checks.positive(examples=options.examples, batch_size=options.batch_size)
        for workers in options.workers:
            checks.not_negative(workers=workers)
        if options.steps < 3:
            raise ValueError(f"steps must be 3 or more, a third is timed; got {options.steps}.")
        for source in options.data:  # before anything is trained
            load(Data(data=source, stream="yes"))
        with tempfile.TemporaryDirectory() as folder:
            digits = prepare("digits", folder, Writing(name="digits")).folder
            consumed = [consumption(n, str(digits), folder, options) for n in names if gradient(n)]
            rates = [
                rate(source, workers, options)
                for source in (str(digits), *options.data)
                for workers in options.workers
            ]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show("Consumption, and the share of time waited for input", consumed)
    show("Streaming alone", rates)
    if options.out:
        found = {"device": jax.devices()[0].device_kind, "consumed": consumed, "rates": rates}
        options.out.write_text(json.dumps(found, indent=1))
    return 0


def gradient(name: str) -> bool:
    """Counted families read everything once, in one batch: there is no rate to keep up with."""
    return families.get(STOPS[name].family).traits(STOPS[name].model).fit == "gradient"


def consumption(
    name: str, digits: str, folder: str, options: argparse.Namespace
) -> dict[str, str | float]:
    """One family, in memory and streamed: examples a second, and shares waited."""
    row: dict[str, str | float] = {"family": name}
    for how in ("memory", "streamed"):
        run = STOPS[name]
        streamed = dataclasses.replace(run.data, data=digits, stream="yes")
        data = run.data if how == "memory" else streamed
        train = dataclasses.replace(
            run.train,
            steps=options.steps,
            log_every=options.steps // 3,
            eval_every=0,
            sample_every=0,
            save_every=0,
            eval_samples=1,
        )
        run = dataclasses.replace(run, data=data, train=train)
        last = measured(run, pathlib.Path(folder) / f"{name}-{how}")
        row[f"{how}: examples/s"] = last["examples_per_second"]
        row[f"{how}: waited %"] = 100 * last["input_wait"]
    return row


def measured(run: Run, workdir: pathlib.Path) -> dict[str, float]:
    """Rates of the last third of a run: compiling is over then."""
    fit(run, workdir, devices=jax.devices()[:1], quiet=True)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "input_wait" in line][-1]


def rate(source: str, workers: int, options: argparse.Namespace) -> dict[str, str | float]:
    """Examples a second that streaming gives when nobody else works, from the second batch on."""
    dataset = load(Data(data=source, stream="yes"))
    rows = dataset.streams["train"]
    steps = max(2, options.examples // options.batch_size)
    source_of = Batches(rows, seed=0, start=0, steps=steps, size=options.batch_size)
    stream = batches(source_of, workers=workers)
    began = time.monotonic()
    next(stream)
    first = time.monotonic()
    count = sum(len(batch["x"]) for batch in stream)
    seconds = time.monotonic() - first
    return {
        "data": pathlib.Path(source).name if source.endswith("digits") else source,
        "shape": "x".join(map(str, dataset.shape)),
        "workers": workers,
        "examples/s": count / seconds,
        "seconds to the first": first - began,
    }


def show(title: str, rows: list[dict[str, str | float]], to: TextIO | None = None) -> None:
    """Print a table, by rich where it is installed; nothing where there is no row.

    It goes to the standard output, or `to` the error stream, where a pipe has JSON alone.
    """
    to = to or sys.stdout
    if not rows:
        return
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # a borrowed machine may have JAX's own packages alone
        print(title, file=to)
        for row in rows:
            print("  " + ", ".join(f"{k} {plain(v)}" for k, v in row.items()), file=to)
        return
    page = Table(title=title)
    for column in rows[0]:
        page.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        page.add_row(*map(plain, row.values()))
    # A pipe has no width: there nothing is cut off.
    Console(file=to, width=None if to.isatty() else 200).print(page)


def prepare_out(out: pathlib.Path | None) -> None:
    """Make the folder of a file that figures are to be written to, before there are any.

    Raises:
      ValueError: the file is a folder.
      OSError: its folder cannot be made.
    """
    if out is None:
        return
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; name a file in it.")
    out.parent.mkdir(parents=True, exist_ok=True)


def plain(value: str | float) -> str:
    """Large numbers without decimals."""
    if isinstance(value, float) and value < 100:
        return f"{value:,.2f}"
    return value if isinstance(value, str) else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
