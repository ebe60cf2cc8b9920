"""The metric `attribute_translation`: changes of attributes beside the truth or a classifier."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from genjax.core.protocols import AttributeTranslator
from genjax.evals.classifier import Classifier, logits, train_attribute_classifier
from genjax.evals.context import EvalContext
from genjax.evals.feature_extractor import to_unit
from genjax.evals.metric_result import Table, TableResult
from genjax.evals.negative_log_likelihood import mean_and_error
from genjax.evals.requirements import check_attributes
from genjax.evals.translation_quantities import l1, retrieval_rank

TRAINING_IMAGES = 20_000  # of the classifier


@dataclasses.dataclass(frozen=True)
class Factor:
    """Attributes that change together: a single one, or a group of which one is 1.

    Attributes:
      name: of the attribute; of a group the word that all its names have, such as Hair, or else
        `exclusive`; where that is the name of two factors, the names joined by `or`.
      columns: of the attributes `[N, A]`.
      label_set: 0 for the first attributes, 1 for `second_attributes`.
    """

    name: str
    columns: tuple[int, ...]
    label_set: int = 0


def attribute_factors(family: AttributeTranslator, config: Any) -> tuple[Factor, ...]:
    """Returns the groups of a family's attributes, then its single attributes.

    Columns of `config.second_attributes`, if there are any, are the last ones.
    """
    names = family.attribute_names(config)
    first = len(names) - len(getattr(config, "second_attributes", ()))
    groups = [tuple(int(column) for column in group) for group in family.exclusive_groups(config)]
    grouped = {column for group in groups for column in group}
    shared = [(_shared_word([names[column] for column in group]), group) for group in groups]
    single = [(name, (i,)) for i, name in enumerate(names) if i not in grouped]
    titles = [title for title, _ in shared + single]
    shared = [
        (title if titles.count(title) == 1 else "_or_".join(names[c] for c in group), group)
        for title, group in shared
    ]
    factors = [Factor(name, columns, int(columns[0] >= first)) for name, columns in shared + single]
    return tuple(sorted(factors, key=lambda factor: factor.label_set))


def _shared_word(names: Sequence[str]) -> str:
    words = [name.replace(" ", "_").split("_") for name in names]
    return next((w for w in reversed(words[0]) if all(w in other for other in words)), "exclusive")


def attribute_changes(factors: Sequence[Factor]) -> dict[str, tuple[Factor, ...]]:
    """Returns the factors that change, by title: single ones, all pairs, and all factors.

    >>> ink, bold = Factor("ink", (0, 1, 2)), Factor("bold", (3,))
    >>> list(attribute_changes([ink, bold, Factor("slanted", (4,))]))[3:]
    ['multiple_ink_bold', 'multiple_ink_slanted', 'multiple_bold_slanted', 'multiple_all']
    """
    changes: dict[str, tuple[Factor, ...]] = {f"single_{f.name}": (f,) for f in factors}
    if len(factors) > 2:
        pairs = itertools.combinations(factors, 2)
        changes |= {f"multiple_{a.name}_{b.name}": (a, b) for a, b in pairs}
    if len(factors) > 1:
        changes["multiple_all"] = tuple(factors)
    return changes


def changed_attributes(
    attributes: np.ndarray, factors: Sequence[Factor]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows `[M]` and targets `[M, A]` of a change of all given factors.

    A single attribute is flipped; of a group, each attribute that is 0 is set in turn.
    """
    rows, out = np.arange(len(attributes)), np.array(attributes)
    for factor in factors:
        columns = list(factor.columns)
        if len(columns) == 1:
            out[:, columns] = 1 - out[:, columns]
            continue
        parts = []
        for column in columns:
            kept = out[:, column] == 0
            target = out[kept]
            target[:, columns] = 0
            target[:, column] = 1
            parts.append((rows[kept], target))
        rows, out = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, out


def factor_errors(
    scores: np.ndarray, attributes: np.ndarray, factors: Sequence[Factor]
) -> np.ndarray:
    """Returns 1 where a factor is predicted wrongly, else 0, `[N, factors]`.

    An attribute is predicted by the sign of its logit, a group by its largest logit. A group of
    which not exactly one is 1, such as the hair of bald people, has no true value: NaN.

    Args:
      scores: logits `[N, A]`.
      attributes: `[N, A]` in {0, 1}.
      factors: of the columns.
    """
    wrong = []
    for factor in factors:
        own, truth = scores[:, factor.columns], attributes[:, factor.columns] > 0
        if len(factor.columns) == 1:
            wrong.append(((own > 0) != truth)[:, 0].astype(np.float64))
            continue
        missed = own.argmax(axis=1) != truth.argmax(axis=1)
        wrong.append(np.where(truth.sum(axis=1) == 1, missed, np.nan))
    return np.stack(wrong, axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributeTranslationResult(TableResult):
    """Changes of attributes, one table per change, such as `single_bold` and `multiple_all`.

    `single` and `multiple` are the means of their changes. With joint training, `unlabelled` is the
    mean of single changes in the label set that an image has no labels of. Rows are `model`, the
    floor `identity` (the input), the ceiling `truth` where the data renders it, and `real`: the
    classifier's own errors on real images. Quantities, as means over images:

    * `attribute_error`: share for which a classifier of attributes, trained on real images,
      predicts a changed attribute other than requested;
    * `kept_error`: the same of the attributes that should not change. Images are left out of an
      error if a group in it has no true value, see `factor_errors`;
    * `l1`, `top1`, `top5`: difference from the true image and its retrieval among the true images
      of the same attributes, where the data renders them;
    * `l1_to_input`: difference from the input;
    * `reconstruction`: `l1` between the input and the translation back to its own attributes.

    Attributes:
      split: split of the images.
      attribute_error: mean over single changes.
      std_error: its standard error.
    """

    FIGURE: ClassVar = ("attribute_error", "std_error", "%")
    FRACTIONS: ClassVar = frozenset(("attribute_error", "kept_error", "top1", "top5"))

    split: str
    attribute_error: float
    std_error: float


def attribute_translation(
    c: EvalContext, *, samples: int = 1000, split: str = "test"
) -> AttributeTranslationResult:
    """Computes `AttributeTranslationResult` of up to `samples` images of a split.

    Raises:
      ValueError: the family does not translate by attributes, or the data has none.
    """
    check_attributes(c.family, c.config)
    factors = attribute_factors(c.family, c.config)
    real = Images.of(c, split, samples, factors)
    classifier = _attribute_classifier(c, factors)
    changes = attribute_changes(factors)
    scores = logits(classifier, real.unit)
    values = {
        title: _change(c, real, classifier, scores, change) for title, change in changes.items()
    }
    single, multiple = (
        {k: v for k, v in values.items() if k.startswith(kind)} for kind in ("single", "multiple")
    )
    means = {"single": _mean(single), "multiple": _mean(multiple)}
    if real.label is not None:
        # NaN where the labels are of the set that changes.
        known = {t: real.label == changes[t][0].label_set for t in single}
        means["unlabelled"] = _mean(
            {
                t: {
                    row: {k: np.where(known[t], np.nan, x) for k, x in cells.items()}
                    for row, cells in table.items()
                }
                for t, table in single.items()
            }
        )
    tables = {k: _estimates(v) for k, v in (means | values).items() if v}
    error = tables["single"]["model"]["attribute_error"]
    return AttributeTranslationResult(
        split=split,
        attribute_error=error[0],
        std_error=error[1],
        tables=tables,
        n_real=len(real.unit),
        n_fake=len(real.unit),
        extractor=classifier.extractor.label,
        seed=c.seed,
    )


@dataclasses.dataclass(frozen=True)
class Images:
    """Real images of a split.

    Attributes:
      split, count: of `EvalContext`.
      raw: in the family's range.
      unit: in [0, 1].
      attributes: `[N, A]`.
      label: label set of each image, of joint training, or None.
      factors: of the attributes.
      truths: true images by attributes, filled as needed.
    """

    split: str
    count: int
    raw: np.ndarray
    unit: np.ndarray
    attributes: np.ndarray
    label: np.ndarray | None
    factors: tuple[Factor, ...]
    truths: dict[bytes, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, c: EvalContext, split: str, n: int, factors: tuple[Factor, ...]) -> "Images":
        """Reads n images."""
        rows = c.rows(split, n)
        _check_columns(c, split, rows, factors)
        label = rows["label"] if factors[-1].label_set else None
        attributes = np.asarray(rows["attributes"])
        return cls(split, n, c.examples(split, n), c.real(split, n), attributes, label, factors)

    def true(self, c: EvalContext, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the different true images with attributes `target` `[A]`, and the number of each
        image's own, `[N]`."""
        name = target.tobytes()
        if name not in self.truths:
            every = np.tile(target, (len(self.unit), 1))
            images = c.rendered(self.split, self.count, every)
            flat = images.reshape(len(images), -1)
            _, first, own = np.unique(flat, axis=0, return_index=True, return_inverse=True)
            self.truths[name] = images[first], own.reshape(-1)
        return self.truths[name]


Values = dict[str, dict[str, np.ndarray]]  # `[N]` by row and quantity


def _change(
    c: EvalContext,
    real: Images,
    classifier: Classifier,
    scores: np.ndarray,
    change: tuple[Factor, ...],
) -> Values:
    """Computes all quantities of one change, averaged over the targets of each image.

    `scores` are the classifier's logits of the real images.
    """
    rows, targets = changed_attributes(real.attributes, change)
    sets = {factor.label_set for factor in change}
    condition: dict[str, Any] = {}
    if real.label is not None and len(sets) == 1:  # changes in both sets are made by default
        condition["label"] = np.full(len(rows), sets.pop(), np.int32)
    raw = c.translate(real.raw[rows], attributes=targets, **condition)
    back = c.translate(raw, attributes=real.attributes[rows], **condition)
    images = {"model": to_unit(raw, *c.sample_range), "identity": real.unit[rows]}
    if c.dataset.render is not None:
        images["truth"] = np.empty_like(images["model"])
        for chosen, gallery, own in _galleries(c, real, rows, targets):
            images["truth"][chosen] = gallery[own]

    def errors(scores: np.ndarray, attributes: np.ndarray) -> dict[str, np.ndarray]:
        wrong = factor_errors(scores, attributes, real.factors)
        changed = np.array([factor in change for factor in real.factors])
        found = {"attribute_error": wrong[:, changed].max(axis=1)}  # NaN if any is
        return found if changed.all() else found | {"kept_error": wrong[:, ~changed].max(axis=1)}

    values: Values = {}
    for row, x in images.items():
        cells = errors(scores[rows] if row == "identity" else logits(classifier, x), targets)
        if "truth" in images:
            rank = np.empty(len(rows))
            for chosen, gallery, own in _galleries(c, real, rows, targets):
                rank[chosen] = retrieval_rank(x[chosen], gallery, own)
            cells |= {"l1": l1(x, images["truth"]), "top1": rank < 1, "top5": rank < 5}
        cells["l1_to_input"] = l1(x, real.unit[rows])
        if row == "model":
            cells["reconstruction"] = l1(to_unit(back, *c.sample_range), real.unit[rows])
        count = np.bincount(rows, minlength=len(real.unit))
        values[row] = {k: np.bincount(rows, v, len(real.unit)) / count for k, v in cells.items()}
    return {**values, "real": errors(scores, real.attributes)}


def _galleries(c: EvalContext, real: Images, rows: np.ndarray, targets: np.ndarray) -> Any:
    """Iterates over the different targets: rows of it, its true images, and the rows' own ones."""
    for target in np.unique(targets, axis=0):
        chosen = (targets == target).all(axis=1)
        gallery, own = real.true(c, target)
        yield chosen, gallery, own[rows[chosen]]


def _mean(tables: Mapping[str, Values]) -> Values:
    """Averages tables per image over those values that are not NaN."""
    out: Values = {}
    for row in next(iter(tables.values()), {}):
        names = dict.fromkeys(name for table in tables.values() for name in table[row])
        for name in names:
            stacked = np.stack([t[row][name] for t in tables.values() if name in t[row]])
            count = np.isfinite(stacked).sum(axis=0)
            total = np.nansum(stacked, axis=0)
            out.setdefault(row, {})[name] = total[count > 0] / count[count > 0]
    return out


def _estimates(values: Values) -> Table:
    """Returns means and standard errors over the images that have a value."""
    known = {
        row: {name: x[~np.isnan(x)] for name, x in cells.items()} for row, cells in values.items()
    }
    return {
        row: {name: mean_and_error(x) for name, x in cells.items() if len(x)}
        for row, cells in known.items()
    }


def _check_columns(
    c: EvalContext, split: str, rows: Mapping[str, np.ndarray], factors: Sequence[Factor]
) -> None:
    columns = sum(len(factor.columns) for factor in factors)
    if "attributes" not in rows or np.shape(rows["attributes"])[1] != columns:
        got = np.shape(rows["attributes"])[1] if "attributes" in rows else "no"
        raise ValueError(
            f"{c.name} translates by {columns} attributes, and {split} of {c.dataset.name} has"
            f" {got} attributes; use the data that it was trained on."
        )


def _attribute_classifier(c: EvalContext, factors: Sequence[Factor]) -> Classifier:
    """Returns a classifier of the attributes, trained on the known ones of real training images."""
    if "attributes" not in c.trained_classifiers:
        rows, known = c.rows("train", TRAINING_IMAGES), None
        _check_columns(c, "train", rows, factors)
        if factors[-1].label_set:  # of each image the attributes of one set are known
            sets = np.concatenate([[f.label_set] * len(f.columns) for f in factors])
            order = np.argsort(np.concatenate([f.columns for f in factors]))
            known = rows["label"][:, None] == sets[order]
        c.trained_classifiers["attributes"] = train_attribute_classifier(
            c.real("train", TRAINING_IMAGES), rows["attributes"], known, steps=c.classifier_steps
        )
    return c.trained_classifiers["attributes"]
