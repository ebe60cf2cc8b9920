"""`python -m genjax.evaluate WORKDIR`: the figure of a finished run on a split, as JSON."""

import argparse
import dataclasses
import json
import pathlib
import sys

import jax

from genjax import checks, data, evals, families
from genjax.core import stream
from genjax.train.door import check_fit, evaluation_conditions, evaluation_data
from genjax.train.load import load


def main(argv: list[str] | None = None) -> int:
    """Load, evaluate, print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m genjax.evaluate", description=__doc__)
    parser.add_argument("workdir", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--split", default="test", help="train, validation or test (test)")
    parser.add_argument("--data", help="the data, where it lies elsewhere than in training")
    parser.add_argument("--samples", type=int, help="samples of a bound; else the run's setting")
    parser.add_argument("--batch-size", type=int, help="examples at a time; else the run's")
    options = parser.parse_args(argv)
    try:
        run, variables = load(options.workdir)
        if options.data:
            source = dataclasses.replace(run.data, data=options.data)
            run = dataclasses.replace(run, data=source)
        family = families.get(run.family)
        samples = run.train.eval_samples if options.samples is None else options.samples
        # A bound's noise is drawn batch by batch: the run's own size gives the run's own figure.
        size = run.train.eval_batch if options.batch_size is None else options.batch_size
        checks.positive(samples=samples, batch_size=size)
        stream_or_not = "no" if options.split == "train" else run.data.stream
        dataset = data.load(dataclasses.replace(run.data, stream=stream_or_not))
        check_fit(run, family, dataset)
        if options.split not in dataset.splits:
            raise ValueError(
                f"{run.data.data} has no split {options.split}; it has {', '.join(dataset.splits)}."
            )
        nll = evals.make_nll(family, run.model, num_samples=samples, reported=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    x = evaluation_data(run, dataset, options.split)
    key = stream(jax.random.key(run.seed), 0, f"evaluate {options.split}")
    condition = evaluation_conditions(run, family, dataset, options.split)
    mean, error_of_mean = evals.mean_and_error(nll(variables, x, key, size, condition))
    bound = family.TRAITS.density == "bound" and not hasattr(family, "reported")
    found = {
        "experiment": run.experiment,
        "split": options.split,
        "metric": evals.metric(family, run.model),
        "obtained": mean,
        "unit": evals.unit(family, run.model),
        "std_error": error_of_mean,
        "examples": len(x),
    }
    print(json.dumps(found | ({"bound_samples": samples} if bound else {})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
