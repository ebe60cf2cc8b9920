"""Select a learning rate on validation, training all candidates in one program.

    python -m experiments.select made_uci:dna_nade_cpu --learning-rates 0.003 0.01 0.03 --steps 2000

Any setting of the experiment may follow, such as --hidden or --weight-decay; all but --steps and
--data need tyro. JSON is printed to the standard output and a table to the standard error. The test
split is not used.
"""

import argparse
import dataclasses
import json
import math
import sys

from experiments.benchmarks.reporting import show
from experiments.table import rows
from genjax import evals, families
from genjax.cli.experiment import parse
from genjax.cli.options import (
    given_options,
    option_name,
    run_command,
    set_up_process,
)
from genjax.train import Run
from genjax.train.rate_selection import Trial, best, select

# Settings without effect on trials, which are neither saved nor evaluated on test.
UNUSED = (
    *("workdir", "resume", "no_resume", "profile", "commit", "records", "distributed", "recipe"),
    *("learning_rate", "save_every", "sample_every", "samples", "keep", "writers", "log_every"),
    *("metric", "metric_samples", "classifier_steps", "fid_weights", "eval_samples"),
)


def main(argv: list[str] | None = None) -> int:
    """Trains, prints the results and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.select",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("experiment", metavar="FILE:RECIPE", help="a row of the table")
    parser.add_argument("--learning-rates", nargs="+", type=float, required=True, metavar="RATE")
    parser.add_argument("--steps", type=int, help="updates (those of the recipe)")
    parser.add_argument("--data", help="data set or .npz file (that of the recipe)")
    options, settings = parser.parse_known_args(argv)
    set_up_process()
    recipes = rows()
    if options.experiment not in recipes:
        parser.error(f"there is no row '{options.experiment}'; there are {', '.join(recipes)}")
    run = recipes[options.experiment]
    return run_command(lambda: compare(run, options, settings), "--learning-rates, --batch-size")


def compare(run: Run, options: argparse.Namespace, settings: list[str]) -> None:
    """Trains one run per learning rate and prints JSON and a table.

    Raises:
      ValueError: an option is invalid or has no effect.
      FloatingPointError: every run diverged.
    """
    if options.steps is not None:
        run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=options.steps))
    if options.data is not None:
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, data=options.data))
    unused = given_options(settings) & set(map(option_name, UNUSED))
    if unused:
        raise ValueError(
            f"{', '.join(sorted(unused))} has no effect: trials are neither saved nor evaluated on"
            " test, and use the rates of --learning-rates; leave it out."
        )
    if settings:
        _, run = parse({"run": run}, __doc__ or "", settings)
    trials = select(run, options.learning_rates)
    chosen = best(trials)
    name, _ = evals.evaluated_quantity(families.get(run.family), run.model) or ("", "")
    results = [
        # JSON has no infinity: a run that diverged has null.
        {k: v if math.isfinite(v) else None for k, v in trial._asdict().items()}
        | {"metric": name, "chosen": trial is chosen}
        for trial in trials
    ]
    print(json.dumps(results, indent=1), flush=True)
    title = f"{options.experiment}, {run.train.steps:,} steps at most"
    show(title, [table_row(trial, name, chosen) for trial in trials], sys.stderr)


def table_row(trial: Trial, metric_name: str, chosen: Trial) -> dict[str, str | float]:
    """Returns a trial as the cells of a table."""
    finite = math.isfinite(trial.validation)
    return {
        "learning rate": f"{trial.learning_rate:g}",
        f"validation {metric_name}": f"{trial.validation:.3f}" if finite else "diverged",
        "std error": f"{trial.std_error:.3f}" if finite else "-",
        "at step": f"{trial.step:,}",
        "choice": "chosen" if trial is chosen else "-",
    }


if __name__ == "__main__":
    sys.exit(main())
