"""Choose an experiment's learning rate on validation: all of them train in one program.

    python -m experiments.select made_uci:dna_nade_cpu --learning-rates 0.003 0.01 0.03 --steps 2000

Any setting of the experiment may follow, such as --hidden or --weight-decay, so that a small script
can try those one after the other; all but --steps and --data need tyro. A table goes to the
terminal, JSON to the standard output. The test split is not looked at.
"""

import argparse
import dataclasses
import json
import math
import sys

from experiments.benchmarks.reporting import show
from experiments.table import rows
from genjax import checks, families
from genjax.cli import options as options_room
from genjax.cli.experiment import parse
from genjax.cli.options import use_compilation_cache
from genjax.evals import metric
from genjax.train import Run
from genjax.train.rate_selection import Trial, best, select

# Settings of whole runs, which trials have no use for: nothing of them is kept or measured.
UNUSED = (
    *("workdir", "resume", "no_resume", "profile", "commit", "records", "distributed", "recipe"),
    *("learning_rate", "save_every", "sample_every", "samples", "keep", "writers", "log_every"),
    *("metric", "metric_samples", "classifier_steps", "fid_weights", "eval_samples"),
)


def main(argv: list[str] | None = None) -> int:
    """Train, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.select",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("experiment", metavar="EXPERIMENT[:RECIPE]", help="a row of the table")
    parser.add_argument("--learning-rates", nargs="+", type=float, required=True, metavar="RATE")
    parser.add_argument("--steps", type=int, help="updates; else the experiment's")
    parser.add_argument("--data", help="the data, a .npz where nothing can be fetched")
    options, settings = parser.parse_known_args(argv)
    use_compilation_cache()
    known = rows()
    if options.experiment not in known:
        parser.error(f"there is no row '{options.experiment}'; there are {', '.join(known)}")
    try:
        run = with_own(known[options.experiment], options)
        unused = options_room.given_options(settings) & {
            options_room.option_name(name) for name in UNUSED
        }
        if unused:
            raise ValueError(
                f"{', '.join(sorted(unused))}: trials are neither kept nor measured, and have the"
                f" rates of --learning-rates; leave it out."
            )
        if settings:
            _, run = parse({"it": run}, __doc__ or "", settings)
        trials = select(run, options.learning_rates)
        chosen = best(trials)
    except (*checks.USER_ERRORS, FloatingPointError) as error:
        print(
            f"error: {checks.error_message(error, '--learning-rates, --batch-size')}",
            file=sys.stderr,
        )
        return 1 if isinstance(error, FloatingPointError) else 2
    measure = metric(families.get(run.family), run.model)
    found = [
        # JSON has no infinity: a run that diverged has no figure.
        {k: v if math.isfinite(v) else None for k, v in t._asdict().items()}
        | {"metric": measure, "chosen": t is chosen}
        for t in trials
    ]
    print(json.dumps(found, indent=1), flush=True)  # first: it is what the training was for
    title = f"{options.experiment}, {run.train.steps:,} steps at most"
    show(title, [table_row(t, measure, chosen) for t in trials], sys.stderr)
    return 0


def with_own(run: Run, options: argparse.Namespace) -> Run:
    """The experiment with the steps and the data that were asked for."""
    if options.steps is not None:
        run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=options.steps))
    if options.data is not None:
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=options.data))
    return run


def table_row(trial: Trial, measure: str, chosen: Trial) -> dict[str, str | float]:
    """One line for a person."""
    ok = math.isfinite(trial.validation)
    return {
        "learning rate": f"{trial.learning_rate:g}",
        f"validation {measure}": f"{trial.validation:.3f}" if ok else "diverged",
        "std error": f"{trial.std_error:.3f}" if ok else "-",
        "at step": f"{trial.step:,}",
        "choice": "chosen" if trial is chosen else "-",
    }


if __name__ == "__main__":
    sys.exit(main())
