"""Metrics by name.

>>> from genjax import evals
>>> evals.metric_settings("fid")
{'samples': 50000, 'split': 'train'}
"""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from genjax import checks
from genjax.core.protocols import Features, TextToImage, Translator
from genjax.data import Dataset
from genjax.evals.attribute_translation import attribute_translation
from genjax.evals.caption_accuracy import caption_accuracy
from genjax.evals.caption_retrieval import caption_retrieval
from genjax.evals.classifier import ScoreResult, accuracy_score
from genjax.evals.context import EvalContext
from genjax.evals.feature_extractor import batches, features, to_unit
from genjax.evals.frechet import FrechetResult, frechet
from genjax.evals.inception import InceptionScoreResult, fid, inception_score, kid
from genjax.evals.latent_codes import CodesResult, InformationResult, codes, information
from genjax.evals.metric_result import MetricResult
from genjax.evals.mmd import MmdResult, kernel_distance
from genjax.evals.mode_coverage import ModesResult, gaussian_modes, stacked_modes
from genjax.evals.msssim import MsSsimResult, ms_ssim_pairs
from genjax.evals.paired_translation import translation
from genjax.evals.part_changes import part_changes
from genjax.evals.parzen import ParzenResult, parzen
from genjax.evals.precision_recall import (
    NeighborResult,
    PrecisionRecallResult,
    neighbor_distances,
    precision_recall,
)
from genjax.evals.probes import linear_svm
from genjax.evals.puzzle_accuracy import puzzle
from genjax.evals.requirements import check_points, check_samples, check_stacked
from genjax.evals.swd import SwdResult, swd
from genjax.evals.token_nats import token_nats
from genjax.evals.token_usage import token_usage


def _parzen(c: EvalContext, *, samples: int = 10_000, validation: int = 1000) -> ParzenResult:
    real = c.real("validation"), c.real("test")
    return parzen(c.fake(samples), *real, validation_limit=validation, seed=c.seed)


def _fid(c: EvalContext, *, samples: int = 50_000, split: str = "train") -> FrechetResult:
    network = c.inception()  # raises before samples are drawn
    return fid(c.real_set(split), c.fake_set(samples, split), network, seed=c.seed)


def _kid(c: EvalContext, *, samples: int = 10_000, split: str = "train") -> MmdResult:
    network = c.inception()
    return kid(c.real_set(split, samples), c.fake_set(samples, split), network, seed=c.seed)


def _inception_score(
    c: EvalContext, *, samples: int = 50_000, splits: int = 10
) -> InceptionScoreResult:
    network = c.inception()
    return inception_score(c.fake_set(samples), network, splits=splits, seed=c.seed)


def _classifier_frechet(
    c: EvalContext, *, samples: int = 10_000, split: str = "test"
) -> FrechetResult:
    extractor = c.image_classifier().extractor
    real, fake = c.real_set(split, samples), c.fake_set(samples, split)
    other = c.other_real(split, samples)
    result = frechet(real, fake, extractor, seed=c.seed)
    if len(other) < 2:
        return result
    n = len(other)
    same = frechet(c.real_set(split, n), other, extractor, seed=c.seed)
    return dataclasses.replace(result, real_distance=same.distance, real_images=n)


def _classifier_kernel(
    c: EvalContext, *, samples: int = 10_000, split: str = "test", subset_size: int = 1000
) -> MmdResult:
    extractor = c.image_classifier().extractor
    real, fake = c.real_set(split, samples), c.fake_set(samples, split)
    return kernel_distance(real, fake, extractor, subset_size=subset_size, seed=c.seed)


def _swd(c: EvalContext, *, samples: int = 16_384, split: str = "train") -> SwdResult:
    real, fake = c.real_set(split, samples), c.fake_set(samples, split)
    other = c.other_real(split, samples)
    result = swd(real, fake, images=samples, seed=c.seed)
    if len(other) < 2:
        return result
    n = len(other)
    same = swd(c.real_set(split, n), other, images=n, seed=c.seed)
    return dataclasses.replace(
        result, real_levels=same.levels, real_average=same.average, real_images=n
    )


def _ms_ssim(
    c: EvalContext, *, samples: int = 10_000, split: str = "test", shrink: bool = False
) -> MsSsimResult:
    real, fake = c.real_set(split, samples), c.fake_set(samples, split)
    return ms_ssim_pairs(fake, real, pairs=samples, shrink=shrink, seed=c.seed)


def _precision_recall(
    c: EvalContext, *, samples: int = 10_000, split: str = "test", features_of: str = "auto"
) -> PrecisionRecallResult:
    extractor = c.feature_extractor(features_of)
    sets = c.real_set(split, samples), c.fake_set(samples, split)
    real, fake = (features(extractor, x) for x in sets)
    return precision_recall(real, fake, extractor=extractor.label, seed=c.seed)


def _neighbours(c: EvalContext, *, samples: int = 1000) -> NeighborResult:
    test = c.real("test", samples)
    return neighbor_distances(c.fake(samples), c.real("train"), test, seed=c.seed)


def _accuracy_score(c: EvalContext, *, samples: int = 10_000) -> ScoreResult:
    train, test = (
        (to_unit(x, *c.sample_range), labels)
        for x, labels in (c.labelled_examples("train"), c.labelled_examples("test"))
    )
    fake = c.labelled_fake(samples, int(train[1].max()) + 1)
    return accuracy_score(fake, train, test, steps=c.classifier_steps, seed=c.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SvmResult(MetricResult):
    """Test accuracy of a linear SVM on the family's features, and on pixels.

    Attributes:
      accuracy: on the features, in [0, 1].
      std_error: standard error of the accuracy.
      strength: inverse penalty C on the features, chosen on the validation split.
      pixels: accuracy on pixels.
      pixels_strength: inverse penalty C on pixels.
    """

    FIGURE: ClassVar = ("accuracy", "std_error", "%")

    accuracy: float
    std_error: float
    strength: float
    pixels: float
    pixels_strength: float


def _svm(c: EvalContext, *, train: int = 5000, steps: int = 1000) -> SvmResult:
    if not isinstance(c.family, Features):
        raise ValueError(f"{c.name} has no features (encode); use another metric.")
    counts = {"train": train, "validation": None, "test": None}
    examples = [c.labelled_examples(split, n) for split, n in counts.items()]
    labels = [label for _, label in examples]
    encode = jax.jit(lambda variables, x: c.family.encode(c.config, variables, x))
    encoded = [
        np.concatenate(list(batches(encode, c.variables, x, c.batch_size))) for x, _ in examples
    ]
    pixels = [x.reshape(len(x), -1) for x, _ in examples]
    on_features, on_pixels = (
        linear_svm(*zip(x, labels, strict=True), steps=steps)  # type: ignore[arg-type]
        for x in (encoded, pixels)
    )
    return SvmResult(
        accuracy=on_features.accuracy,
        std_error=on_features.std_error,
        strength=on_features.strength,
        pixels=on_pixels.accuracy,
        pixels_strength=on_pixels.strength,
        n_real=sum(map(len, labels)),
        n_fake=0,
        extractor=c.name,
        seed=c.seed,
    )


def _gaussian_modes(
    c: EvalContext,
    *,
    samples: int = 2500,
    centres: np.ndarray | None = None,
    sigma: float | None = None,
) -> ModesResult:
    check_points(c.family, c.config)
    if (centres is None) != (sigma is None):
        raise ValueError("pass both centres and sigma, or neither to estimate them from labels.")
    n_real = 0
    if centres is None or sigma is None:
        x, labels = c.labelled_examples("train")
        n_real = len(x)
        x = x.astype(np.float64)
        centres = np.stack([x[labels == k].mean(axis=0) for k in np.unique(labels)])
        residual = x - centres[np.searchsorted(np.unique(labels), labels)]
        sigma = float(np.sqrt((residual**2).mean()))
    result = gaussian_modes(c.samples(samples), centres, sigma, seed=c.seed)
    return dataclasses.replace(result, n_real=n_real)


def _stacked_modes(c: EvalContext, *, samples: int = 26_000) -> ModesResult:
    check_stacked(c.family, c.config)
    highest = max(int(c.labels(split).max()) for split in c.dataset.counts())
    classes = next(n for n in itertools.count(2) if n**3 > highest)

    def channels(split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the channels as grey images in [0, 1], and the digit of each."""
        x, labels = c.labelled_examples(split)
        x = to_unit(x, *c.sample_range)
        single = np.concatenate([x[..., k : k + 1] for k in range(3)])
        digits = (labels // classes**2, labels // classes % classes, labels % classes)
        return single, np.concatenate(digits)

    shape = (*c.config.shape[:2], 1)
    classifier = c.classifier_of("channels", shape, lambda: channels("train"))
    if classifier.classes != classes:
        raise ValueError(
            f"the classifier has {classifier.classes} classes, and {c.dataset.name} stacks"
            f" {classes}; pass another classifier, or none to train one."
        )
    test = channels("test") if "test" in c.dataset.counts() else None
    return stacked_modes(c.fake(samples), classifier, test, seed=c.seed)


def _information(c: EvalContext, *, samples: int = 10_000) -> InformationResult:
    return information(c.family, c.config, c.variables, c.key, samples=samples, seed=c.seed)


def _codes(c: EvalContext, *, samples: int = 10_000) -> CodesResult:
    train, test = c.labelled_examples("train"), c.labelled_examples("test")
    settings = {"samples": samples, "seed": c.seed}
    return codes(c.family, c.config, c.variables, train, test, c.key, **settings)


METRICS: Mapping[str, Callable[..., MetricResult]] = {
    "parzen": _parzen,
    "fid": _fid,
    "kid": _kid,
    "inception_score": _inception_score,
    "classifier_frechet": _classifier_frechet,
    "classifier_kernel": _classifier_kernel,
    "swd": _swd,
    "ms_ssim": _ms_ssim,
    "precision_recall": _precision_recall,
    "neighbours": _neighbours,
    "accuracy_score": _accuracy_score,
    "svm": _svm,
    "information": _information,
    "codes": _codes,
    "gaussian_modes": _gaussian_modes,
    "stacked_modes": _stacked_modes,
    "part_changes": part_changes,
    "translation": translation,
    "attribute_translation": attribute_translation,
    "puzzle": puzzle,
    "caption_accuracy": caption_accuracy,
    "caption_retrieval": caption_retrieval,
    "token_usage": token_usage,
    "token_nats": token_nats,
}
_CONTEXT_SETTINGS = {f.name for f in dataclasses.fields(EvalContext)} - {
    *("family", "config", "variables", "dataset", "key")
}


def metric_settings(name: str) -> dict[str, Any]:
    """Returns the settings of a metric with their defaults."""
    checks.one_of(tuple(METRICS), metric=name)
    parameters = inspect.signature(METRICS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def split_setting(name: str, family: Any, dataset: Dataset) -> dict[str, Any]:
    """Returns `{"split": "test"}` if a metric has a split and samples are made of test examples.

    These are translations of test images and images of test captions; {} leaves the default.
    """
    made_of_test = isinstance(family, Translator) or (
        isinstance(family, TextToImage) and "test" in dataset.counts()
    )
    return {"split": "test"} if made_of_test and "split" in metric_settings(name) else {}


def compute_metric(
    name: str,
    family: Any,
    config: Any,
    variables: Any,
    dataset: Dataset,
    key: jax.Array,
    **settings: Any,
) -> MetricResult:
    """Computes one metric of one model.

    Args:
      name: key of `METRICS`.
      family, config, variables: the model.
      dataset: real data.
      key: key of the samples and of all other draws.
      **settings: settings of the metric (`metric_settings(name)`) and of `EvalContext`.

    Raises:
      ValueError: a setting does not exist, or the metric does not apply to the model or the data.
    """
    known = metric_settings(name)
    unknown = sorted(set(settings) - set(known) - _CONTEXT_SETTINGS)
    if unknown:
        raise ValueError(
            f"{name} has no setting {unknown[0]}; it has"
            f" {', '.join(sorted({*known, *_CONTEXT_SETTINGS}))}."
        )
    check_samples(name, family)
    of_metric = split_setting(name, family, dataset)
    of_metric |= {k: v for k, v in settings.items() if k in known}
    of_context = {k: v for k, v in settings.items() if k not in known}
    context = EvalContext(family, config, variables, dataset, key, **of_context)
    return METRICS[name](context, **of_metric)
