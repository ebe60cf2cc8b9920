"""Run experiments as a queue within a time budget.

The queue stops in time with everything saved; the same command then resumes the interrupted run and
the queue, until all runs are finished. With data as .npz files it needs JAX's own packages only:

    genjax convert binarized_mnist carried/binarized_mnist.npz       # where TFDS is installed
    python -m experiments.reproduce --budget 25m --data binarized_mnist=carried/binarized_mnist.npz

Exit status: 0 when all runs are finished, 3 when some are left, 1 when a run diverged, 2 after a
user error or a run that exhausted memory.
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
from genjax.cli.earlier_runs import named_runs
from genjax.cli.experiment import (
    lower_rate,
    recipe_differences,
    same_quantity,
    without_figure,
)
from genjax.cli.options import set_up_process
from genjax.evals.requirements import REQUIREMENTS
from genjax.train import Run, fit
from genjax.train.archive import create_archive, extract_archive
from genjax.train.diverged import Diverged
from genjax.train.record import run_name, write_record
from genjax.train.signals import Signals


def seconds(text: str) -> float:
    """Parses a duration such as 90s, 25m or 1h30m.

    >>> seconds("1h30m")
    5400.0
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a duration; write 90s, 25m or 1h30m")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return 3600.0 * hours + 60.0 * minutes + rest


def replacement(text: str) -> tuple[str, str]:
    """Parses NAME=FILE of `--data`."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"'{text}' must be NAME=FILE, such as mnist=mnist.npz")
    return name, path


def print_error(name: str, error: Exception, remedy: str = "") -> None:
    """Prints a failed run's error as one line, after the traceback of an unexpected one."""
    try:
        message = checks.error_message(error, "another device, or --batch-size of the run itself")
    except jax.errors.JaxRuntimeError:
        traceback.print_exception(error)
        message = type(error).__name__
    print(f"error: {name}: {message}{remedy}", file=sys.stderr)


def command_after(error: Exception, run: Run, workdir: pathlib.Path) -> str:
    """Returns the command that starts from the weights of a diverged run, with its recipe."""
    if not isinstance(error, Diverged) or error.phase:  # options change the last phase only
        return ""
    file, _, recipe = run.experiment.partition(":")
    argv = ["--recipe", recipe] if recipe else []
    argv += ["--seed", str(run.seed), "--workdir", str(workdir)]
    argv += ["--steps", str(run.train.steps), "--data", run.data.data]
    return lower_rate(run, ["python", "-m", f"experiments.{file}"], argv, workdir, error.saved)


def pack(workdirs: list[pathlib.Path], out: pathlib.Path) -> bool:
    """Archives runs and returns whether that succeeded, else prints why not."""
    try:
        files = create_archive(workdirs, out)
    except (ValueError, OSError) as error:
        print(f"error: {out} is not written: {error}", file=sys.stderr)
        return False
    print(f"archived in {len(files) - 1} parts in {out}", file=sys.stderr)
    return True


def queue(recipes: dict[str, Run], options: argparse.Namespace) -> list[Run]:
    """Returns the selected runs, one per recipe and seed, in the order of the table.

    Runs that others name, of parts or rankers, come before them.

    Raises:
      ValueError: an option applies to none of them.
    """
    data = dict(options.data)
    runs, unused = [], set(data)
    for name, run in recipes.items():
        if options.only and not {name, name.split(":")[0]} & set(options.only):
            continue
        unused.discard(run.data.data)
        source = data.get(run.data.data, run.data.data)
        train, phases = run.train, run.phases
        if options.steps is not None:
            train = dataclasses.replace(train, steps=options.steps)
            phases = tuple(
                dataclasses.replace(p, train=dataclasses.replace(p.train, steps=options.steps))
                for p in phases
            )
        inception = any(REQUIREMENTS[m].inception for m in train.metrics if m in REQUIREMENTS)
        if options.fid_weights and inception:
            train = dataclasses.replace(train, fid_weights=str(options.fid_weights))
        run = dataclasses.replace(
            run, data=dataclasses.replace(run.data, data=source), train=train, phases=phases
        )
        if not same_quantity(recipes[name], run):
            run = without_figure(run)
        runs += [dataclasses.replace(run, seed=seed) for seed in options.seeds]
    if unused:
        sets = sorted({recipes[run.experiment].data.data for run in runs})
        raise ValueError(f"no run uses the data '{min(unused)}'; they use {', '.join(sets)}.")
    if options.fid_weights and not any(run.train.fid_weights for run in runs):
        raise ValueError("no run uses the Inception network; leave out --fid-weights.")
    return parts_first(runs)


def parts_first(runs: list[Run]) -> list[Run]:
    """Returns the runs in their order, but each after those that its settings name."""
    found: dict[tuple[str, int], Run] = {}
    waiting = {(run.experiment, run.seed): run for run in runs}

    def add(key: tuple[str, int]) -> None:
        run = waiting.pop(key, None)
        if run is not None:
            for name in sorted(named_runs(run)):
                add((name, run.seed))
            found[key] = run

    for run in runs:
        add((run.experiment, run.seed))
    return list(found.values())


def parse(recipes: dict[str, Run], argv: list[str] | None) -> argparse.Namespace:
    """Parses the options.

    Raises:
      SystemExit: after `--help` or a usage error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--budget", type=seconds, help="time limit, such as 25m (none)")
    parser.add_argument("--only", nargs="+", help="experiments, or FILE:RECIPE rows")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run each (0)")
    parser.add_argument("--steps", type=int, help="shorten every run; no records are stored")
    parser.add_argument("--data", nargs="+", type=replacement, default=[], metavar="NAME=FILE")
    network = "pt_inception-2015-12-05-6726825d.pth"
    parser.add_argument("--fid-weights", type=pathlib.Path, metavar="FILE", help=network)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS)
    parser.add_argument("--commit", help="commit of the code, where git is not available")
    parser.add_argument("--start-from", type=pathlib.Path, help="folder of an archive to extract")
    parser.add_argument("--pack", type=pathlib.Path, help="archive all runs in parts of 16 MiB")
    options = parser.parse_args(argv)
    for only in options.only or []:
        if not any(only in (name, name.split(":")[0]) for name in recipes):
            parser.error(f"there is no experiment '{only}'; there are {', '.join(recipes)}")
    return options


def main(argv: list[str] | None = None) -> int:
    """Runs the queue and returns the exit status; see the module's docstring."""
    start = time.monotonic()
    recipes = rows()
    options = parse(recipes, argv)
    # Archiving and the interpreter's exit need their share of the budget.
    reserve = 20.0 if options.pack else 5.0
    deadline = None if options.budget is None else start + options.budget - reserve
    set_up_process()
    left: list[str] = []
    failed: dict[str, bool] = {}  # whether it diverged
    workdirs: list[pathlib.Path] = []
    stopped, packed = False, True
    try:
        if options.start_from:
            names = extract_archive(options.start_from, options.workdir)
            print(f"extracted {', '.join(names) or 'nothing new'}", file=sys.stderr)
            workdirs += [options.workdir / name for name in names]
        for folder in (options.records, options.pack):
            if folder is not None and folder.exists() and not folder.is_dir():
                raise ValueError(f"{folder} is not a folder; name another.")
        runs = queue(recipes, options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with Signals() as signals:
        for run in runs:
            workdir = options.workdir / run_name(run.experiment, run.seed)
            workdirs.append(workdir)
            if stopped or signals.caught or (deadline and time.monotonic() > deadline):
                left.append(workdir.name)
                continue
            try:
                result = fit(run, workdir, deadline=deadline, commit=options.commit)
                if result.record and not recipe_differences(
                    recipes[run.experiment], run, result.record
                ):
                    write_record(options.records, result.record)
            except (*checks.USER_ERRORS, FloatingPointError) as error:
                # The other runs continue. The error is not kept: it holds the run's arrays.
                failed[workdir.name] = isinstance(error, FloatingPointError)
                print_error(workdir.name, error, command_after(error, run, workdir))
                continue
            stopped = result.signalled or not result.finished
            if result.record is None:
                left.append(workdir.name)
        if options.pack:
            packed = pack([w for w in dict.fromkeys(workdirs) if w.is_dir()], options.pack)
    duration = time.monotonic() - start
    print(f"{duration:.0f} s; left to run: {', '.join(left) or 'nothing'}", file=sys.stderr)
    if not (packed and all(failed.values())):
        return 2
    return 1 if failed else 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
