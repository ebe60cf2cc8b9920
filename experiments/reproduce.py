"""Run the experiments of the table as a queue within a budget of time.

Stops in time with everything saved; the next call continues a cut run and then the queue, until
every schedule has ended. Needs JAX's own packages only when the data are .npz files:

    genjax convert binarized_mnist carried/binarized_mnist.npz       # where TFDS is
    python -m experiments.reproduce --budget 25m --data binarized_mnist=carried/binarized_mnist.npz

Exit status: 0 when nothing is left to run, 3 when something is, 1 when a run diverged, 2 for a
mistake, or a run that found no memory.
"""

import argparse
import dataclasses
import pathlib
import re
import sys
import time
import traceback

import jax

from experiments.table import RECORDS, rows
from genjax import checks
from genjax.cli.experiment import recipe_differences
from genjax.cli.options import use_compilation_cache
from genjax.evals.requirements import REQUIREMENTS
from genjax.train import Run, fit
from genjax.train.archive import create_archive, extract_archive
from genjax.train.record import run_name, write_record
from genjax.train.signals import Signals


def seconds(text: str) -> float:
    """A length of time in words: 90s, 25m, 1h30m.

    >>> seconds("1h30m")
    5400.0
    """
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no length of time; write 90s, 25m or 1h30m")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + rest


def replacement(text: str) -> tuple[str, str]:
    """NAME=FILE of `--data`."""
    name, mark, path = text.partition("=")
    if not (name and mark and path):
        raise argparse.ArgumentTypeError(f"'{text}' must be NAME=FILE, such as mnist=mnist.npz")
    return name, path


def tell(name: str, error: Exception) -> None:
    """Why a run could not go on: a sentence, and the whole of what no sentence explains."""
    try:
        why = checks.error_message(error, "another device, or --batch-size of the run itself")
    except jax.errors.JaxRuntimeError:
        traceback.print_exception(error)
        why = type(error).__name__
    print(f"error: {name}: {why}", file=sys.stderr)


def queue(options: argparse.Namespace) -> list[Run]:
    """Runs of the table in its order, one a recipe and seed.

    Raises:
      ValueError: an option is of none of them; one sentence.
    """
    known = rows()
    data = dict(options.data)
    runs, idle = [], set(data)
    for name, run in known.items():
        if options.only and not any(name == o or name.split(":")[0] == o for o in options.only):
            continue
        source = data.get(run.data.data, run.data.data)
        idle.discard(run.data.data)
        train = run.train
        if options.steps is not None:
            train = dataclasses.replace(train, steps=options.steps)
        metric = REQUIREMENTS.get(train.metric)
        if options.fid_weights and metric is not None and metric.inception:
            train = dataclasses.replace(train, fid_weights=str(options.fid_weights))
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=source), train=train)
        runs += [dataclasses.replace(run, seed=seed) for seed in options.seeds]
    if idle:
        raise ValueError(
            f"no run takes the data '{sorted(idle)[0]}'; they take"
            f" {', '.join(sorted({known[run.experiment].data.data for run in runs}))}."
        )
    if options.fid_weights and not any(run.train.fid_weights for run in runs):
        raise ValueError("no run asks for the standard network; leave out --fid-weights.")
    return runs


def main(argv: list[str] | None = None) -> int:
    """Run the queue; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--budget", type=seconds, help="time to spend, 25m; none is no limit")
    parser.add_argument("--only", nargs="+", help="experiments, or experiment:recipe rows")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run each")
    parser.add_argument("--steps", type=int, help="shorten every run; such runs make no row")
    parser.add_argument("--data", nargs="+", type=replacement, default=[], metavar="NAME=FILE")
    network = "pt_inception-2015-12-05-6726825d.pth"
    parser.add_argument("--fid-weights", type=pathlib.Path, metavar="FILE", help=network)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS)
    parser.add_argument("--commit", help="commit of the code, where there is no git")
    parser.add_argument("--start-from", type=pathlib.Path, help="folder with a pack to go on from")
    parser.add_argument("--pack", type=pathlib.Path, help="folder for parts of at most 16 MiB")
    options = parser.parse_args(argv)
    began = time.monotonic()
    known = rows()
    for only in options.only or []:
        if not any(only in (name, name.split(":")[0]) for name in known):
            parser.error(f"there is no experiment '{only}'; there are {', '.join(known)}")
    # Packing and the interpreter's end need their share of the budget.
    reserve = 20.0 if options.pack else 5.0
    deadline = None if options.budget is None else began + options.budget - reserve
    use_compilation_cache()
    left: list[str] = []
    failed: dict[str, bool] = {}  # whether it diverged
    here: list[pathlib.Path] = []
    stopped = False
    try:
        if options.start_from:
            names = extract_archive(options.start_from, options.workdir)
            print(f"going on from {', '.join(names) or 'nothing new'}", file=sys.stderr)
            here += [options.workdir / name for name in names]
        for folder in (options.records, options.pack):
            if folder is not None and folder.exists() and not folder.is_dir():
                raise ValueError(f"{folder} is no folder; name another.")
        runs = queue(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with Signals() as signals:
        for run in runs:
            workdir = options.workdir / run_name(run.experiment, run.seed)
            here.append(workdir)
            if stopped or signals.caught or (deadline and time.monotonic() > deadline):
                left.append(workdir.name)
                continue
            try:
                result = fit(run, workdir, deadline=deadline, commit=options.commit)
                if result.record and not recipe_differences(
                    known[run.experiment], run, result.record
                ):
                    write_record(options.records, result.record)
            except (*checks.USER_ERRORS, FloatingPointError) as error:
                # One run that cannot go on does not take the others along. The error is not kept:
                # it holds the run's arrays, and the next may need their room.
                failed[workdir.name] = isinstance(error, FloatingPointError)
                tell(workdir.name, error)
                continue
            stopped = result.signalled or not result.finished
            if result.record is None:
                left.append(workdir.name)
        if options.pack:
            files = create_archive([w for w in dict.fromkeys(here) if w.is_dir()], options.pack)
            print(f"packed {len(files) - 1} parts in {options.pack}", file=sys.stderr)
    took = time.monotonic() - began
    print(f"{took:.0f} s; left to run: {', '.join(left) or 'nothing'}", file=sys.stderr)
    if not all(failed.values()):
        return 2
    return 1 if failed else 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
