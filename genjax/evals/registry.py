"""The instruments by name: each takes a `EvalContext` and gives a result that says how it came about.

found = measure("parzen", family, config, variables, dataset, key)
found = measure("fid", ..., weights="pt_inception-2015-12-05-6726825d.pth", samples=50_000)
"""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from genjax import checks
from genjax.data import Dataset
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
from genjax.evals.parzen import ParzenResult, parzen
from genjax.evals.precision_recall import (
    NeighborResult,
    PrecisionRecallResult,
    neighbor_distances,
    precision_recall,
)
from genjax.evals.probes import linear_svm
from genjax.evals.swd import SwdResult, swd


def _parzen(s: EvalContext, *, samples: int = 10_000, validation: int = 1000) -> ParzenResult:
    test, chosen_on = s.real("test"), s.real("validation")  # of which the protocol takes the first
    return parzen(s.fake(samples), chosen_on, test, validation_limit=validation, seed=s.seed)


def _fid(s: EvalContext, *, samples: int = 50_000, split: str = "train") -> FrechetResult:
    network = s.inception()
    return fid(s.real(split), s.fake(samples), network, seed=s.seed)


def _kid(s: EvalContext, *, samples: int = 10_000, split: str = "train") -> MmdResult:
    network = s.inception()
    return kid(s.real(split, samples), s.fake(samples), network, seed=s.seed)


def _inception_score(
    s: EvalContext, *, samples: int = 50_000, splits: int = 10
) -> InceptionScoreResult:
    network = s.inception()
    return inception_score(s.fake(samples), network, splits=splits, seed=s.seed)


def _classifier_frechet(
    s: EvalContext, *, samples: int = 10_000, split: str = "test"
) -> FrechetResult:
    taken = s.trained().extractor
    return frechet(s.real(split, samples), s.fake(samples), taken, seed=s.seed)


def _classifier_kernel(
    s: EvalContext, *, samples: int = 10_000, split: str = "test", subset_size: int = 1000
) -> MmdResult:
    taken = s.trained().extractor
    real, fake = s.real(split, samples), s.fake(samples)
    return kernel_distance(real, fake, taken, subset_size=subset_size, seed=s.seed)


def _swd(s: EvalContext, *, samples: int = 16_384, split: str = "train") -> SwdResult:
    return swd(s.real(split, samples), s.fake(samples), images=samples, seed=s.seed)


def _ms_ssim(
    s: EvalContext, *, samples: int = 10_000, split: str = "test", shrink: bool = False
) -> MsSsimResult:
    real = s.real(split, samples)
    return ms_ssim_pairs(s.fake(samples), real, pairs=samples, shrink=shrink, seed=s.seed)


def _precision_recall(
    s: EvalContext, *, samples: int = 10_000, split: str = "test", features_of: str = "auto"
) -> PrecisionRecallResult:
    taken = s.features(features_of)
    real, fake = (features(taken, x) for x in (s.real(split, samples), s.fake(samples)))
    return precision_recall(real, fake, extractor=taken.label, seed=s.seed)


def _neighbours(s: EvalContext, *, samples: int = 1000) -> NeighborResult:
    test = s.real("test", samples)
    return neighbor_distances(s.fake(samples), s.real("train"), test, seed=s.seed)


def _accuracy_score(s: EvalContext, *, samples: int = 10_000) -> ScoreResult:
    train, test = (
        (to_unit(x, *s.range), names) for x, names in (s.known("train"), s.known("test"))
    )
    return accuracy_score(
        s.labelled(samples, int(train[1].max()) + 1),
        train,
        test,
        steps=s.classifier_steps,
        seed=s.seed,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SvmResult(MetricResult):
    """Accuracy on test of a linear SVM, on the family's features and on raw pixels.

    accuracy, std_error, strength: on the features; the strength was chosen on validation.
    pixels: accuracy on raw pixels.
    pixels_strength: chosen for them.
    """

    FIGURE: ClassVar = ("accuracy", "std_error", "%")

    accuracy: float
    std_error: float
    strength: float
    pixels: float
    pixels_strength: float


def _svm(s: EvalContext, *, train: int = 5000, steps: int = 1000) -> SvmResult:
    if not hasattr(s.family, "encode"):
        raise ValueError(f"{s.name} has no features: it exports no encode.")
    splits = {"train": train, "validation": None, "test": None}
    given, names = zip(*(s.known(split, n) for split, n in splits.items()), strict=True)
    encode = jax.jit(lambda variables, x: s.family.encode(s.config, variables, x))
    hidden = [np.concatenate(list(batches(encode, s.variables, x, s.batch_size))) for x in given]
    flat = [x.reshape(len(x), -1) for x in given]
    both = [
        linear_svm(*zip(x, names, strict=True), steps=steps)  # type: ignore[arg-type]
        for x in (hidden, flat)
    ]
    return SvmResult(
        accuracy=both[0].accuracy,
        std_error=both[0].std_error,
        strength=both[0].strength,
        pixels=both[1].accuracy,
        pixels_strength=both[1].strength,
        n_real=sum(map(len, names)),
        n_fake=0,
        extractor=s.name,
        seed=s.seed,
    )


def check_points(family: Any, config: Any) -> None:
    """Hold a family against modes that are Gaussians.

    Raises:
      ValueError: it makes pictures.
    """
    if len(config.shape) != 1:
        name = family.__name__.rsplit(".", 1)[-1]
        raise ValueError(f"{name} makes pictures; modes of Gaussians are those of points [D].")


def check_stacked(family: Any, config: Any) -> None:
    """Hold a family against modes that are three grey images, stacked.

    Raises:
      ValueError: it makes no images of three channels.
    """
    if len(config.shape) != 3 or config.shape[-1] != 3:
        name = family.__name__.rsplit(".", 1)[-1]
        raise ValueError(
            f"{name} makes no stacked images: those have three channels, and labels from 0 to 999"
            f" that name all three."
        )


def _gaussian_modes(
    s: EvalContext,
    *,
    samples: int = 2500,
    centres: np.ndarray | None = None,
    sigma: float | None = None,
) -> ModesResult:
    check_points(s.family, s.config)
    if (centres is None) != (sigma is None):
        raise ValueError("gaussian_modes takes centres and sigma, or neither, to estimate both.")
    seen = 0
    if centres is None or sigma is None:  # then every label of the training points is a mode
        x, names = s.known("train")
        seen = len(x)
        x = x.astype(np.float64)
        centres = np.stack([x[names == c].mean(axis=0) for c in np.unique(names)])
        apart = x - centres[np.searchsorted(np.unique(names), names)]
        sigma = float(np.sqrt((apart**2).mean()))
    found = gaussian_modes(s.raw(samples), centres, sigma, seed=s.seed)
    return dataclasses.replace(found, n_real=seen)


def _stacked_modes(s: EvalContext, *, samples: int = 26_000) -> ModesResult:
    check_stacked(s.family, s.config)
    highest = max(int(s.labels(split).max()) for split in s.dataset.counts())
    classes = next(n for n in itertools.count(2) if n**3 > highest)

    def apart(split: str) -> tuple[np.ndarray, np.ndarray]:
        """Channels as grey images in [0, 1], and the digit of each."""
        x, names = s.known(split)
        x = to_unit(x, *s.range)
        single = np.concatenate([x[..., c : c + 1] for c in range(3)])
        digits = (names // classes**2, names // classes % classes, names % classes)
        return single, np.concatenate(digits)

    classifier = s.named("channels", (*s.config.shape[:2], 1), lambda: apart("train"))
    if classifier.classes != classes:
        raise ValueError(
            f"the classifier knows {classifier.classes} classes, and {s.dataset.name} stacks"
            f" {classes}; take another, or none to train one."
        )
    test = apart("test") if "test" in s.dataset.counts() else None
    return stacked_modes(s.fake(samples), classifier, test, seed=s.seed)


def _information(s: EvalContext, *, samples: int = 10_000) -> InformationResult:
    return information(s.family, s.config, s.variables, s.key, samples=samples, seed=s.seed)


def _codes(s: EvalContext, *, samples: int = 10_000) -> CodesResult:
    train, test = s.known("train"), s.known("test")
    asked = {"samples": samples, "seed": s.seed}
    return codes(s.family, s.config, s.variables, train, test, s.key, **asked)


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
}
_OF_SUBJECT = {f.name for f in dataclasses.fields(EvalContext)} - {
    *("family", "config", "variables", "dataset", "key")
}


def metric_settings(name: str) -> dict[str, Any]:
    """The settings of an instrument and their defaults.

    Raises:
      ValueError: no instrument has this name.
    """
    checks.one_of(tuple(METRICS), instrument=name)
    found = inspect.signature(METRICS[name]).parameters.values()
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY}


def metric_result_type(
    name: str,
    family: Any,
    config: Any,
    variables: Any,
    dataset: Dataset,
    key: jax.Array,
    **settings: Any,
) -> MetricResult:
    """One instrument on one model.

    Args:
      name: of `METRICS`.
      family: module that follows the family contract.
      config: its Config.
      variables: its variables.
      dataset: real data.
      key: of the samples, and of whatever the instrument draws.
      **settings: of the instrument (`metric_settings(name)`) and of `EvalContext`.

    Raises:
      ValueError: the instrument does not fit the model or the data, or a setting is unknown.
    """
    known = metric_settings(name)
    odd = sorted(set(settings) - set(known) - _OF_SUBJECT)
    if odd:
        raise ValueError(
            f"{name} has no setting {odd[0]}; it has {', '.join(sorted({*known, *_OF_SUBJECT}))}."
        )
    mine = {k: v for k, v in settings.items() if k in known}
    rest = {k: v for k, v in settings.items() if k not in known}
    subject = EvalContext(family, config, variables, dataset, key, **rest)
    return METRICS[name](subject, **mine)


def compute_metric(name: str, *args: Any, **settings: Any) -> dict[str, Any]:
    """As `metric_result_type`, whose arguments these are, in plain values."""
    return {"instrument": name, **metric_result_type(name, *args, **settings).as_dict()}
