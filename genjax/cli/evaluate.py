"""`genjax evaluate WORKDIR`: the figure of a finished run on a split, as JSON.

With `--temperatures`, by annealed importance sampling, which asks no encoder: for families with
latents and a likelihood. With `--binarize-seeds`, on as many draws of the pixels, and how far the
figures lie apart.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genjax import checks, evals, families
from genjax.cli.options import ArgumentParser, run_command
from genjax.core import named_key
from genjax.data import Dataset
from genjax.data.transforms import binarization
from genjax.evals.metric_result import plain
from genjax.train.load_run import load, open_split
from genjax.train.metric_writers import progress_callback
from genjax.train.run_config import Run
from genjax.train.splits import evaluation_conditions, evaluation_data


def main(argv: list[str] | None = None) -> int:
    """Load, evaluate, print one JSON object."""
    return run_command(
        lambda: print(json.dumps(plain(evaluated(parse(argv))))),
        "--batch-size, --samples, --chains",
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command's options."""
    parser = ArgumentParser("evaluate", __doc__)
    parser.add_argument("workdir", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--split", default="test", help="train, validation or test (test)")
    parser.add_argument("--data", help="the data, where it lies elsewhere than in training")
    parser.add_argument("--samples", type=int, help="samples of a bound; else the run's setting")
    parser.add_argument("--batch-size", type=int, help="examples at a time; else the run's")
    parser.add_argument("--examples", type=int, help="the first so many; else the whole split")
    parser.add_argument("--temperatures", type=int, help="anneal in so many steps, such as 1000")
    parser.add_argument("--chains", type=int, help="annealed, of each example (16)")
    parser.add_argument("--leapfrog", type=int, help="steps of an annealed transition (10)")
    parser.add_argument("--binarize-seeds", type=int, nargs="+", help="of draws of the pixels")
    return parser.parse_args(argv)


def evaluated(options: argparse.Namespace) -> dict[str, Any]:
    """What is to be printed.

    Raises:
      ValueError: the options do not fit the run; one sentence.
    """
    run, variables = load(options.workdir)
    family = families.get(run.family)
    check_used(options, family, run.model)
    samples = run.train.eval_samples if options.samples is None else options.samples
    # A bound's noise is drawn batch by batch: the run's own size gives the run's own figure.
    size = run.train.eval_batch if options.batch_size is None else options.batch_size
    checks.positive(samples=samples, batch_size=size)
    of_chains = {"chains": options.chains or 16, "leapfrog": options.leapfrog or 10}
    if options.temperatures is None:
        nll = evals.make_nll(family, run.model, num_samples=samples, reported=True)
    else:
        betas = evals.temperatures(options.temperatures)
        chains = evals.make_annealed(family, run.model, betas=betas, **of_chains)
    draws = redrawn(run, options.binarize_seeds, options.temperatures)
    run, dataset = open_split(draws[0], options.split, options.data)
    x, condition = split_of(run, family, dataset, options)
    key = named_key(jax.random.key(run.seed), 0, f"evaluate {options.split}")
    say = functools.partial(print, file=sys.stderr)
    told = functools.partial(progress_callback, f"{run.experiment}  {options.split}", say)
    about = {"experiment": run.experiment, "split": options.split}
    if options.temperatures is not None:
        # log p(x) of a semi-supervised family sums over the label.
        given = {} if family.traits(run.model).semi_supervised else condition
        about |= annealed(chains(variables, x, key, size, given, told())) | of_chains
        about |= {"temperatures": options.temperatures, "data_checksum": dataset.checksum()}
        return about | {"examples": len(x)}
    of_draws = []
    for i, one in enumerate(draws):
        if i:
            one, dataset = open_split(one, options.split, options.data)
            x, condition = split_of(one, family, dataset, options)
        nats = nll(variables, x, key, size, condition, told())
        of_draws.append(evals.mean_and_error(nats))
    mean, error_of_mean = (float(a) for a in np.mean(np.asarray(of_draws, np.float64), axis=0))
    found = about | {
        "metric": family.traits(run.model).metric,
        "obtained": mean,
        "unit": family.traits(run.model).unit,
        "std_error": error_of_mean,
        "examples": len(x),
        "data_checksum": dataset.checksum(),
    }
    found |= {"bound_samples": samples} if evals.is_bound(family, run.model) else {}
    if options.binarize_seeds:
        each = [mean for mean, _ in of_draws]
        found |= {"binarize_seeds": options.binarize_seeds, "of_each_draw": each}
        found["spread"] = float(np.std(each, ddof=1)) if len(each) > 1 else None
    return found


def check_used(options: argparse.Namespace, family: Any, config: Any) -> None:
    """Numbers are above 0, and each of them has a use.

    Raises:
      ValueError: one is not, or has none; one sentence.
    """
    names = ("examples", "temperatures", "chains", "leapfrog")
    asked = {name: getattr(options, name) for name in names}
    checks.positive(**{name: value for name, value in asked.items() if value is not None})
    if options.temperatures is None:
        for name in ("chains", "leapfrog"):
            if asked[name] is not None:
                raise ValueError(
                    f"--{name} is of annealed sampling; add --temperatures, such as 1000."
                )
    elif options.samples is not None:
        raise ValueError(
            "--samples is of a bound, and --temperatures anneal; leave out one of the two."
        )
    if options.samples is not None and not evals.is_bound(family, config):
        raise ValueError("--samples is of a bound, and this run's figure is none; leave it out.")


def redrawn(run: Run, seeds: list[int] | None, temperatures: int | None) -> list[Run]:
    """The run with its pixels drawn by each seed; as it is without seeds."""
    if seeds is None:
        return [run]
    if binarization(run.data.transform) not in ("dynamic", "static"):
        raise ValueError(
            f"the pixels of this run are not drawn (transform '{run.data.transform}'); leave out"
            f" --binarize-seeds."
        )
    if temperatures is not None:
        raise ValueError("--temperatures are for one draw of the pixels: leave out one of the two.")
    return [
        dataclasses.replace(run, data=dataclasses.replace(run.data, binarize_seed=seed))
        for seed in seeds
    ]


def split_of(
    run: Run, family: Any, dataset: Dataset, options: argparse.Namespace
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The examples asked for, and what the family is given beside each."""
    x = evaluation_data(run, dataset, options.split)
    condition = evaluation_conditions(run, family, dataset, options.split)
    n = options.examples
    return x[:n], {name: array[:n] for name, array in condition.items()}


def annealed(found: evals.Annealed) -> dict[str, Any]:
    """-log p(x) by chains: too high on average, by less with more temperatures."""
    mean, error = evals.mean_and_error(-np.asarray(found.log_prob))
    of_chains = np.asarray(found.std_error, np.float64)
    return {
        "metric": "NLL by annealed importance sampling",
        "obtained": mean,
        "unit": "nats",
        "std_error": error,
        "std_error_of_chains": float(np.sqrt((of_chains**2).sum()) / len(of_chains)),
        "effective_chains": float(np.mean(found.effective)),
        "acceptance": float(np.mean(found.acceptance)),
    }
