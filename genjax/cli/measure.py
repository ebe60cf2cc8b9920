"""`genjax measure WORKDIR [METRIC ...]`: computes metrics of a run's samples, as JSON.

Writes WORKDIR/sample_metrics/results.json after every metric, and neighbours.png. Without METRIC it
computes all metrics that apply to the model and the data; `skipped` says why others do not.
Figures, and those of real images where they are known, are printed to stderr; metrics with
several floors and ceilings print a table.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genjax import checks, data, evals, families
from genjax.cli.metric_table import print_table
from genjax.cli.options import ArgumentParser, command, output_help
from genjax.core import named_key
from genjax.core.protocols import TextConditional, TextToImage
from genjax.evals.precision_recall import NeighborResult
from genjax.evals.requirements import check_samples
from genjax.train.checkpoint import write_json
from genjax.train.load_run import check_trained_on, load
from genjax.train.named_runs import described_ranker, load_ranker
from genjax.train.record import commit
from genjax.train.run_config import Run
from genjax.train.run_files import run_files
from genjax.train.sample_grids import save_grid

NUM_SHOWN = 32  # pairs in neighbours.png


@command("--samples, --batch-size")
def main(argv: list[str]) -> None:
    """Computes each metric and writes the results."""
    options = _parser().parse_intermixed_args(argv)
    out = options.out or run_files(options.workdir).output("sample_metrics")
    context, run, of_ranker = _context(options)
    report: dict[str, Any] = {
        "experiment": run.experiment,
        "family": run.family,
        "data": context.dataset.name,
        "data_checksum": context.dataset.checksum(),
        "counts": context.dataset.counts(),
        "seed": options.seed,
        "commit": commit(),
        **of_ranker,
        "results": {},
        "skipped": {},
    }
    for name in options.metrics or evals.METRICS:
        _add_metric(report, name, context, options, out)
    if options.save_classifier:
        evals.save_classifier(_classifier(context), options.save_classifier)
    print(json.dumps(report))


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser("measure", __doc__)
    add = parser.add_argument
    file: dict[str, Any] = {"type": pathlib.Path, "metavar": "FILE"}
    parser.add_run()
    add(
        "metrics",
        nargs="*",
        metavar="METRIC",
        help=f"all that apply by default; one or more of {', '.join(evals.METRICS)}",
    )
    add("--real", metavar="DATA", help="real data (default: the run's)")
    parser.add_other_data()
    add("--samples", type=int, help="number of samples (default: each metric's own)")
    add(
        "--split",
        help="split of real examples (default: each metric's own; test for"
        " translations and images of captions)",
    )
    weights = "standard Inception network, pt_inception-2015-12-05-6726825d.pth"
    add("--fid-weights", **file, help=weights)
    add("--classifier", **file, help="written by --save-classifier (default: train one)")
    add("--classifier-steps", type=int, default=2000, help="its training steps (default: 2000)")
    add("--save-classifier", **file, help="write the classifier, .npz")
    ranker = "run that re-ranks drawn images, by folder or experiment; '' for none (the run's)"
    add("--ranker", metavar="RUN", help=ranker)
    add("--batch-size", type=int, default=100, help="samples per call (default: 100)")
    add("--seed", type=int, default=0, help="seed of all draws (default: 0)")
    add("--out", type=pathlib.Path, help=f"folder ({output_help('sample_metrics')})")
    return parser


def _context(options: argparse.Namespace) -> tuple[evals.EvalContext, Run, dict[str, Any]]:
    """Checks the options and loads the run, its data and the networks.

    Returns:
      the context, the run, and `described_ranker`.
    """
    checks.seed(seed=options.seed)
    if options.samples is not None:
        checks.positive(samples=options.samples)
    for name in options.metrics:
        checks.one_of(tuple(evals.METRICS), metric=name)
    chosen = [evals.metric_settings(name) for name in options.metrics or evals.METRICS]
    if options.samples is not None and not any("samples" in settings for settings in chosen):
        raise ValueError(f"{', '.join(options.metrics)} draws no samples; leave out --samples.")
    if options.split and not any("split" in settings for settings in chosen):
        raise ValueError(f"{', '.join(options.metrics)} has no setting `split`; leave out --split.")
    run, variables = load(options.workdir)
    source = dataclasses.replace(run.data, stream="no")
    if options.real:
        source = dataclasses.replace(source, data=options.real)
    dataset = data.load(source)
    if not (options.other_data or options.real):
        check_trained_on(dataset, options.workdir)
    family = families.get(run.family)
    # The run's own: other data would have other numbers of the same words.
    has_text = isinstance(family, TextConditional)
    tokenizer = run_files(options.workdir).tokenizer() if has_text else None
    ranker, of_ranker = _ranker(options, run)
    context = evals.EvalContext(
        family,
        run.model,
        variables,
        dataset,
        named_key(jax.random.key(options.seed), 0, "instruments"),
        transform=run.data.transform,
        binarize_seed=run.data.binarize_seed,
        batch_size=options.batch_size,
        weights=options.fid_weights,
        classifier=options.classifier,
        classifier_steps=options.classifier_steps,
        tokenizer=tokenizer,
        ranker=ranker,
    )
    if options.fid_weights:
        context.inception()  # an invalid file fails before anything is computed
    if options.classifier:
        context.classifier = evals.load_classifier(options.classifier)
    path = options.save_classifier
    if path and not path.parent.is_dir():
        raise ValueError(f"--save-classifier: there is no folder {path.parent}; create it.")
    if path and not options.classifier:
        context.labels("train", 1)  # raises if there is nothing to train it on
    return context, run, of_ranker


def _ranker(options: argparse.Namespace, run: Run) -> tuple[Any, dict[str, Any]]:
    """Returns the ranker named by the options, or else by the run, if a metric uses it; and
    `described_ranker`.

    Raises:
      ValueError: there is no such run, or it does not score captions.
    """
    used = "caption_accuracy" in (options.metrics or evals.METRICS)
    if options.ranker and not (used and isinstance(families.get(run.family), TextToImage)):
        raise ValueError(
            "--ranker is for caption_accuracy of runs that draw images of texts; leave it out."
        )
    source = run.train.ranker if options.ranker is None else options.ranker
    if not source or not used:
        return None, {}
    named = dataclasses.replace(run, train=dataclasses.replace(run.train, ranker=source))
    ranker = load_ranker(named, options.workdir.absolute().parent)
    return ranker, described_ranker(named, ranker)


def _add_metric(
    report: dict[str, Any],
    name: str,
    context: evals.EvalContext,
    options: argparse.Namespace,
    out: pathlib.Path,
) -> None:
    """Computes one metric and writes the report, so that a later failure loses nothing."""
    given = {"samples": options.samples, "split": options.split}
    settings = evals.split_setting(name, context.family, context.dataset)
    settings |= {k: v for k, v in given.items() if v and k in evals.metric_settings(name)}
    try:
        check_samples(name, context.family)
        result = evals.METRICS[name](context, **settings)
    except (ValueError, MemoryError, jax.errors.JaxRuntimeError) as error:
        report["skipped"][name] = str(error) or type(error).__name__
        if options.metrics:  # a metric requested by name must not fail silently
            if report["results"]:
                write_json(out / "results.json", report)
            raise
        result = None
    out.mkdir(parents=True, exist_ok=True)
    if result is not None:
        report["results"][name] = result.as_dict()
        beside = result.real_figure()
        known = "" if beside is None else f", of real images {beside:.3g}"
        print(f"{name}: {result.FIGURE[0]} {result.figure()[0]:.3g}{known}", file=sys.stderr)
        if isinstance(result, evals.TableResult):
            print_table(name, result)
        if isinstance(result, NeighborResult):
            path = out / "neighbours.png"
            _save_neighbors(path, context, result)
            report["pictures"] = [path.name]
    write_json(out / "results.json", report)


def _classifier(context: evals.EvalContext) -> evals.Classifier:
    """Returns the classifier in use: of whole images, or of the channels of stacked ones."""
    trained = context.trained_classifiers
    for classifier in (context.classifier, trained.get("images"), trained.get("channels")):
        if isinstance(classifier, evals.Classifier):
            return classifier
    return context.image_classifier()


def _save_neighbors(path: pathlib.Path, context: evals.EvalContext, result: NeighborResult) -> None:
    """Saves a grid of samples, each with the nearest training example on its right."""
    n = min(NUM_SHOWN, result.n_fake)
    left, right = context.fake(n), context.real("train")[result.index[:n]]
    if left.ndim == 2:  # events (D,) are shown as squares, or as rows one above the other
        side = math.isqrt(left.shape[1])
        shape = (n, side, side, 1) if side**2 == left.shape[1] else (n, 1, left.shape[1], 1)
        left, right = left.reshape(shape), right.reshape(shape)
    save_grid(path, np.concatenate([left, right], axis=1 if left.shape[1] == 1 else 2))
