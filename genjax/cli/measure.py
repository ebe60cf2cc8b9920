"""`genjax measure WORKDIR`: how good and how varied a run's samples are, as JSON.

Writes WORKDIR/instruments/results.json, anew after every instrument, and neighbours.png. Without
--only every instrument that fits the model and the data is used; `left_out` says why the others
were not.
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
from genjax.cli.options import ArgumentParser, run_command
from genjax.core import named_key
from genjax.train.checkpoint import write_json
from genjax.train.load_run import load
from genjax.train.record import commit
from genjax.train.sample_grids import save_grid

SHOWN = 32  # samples beside their neighbours


def main(argv: list[str] | None = None) -> int:
    """Load, measure, write, print the JSON."""
    return run_command(lambda: measure(argv), "--samples, --batch-size")


def measure(argv: list[str] | None) -> None:
    """Parses the options, computes each metric and writes the results."""
    options = _parser().parse_args(argv)
    out = options.out or options.workdir / "instruments"
    subject, run = _subject(options)
    found = {
        "experiment": run.experiment,
        "family": run.family,
        "data": subject.dataset.name,
        "data_checksum": subject.dataset.checksum(),
        "counts": subject.dataset.counts(),
        "seed": options.seed,
        "commit": commit(),
        "results": {},
        "left_out": {},
    }
    for name in options.only or evals.METRICS:
        _measure(name, subject, options, found, out)
    if options.save_classifier:
        evals.save_classifier(_classifier(subject), options.save_classifier)
    print(json.dumps(found))


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser("measure", __doc__)
    add = parser.add_argument
    add("workdir", type=pathlib.Path, help="folder of a finished run")
    add("--real", metavar="DATA", help="the real data; else the run's own")
    add("--only", nargs="+", metavar="NAME", help=f"of {', '.join(evals.METRICS)}")
    add("--samples", type=int, help="samples for every instrument; else each one's own number")
    add("--fid-weights", type=pathlib.Path, help="pt_inception-2015-12-05-6726825d.pth")
    add("--classifier", type=pathlib.Path, help="a .npz of --save-classifier; else one is trained")
    add("--classifier-steps", type=int, default=2000, help="of its training (2000)")
    add("--save-classifier", type=pathlib.Path, help="keep the classifier, to use it again")
    add("--batch-size", type=int, default=100, help="samples drawn together (100)")
    add("--seed", type=int, default=0, help="of all draws; a classifier trains by 0 (0)")
    add("--out", type=pathlib.Path, help="the folder; else WORKDIR/instruments")
    return parser


def _subject(options: argparse.Namespace) -> tuple[evals.EvalContext, Any]:
    checks.seed(seed=options.seed)
    if options.samples is not None:
        checks.positive(samples=options.samples)
    for name in options.only or ():
        checks.one_of(tuple(evals.METRICS), only=name)
    draws = ["samples" in evals.metric_settings(name) for name in options.only or evals.METRICS]
    if options.samples is not None and not any(draws):
        raise ValueError(f"{', '.join(options.only)} draws no samples; leave out --samples.")
    run, variables = load(options.workdir)
    source = dataclasses.replace(run.data, stream="no")
    if options.real:
        source = dataclasses.replace(source, data=options.real)
    subject = evals.EvalContext(
        families.get(run.family),
        run.model,
        variables,
        data.load(source),
        named_key(jax.random.key(options.seed), 0, "instruments"),
        transform=run.data.transform,
        binarize_seed=run.data.binarize_seed,
        batch_size=options.batch_size,
        weights=options.fid_weights,
        classifier=options.classifier,
        classifier_steps=options.classifier_steps,
    )
    if options.fid_weights:
        subject.inception()  # a wrong file is said at once
    if options.classifier:
        subject.classifier = evals.load_classifier(options.classifier)
    kept = options.save_classifier
    if kept and not kept.parent.is_dir():
        raise ValueError(f"there is no folder {kept.parent} to keep the classifier in; make it.")
    if kept and not options.classifier:
        subject.labels("train", 1)  # there is something to teach it
    return subject, run


def _measure(
    name: str,
    subject: evals.EvalContext,
    options: argparse.Namespace,
    found: dict[str, Any],
    out: pathlib.Path,
) -> None:
    """One instrument; what there is by now is written, so that a later one can lose nothing."""
    known = evals.metric_settings(name)
    asked = {"samples": options.samples} if options.samples and "samples" in known else {}
    try:
        result = evals.METRICS[name](subject, **asked)
    except (ValueError, MemoryError, jax.errors.JaxRuntimeError) as error:
        found["left_out"][name] = str(error) or type(error).__name__
        if options.only:  # it was asked for by name: no other figure stands for it
            if found["results"]:
                write_json(out / "results.json", found)
            raise
        result = None
    out.mkdir(parents=True, exist_ok=True)
    if result is not None:
        found["results"][name] = result.as_dict()
        print(f"{name}: measured", file=sys.stderr)
        if name == "neighbours":
            path = out / "neighbours.png"
            _picture(path, subject, result)
            found["pictures"] = [path.name]
    write_json(out / "results.json", found)


def _classifier(subject: evals.EvalContext) -> evals.Classifier:
    """The one that was used: of whole images, or of the channels of stacked ones."""
    for found in (subject.classifier, subject.taught.get("images"), subject.taught.get("channels")):
        if isinstance(found, evals.Classifier):
            return found
    return subject.trained()


def _picture(path: pathlib.Path, subject: evals.EvalContext, found: Any) -> None:
    """Samples, each with the training example nearest to it on its right."""
    n = min(SHOWN, found.n_fake)
    left, right = subject.fake(n), subject.real("train")[found.index[:n]]
    if left.ndim == 2:  # events (D,) are squares, or rows one above the other
        side = math.isqrt(left.shape[1])
        shape = (n, side, side, 1) if side**2 == left.shape[1] else (n, 1, left.shape[1], 1)
        left, right = left.reshape(shape), right.reshape(shape)
    save_grid(path, np.concatenate([left, right], axis=1 if left.shape[1] == 1 else 2))
