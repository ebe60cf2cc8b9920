"""`python -m genjax.evaluate WORKDIR`: the figure of a finished run on a split, as JSON.

With `--temperatures`, by annealed importance sampling, which asks no encoder: for families with
latents and a likelihood.
"""

import argparse
import functools
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genjax import checks, evals, families
from genjax.core import stream
from genjax.evals.result import plain
from genjax.train.door import evaluation_conditions, evaluation_data
from genjax.train.load import load, open_split
from genjax.train.writers import passing


def main(argv: list[str] | None = None) -> int:
    """Load, evaluate, print one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m genjax.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workdir", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--split", default="test", help="train, validation or test (test)")
    parser.add_argument("--data", help="the data, where it lies elsewhere than in training")
    parser.add_argument("--samples", type=int, help="samples of a bound; else the run's setting")
    parser.add_argument("--batch-size", type=int, help="examples at a time; else the run's")
    parser.add_argument("--examples", type=int, help="the first so many; else the whole split")
    parser.add_argument("--temperatures", type=int, help="anneal in so many steps, such as 1000")
    parser.add_argument("--chains", type=int, default=16, help="annealed, of each example (16)")
    parser.add_argument("--leapfrog", type=int, default=10, help="steps a transition (10)")
    options = parser.parse_args(argv)
    try:
        run, variables = load(options.workdir)
        family = families.get(run.family)
        samples = run.train.eval_samples if options.samples is None else options.samples
        # A bound's noise is drawn batch by batch: the run's own size gives the run's own figure.
        size = run.train.eval_batch if options.batch_size is None else options.batch_size
        checks.positive(samples=samples, batch_size=size)
        names = ("examples", "temperatures", "chains", "leapfrog")
        asked = {name: getattr(options, name) for name in names}
        checks.positive(**{k: v for k, v in asked.items() if v is not None})
        if options.temperatures is None:
            nll = evals.make_nll(family, run.model, num_samples=samples, reported=True)
        else:
            chains = evals.make_annealed(
                family,
                run.model,
                betas=evals.temperatures(options.temperatures),
                chains=options.chains,
                leapfrog=options.leapfrog,
            )
        run, dataset = open_split(run, options.split, options.data)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    x = evaluation_data(run, dataset, options.split)
    key = stream(jax.random.key(run.seed), 0, f"evaluate {options.split}")
    condition = evaluation_conditions(run, family, dataset, options.split)
    if options.examples is not None:
        x = x[: options.examples]
        condition = {name: array[: options.examples] for name, array in condition.items()}
    told = passing(f"{run.experiment}  {options.split}", functools.partial(print, file=sys.stderr))
    if options.temperatures is not None:
        found = annealed(chains(variables, x, key, size, condition, told))
        about = {"experiment": run.experiment, "split": options.split, **found, **asked}
        about["data_checksum"] = dataset.checksum()
        print(json.dumps(plain(about | {"examples": len(x)})))
        return 0
    mean, error_of_mean = evals.mean_and_error(nll(variables, x, key, size, condition, told))
    bound = family.TRAITS.density == "bound" and not hasattr(family, "reported")
    found = {
        "experiment": run.experiment,
        "split": options.split,
        "metric": evals.metric(family, run.model),
        "obtained": mean,
        "unit": evals.unit(family, run.model),
        "std_error": error_of_mean,
        "examples": len(x),
        "data_checksum": dataset.checksum(),
    }
    print(json.dumps(plain(found | ({"bound_samples": samples} if bound else {}))))
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
