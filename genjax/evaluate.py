"""`python -m genjax.evaluate WORKDIR`: the likelihood of a finished run on a split, as JSON.

With `--temperatures`, by annealed importance sampling, which asks no encoder: for families with
latents and a likelihood.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genjax import checks, evals, families
from genjax.core import stream
from genjax.train import Run
from genjax.train.door import evaluation_conditions, evaluation_data
from genjax.train.load import load, open_split


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
        samples = run.train.eval_samples if options.samples is None else options.samples
        # A bound's noise is drawn batch by batch: the run's own size gives the run's own figure.
        size = run.train.eval_batch if options.batch_size is None else options.batch_size
        checks.positive(samples=samples, batch_size=size, chains=options.chains)
        checks.positive(leapfrog=options.leapfrog)
        for name in ("examples", "temperatures"):
            if getattr(options, name) is not None:
                checks.positive(**{name: getattr(options, name)})
        if options.temperatures is None:
            measure = likelihood(run, samples)
        else:
            measure = annealed(run, options)
        run, dataset = open_split(run, options.split, options.data)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    family = families.get(run.family)
    x = evaluation_data(run, dataset, options.split)[: options.examples]
    condition = evaluation_conditions(run, family, dataset, options.split)
    condition = {name: array[: options.examples] for name, array in condition.items()}
    key = stream(jax.random.key(run.seed), 0, f"evaluate {options.split}")
    found = {
        "experiment": run.experiment,
        "split": options.split,
        **measure(variables, x, key, size, condition),
        "examples": len(x),
    }
    bound = family.TRAITS.density == "bound" and options.temperatures is None
    print(json.dumps(found | ({"bound_samples": samples} if bound else {})))
    return 0


def likelihood(run: Run, samples: int) -> Any:
    """Measures the figure of the run."""
    family = families.get(run.family)
    nll = evals.make_nll(family, run.model, num_samples=samples, reported=True)

    def measure(*arguments: Any) -> dict[str, Any]:
        mean, error = evals.mean_and_error(nll(*arguments))
        return {"metric": evals.metric(family, run.model), "nats": mean, "std_error": error}

    return measure


def annealed(run: Run, options: argparse.Namespace) -> Any:
    """Measures -log p(x) by chains: too high on average, by less with more temperatures."""
    estimate = evals.make_annealed(
        families.get(run.family),
        run.model,
        betas=evals.temperatures(options.temperatures),
        chains=options.chains,
        leapfrog=options.leapfrog,
    )

    def measure(*arguments: Any) -> dict[str, Any]:
        found = estimate(*arguments)
        mean, error = evals.mean_and_error(-found.log_prob)
        return {
            "metric": "NLL by annealed importance sampling",
            "nats": mean,
            "std_error": error,
            "std_error_of_chains": float(
                np.sqrt((found.std_error**2).mean() / len(found.std_error))
            ),
            "effective_chains": float(found.effective.mean()),
            "acceptance": float(found.acceptance.mean()),
            "temperatures": options.temperatures,
            "chains": options.chains,
        }

    return measure


if __name__ == "__main__":
    sys.exit(main())
