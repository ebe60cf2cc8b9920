"""`genjax evaluate WORKDIR`: computes the figure of a run on a split and prints it as JSON.

`--figure` computes the figure of the record again, the density or metric that it is of; it is an
error if it differs by more than its standard error. `--temperatures` estimates log p(x) of a
latent-variable family by annealed importance sampling, which needs no encoder. `--binarize-seeds`
evaluates on several binarisations of the images, and adds the standard deviation between them.
"""

import argparse
import dataclasses
import functools
import json
import sys
from typing import Any

import numpy as np

from genjax import checks, evals, families
from genjax.cli.options import ArgumentParser, command, option_name
from genjax.data import Dataset
from genjax.data.transforms import binarization
from genjax.evals.metric_result import plain
from genjax.train.load_run import load, open_split
from genjax.train.progress import progress_callback
from genjax.train.recomputed import figure_of
from genjax.train.run_config import Run
from genjax.train.run_files import run_files
from genjax.train.splits import evaluation_conditions, evaluation_data, evaluation_key


@command("--batch-size, --samples, --chains")
def main(argv: list[str]) -> None:
    """Evaluates a run and prints one JSON object."""
    parser = ArgumentParser("evaluate", __doc__)
    parser.add_split()
    text = "compute the figure of the record again, and compare them"
    parser.add_argument("--figure", action="store_true", help=text)
    parser.add_argument("--samples", type=int, help="samples per example of a bound (the run's)")
    parser.add_argument("--batch-size", type=int, help="examples evaluated together (the run's)")
    parser.add_argument("--examples", type=int, help="evaluate the first so many (all)")
    parser.add_argument("--temperatures", type=int, help="annealing steps, such as 1000")
    parser.add_argument("--chains", type=int, help="annealed chains per example (16)")
    parser.add_argument("--leapfrog", type=int, help="leapfrog steps per transition (10)")
    parser.add_argument("--binarize-seeds", type=int, nargs="+", help="seeds of the binarisations")
    options = parser.parse_args(argv)
    if not options.figure:
        print(json.dumps(plain(evaluated(options))))
        return
    defaults = vars(parser.parse_args([str(options.workdir), "--figure"])) | {"data": options.data}
    other = [name for name, value in vars(options).items() if value != defaults[name]]
    if other:
        name = option_name(other[0])
        raise ValueError(f"--figure takes all settings from the run; leave out {name}.")
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Prints the figure computed again.

    Raises:
      ValueError: it is not that of the record.
    """
    files = run_files(options.workdir)
    run, variables = load(files)
    found = figure_of(run, variables, files.record(), options.workdir, options.data)
    print(json.dumps(plain(dataclasses.asdict(found) | {"agrees": found.agrees()})))
    if not found.agrees():
        raise ValueError(f"the figure is not that of the record: {found}; train the run again.")


def evaluated(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the values to print."""
    run, variables = load(options.workdir)
    family = families.get(run.family)
    check_used(options, family, run.model)
    samples = run.train.eval_samples if options.samples is None else options.samples
    # The noise of a bound depends on the batch size; the run's own reproduces its figure.
    size = run.train.eval_batch if options.batch_size is None else options.batch_size
    checks.positive(samples=samples, batch_size=size)
    of_chains = {"chains": options.chains or 16, "leapfrog": options.leapfrog or 10}
    if options.temperatures is None:
        nll = evals.make_nll(family, run.model, num_samples=samples, reported=True)
    else:
        betas = evals.temperatures(options.temperatures)
        chains = evals.make_annealed(family, run.model, betas=betas, **of_chains)
    draws = redrawn(run, options.binarize_seeds, options.temperatures)
    trained = None if options.other_data else options.workdir
    run, dataset = open_split(draws[0], options.split, options.data, trained)
    x, condition = split_of(run, family, dataset, options)
    key = evaluation_key(run, options.split)
    say = functools.partial(print, file=sys.stderr)
    progress = functools.partial(progress_callback, f"{run.experiment}  {options.split}", say)
    about = {"experiment": run.experiment, "split": options.split}
    if options.temperatures is not None:
        # log p(x) of a semi-supervised family sums over the label.
        conditions = {} if family.traits(run.model).semi_supervised else condition
        about |= annealed(chains(variables, x, key, size, conditions, progress())) | of_chains
        about |= {"temperatures": options.temperatures, "data_checksum": dataset.checksum()}
        return about | {"examples": len(x)}
    per_draw = []
    for i, one in enumerate(draws):
        if i:
            one, dataset = open_split(one, options.split, options.data, trained)
            x, condition = split_of(one, family, dataset, options)
        nats = nll(variables, x, key, size, condition, progress())
        per_draw.append(evals.mean_and_error(nats))
    mean, error_of_mean = (float(a) for a in np.mean(np.asarray(per_draw, np.float64), axis=0))
    name, unit = evals.evaluated_quantity(family, run.model) or ("", "")
    values = about | {
        "metric": name,
        "obtained": mean,
        "unit": unit,
        "std_error": error_of_mean,
        "examples": len(x),
        "data_checksum": dataset.checksum(),
    }
    values |= {"bound_samples": samples} if evals.is_bound(family, run.model) else {}
    if options.binarize_seeds:
        each = [mean for mean, _ in per_draw]
        values |= {"binarize_seeds": options.binarize_seeds, "per_draw": each}
        values["spread"] = float(np.std(each, ddof=1)) if len(each) > 1 else None
    return values


def check_used(options: argparse.Namespace, family: Any, config: Any) -> None:
    """Raises ValueError if an option is out of range or has no effect."""
    names = ("examples", "temperatures", "chains", "leapfrog")
    requested = {name: getattr(options, name) for name in names}
    checks.positive(**{name: value for name, value in requested.items() if value is not None})
    if options.temperatures is None:
        for name in ("chains", "leapfrog"):
            if requested[name] is not None:
                raise ValueError(
                    f"--{name} is for annealed sampling; add --temperatures, such as 1000."
                )
    elif options.samples is not None:
        raise ValueError(
            "--samples is for a bound and --temperatures for annealing; leave out one of them."
        )
    if options.samples is not None and not evals.is_bound(family, config):
        raise ValueError("--samples is for a bound, but this run has none; leave it out.")


def redrawn(run: Run, seeds: list[int] | None, temperatures: int | None) -> list[Run]:
    """Returns the run with each seed of the binarisation; without seeds the run itself."""
    if seeds is None:
        return [run]
    if binarization(run.data.transform) not in ("dynamic", "static"):
        raise ValueError(
            f"this run does not binarize at random (transform '{run.data.transform}'); leave out"
            f" --binarize-seeds."
        )
    if temperatures is not None:
        raise ValueError(
            "--temperatures and --binarize-seeds exclude each other; leave out one of them."
        )
    return [
        dataclasses.replace(run, data=dataclasses.replace(run.data, binarize_seed=seed))
        for seed in seeds
    ]


def split_of(
    run: Run, family: Any, dataset: Dataset, options: argparse.Namespace
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the examples to evaluate, and their conditions."""
    x = evaluation_data(run, dataset, options.split)
    condition = evaluation_conditions(run, family, dataset, options.split)
    n = options.examples
    return x[:n], {name: array[:n] for name, array in condition.items()}


def annealed(estimate: evals.Annealed) -> dict[str, Any]:
    """Returns -log p(x), an upper bound in expectation that falls with more temperatures."""
    mean, error = evals.mean_and_error(-np.asarray(estimate.log_prob))
    of_chains = np.asarray(estimate.std_error, np.float64)
    return {
        "metric": "NLL by annealed importance sampling",
        "obtained": mean,
        "unit": "nats",
        "std_error": error,
        "std_error_of_chains": float(np.sqrt((of_chains**2).sum()) / len(of_chains)),
        "effective_chains": float(np.mean(estimate.effective)),
        "acceptance": float(np.mean(estimate.acceptance)),
    }
