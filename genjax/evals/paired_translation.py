"""The metric `translation`: translations beside their true partners, floors and ceilings."""

import dataclasses
from typing import ClassVar

import numpy as np

from genjax.evals.classifier import Classifier, logits, train_classifier
from genjax.evals.context import DOMAINS, SOURCES, EvalContext
from genjax.evals.feature_extractor import to_unit
from genjax.evals.metric_result import Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error
from genjax.evals.requirements import check_domains, check_pairs
from genjax.evals.translation_quantities import compare, l1, ridge_patches

TRAINING_IMAGES = 10_000  # per domain, for the mean image and the classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationResult(TableResult):
    """Translations to each target beside the true partners, one table per target.

    Rows are `model`; the floors `identity` (the input), `mean_image` (of the target domain's
    training images) and `ridge` (linear regression on 5 x 5 patches, left out where no pairs of
    another split exist); and the ceiling `truth`. Quantities, as means over images:

    * `top1`, `top5`: share whose true partner is the nearest of all truths, or one of the five
      nearest (`retrieval_rank`);
    * `l1`, `rmse`, `within_5`, `within_10`, `ink_iou`: see `genjax.evals.translation_quantities`;
    * `cycle`: `l1` between the input and the translation back, with both directions only;
    * `face_error`: share that a classifier of the two domains assigns to that of the inputs.

    Attributes:
      split: split of the images.
      top1: top-1 retrieval of the main target, the last one.
      std_error: its standard error.
      classifier_error: error of the classifier of domains on real images of both in `split`.
      ridge_pairs: split whose pairs `ridge` is fitted on, or `none`.
    """

    FIGURE: ClassVar = ("top1", "std_error", "%")
    FRACTIONS: ClassVar = frozenset(
        ("top1", "top5", "within_5", "within_10", "ink_iou", "face_error")
    )

    split: str
    top1: float
    std_error: float
    classifier_error: float
    ridge_pairs: str


def translation(c: EvalContext, *, split: str = "test") -> TranslationResult:
    """Computes `TranslationResult` of all images of a split.

    Raises:
      ValueError: the family does not translate between domains, or the split has no pairs.
    """
    check_domains(c.family, c.config)
    check_pairs("translation", c.dataset, split)
    domains = _domain_classifier(c)
    pairs = next((s for s in ("train", "validation") if s in c.dataset.paired - {split}), "none")
    tables = {to: _table(c, to, split, domains, pairs) for to in c.family.targets(c.config)}
    main = tables[c.family.targets(c.config)[-1]]["model"]["top1"]
    wrong = [_assigned_other(domains, c.real(split, None, e), e) for e in DOMAINS.values()]
    count = c.dataset.length(split)
    return TranslationResult(
        split=split,
        top1=main[0],
        std_error=main[1],
        classifier_error=float(np.concatenate(wrong).mean()),
        ridge_pairs=pairs,
        tables=tables,
        n_real=count,
        n_fake=count,
        extractor="pixels",
        seed=c.seed,
    )


def _table(c: EvalContext, to: str, split: str, domains: Classifier, pairs: str) -> Table:
    source, target = SOURCES[to], DOMAINS[to]
    truths, inputs = (c.real(split, None, entry) for entry in (target, source))
    raw = c.translate(c.examples(split, None, source), to=to)
    mean = c.real("train", TRAINING_IMAGES, target).mean(axis=0, dtype=np.float64)
    rows = {
        "model": to_unit(raw, *c.sample_range),
        "identity": inputs,
        "mean_image": np.broadcast_to(mean.astype(np.float32), truths.shape),
    }
    if pairs != "none":
        xs, ys = (c.real(pairs, TRAINING_IMAGES, entry) for entry in (source, target))
        rows["ridge"] = ridge_patches(xs, ys, inputs, seed=c.seed)
    rows["truth"] = truths
    values = {
        row: {
            **compare(images, truths),
            "face_error": _assigned_other(domains, images, target),
        }
        for row, images in rows.items()
    }
    back = {"a": "b", "b": "a"}[to]
    if back in c.family.targets(c.config):
        cycled = to_unit(c.translate(raw, to=back), *c.sample_range)
        values["model"]["cycle"] = l1(cycled, inputs)
    return {
        row: {name: mean_and_error(value) for name, value in cells.items()}
        for row, cells in values.items()
    }


def _domain_classifier(c: EvalContext) -> Classifier:
    """Returns a classifier of `x` (0) and `y` (1), trained on as many training images of each."""
    if "domains" not in c.trained_classifiers:
        parts = [c.real("train", TRAINING_IMAGES, entry) for entry in ("x", "y")]
        size = max(map(len, parts))
        images = np.concatenate([part[np.arange(size) % len(part)] for part in parts])
        c.trained_classifiers["domains"] = train_classifier(
            images, np.repeat([0, 1], size), steps=c.classifier_steps
        )
    return c.trained_classifiers["domains"]


def _assigned_other(classifier: Classifier, images: np.ndarray, entry: str) -> np.ndarray:
    """Returns whether each image is assigned to the other domain than that of an entry, `[N]`."""
    return logits(classifier, images).argmax(axis=1) != ("x", "y").index(entry)
