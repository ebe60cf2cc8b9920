"""Number of known modes with samples: rings and grids of Gaussians, stacked digits.

As in Srivastava et al. 2017, "VEEGAN", section 4.1, and Lin et al. 2018, "PacGAN", section 4: a
sample has high quality within three standard deviations of its nearest mode, and a mode is found if
it has a high-quality sample. Stacked digits have 1000 modes, assigned by a classifier of digits.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from genjax import checks
from genjax.evals.classifier import Classifier, accuracy, logits
from genjax.evals.feature_extractor import check_images
from genjax.evals.metric_result import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModesResult(MetricResult):
    """Counts of samples per mode.

    Attributes:
      found: number of modes with a sample (for Gaussians: with a high-quality sample).
      modes: number of modes.
      high_quality: fraction of samples near a mode; 1 if every sample has a mode by construction.
      reverse_kl: KL(modes of the samples || uniform) in nats, from 0 (uniform) to log(modes).
      counts: samples per mode, `[modes]`.
      accuracy: test accuracy of the classifier that assigns modes; None without a classifier.
    """

    FIGURE: ClassVar = ("found", "", "modes")

    found: int
    modes: int
    high_quality: float
    reverse_kl: float
    counts: np.ndarray
    accuracy: float | None = None


def reverse_kl(counts: np.ndarray) -> float:
    """Computes KL(counts / n || uniform), in nats.

    >>> reverse_kl(np.array([3, 3])), round(reverse_kl(np.array([5, 0])), 4)
    (0.0, 0.6931)
    """
    p = np.asarray(counts, np.float64) / np.sum(counts)
    return float((p[p > 0] * np.log(p[p > 0] * len(p))).sum())


def gaussian_modes(
    samples: np.ndarray,
    centres: np.ndarray,
    sigma: float,
    *,
    deviations: float = 3.0,
    seed: int = 0,
) -> ModesResult:
    """Counts the modes of a mixture of isotropic Gaussians that have samples.

    Args:
      samples: `[N, D]`; 2500 in the papers.
      centres: `[modes, D]`.
      sigma: standard deviation of a mode.
      deviations: maximal distance of a high-quality sample, in standard deviations.
      seed: seed of the samples, for the result.

    Raises:
      ValueError: samples and centres differ in dimension, or a sample is not finite.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    checks.positive(sigma=sigma, deviations=deviations)
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"gaussian_modes takes samples [N, D] and centres [modes, D], got"
            f" {list(samples.shape)} and {list(centres.shape)}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("gaussian_modes: the samples have values that are not finite.")
    distances = np.linalg.norm(samples[:, None] - centres[None], axis=-1)  # [N, modes]
    nearest = distances.argmin(axis=1)
    good = distances.min(axis=1) <= deviations * sigma
    counts = np.bincount(nearest, minlength=len(centres))
    return ModesResult(
        found=len(np.unique(nearest[good])),
        modes=len(centres),
        high_quality=float(good.mean()),
        reverse_kl=reverse_kl(counts),
        counts=counts,
        n_real=0,
        n_fake=len(samples),
        extractor="nearest_centre",
        seed=seed,
    )


def stacked_modes(
    fake: np.ndarray,
    classifier: Classifier,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    seed: int = 0,
) -> ModesResult:
    """Counts the modes, of classes^3, that have samples; a classifier assigns every channel.

    Classification errors add modes: with an error rate of 1 %, about 860 modes are counted for
    26,000 samples of 700 uniform modes. Read the count together with `accuracy`.

    Args:
      fake: samples in [0, 1], `[N, H, W, 3]`; 26,000 in PacGAN's protocol.
      classifier: classifier of single channels `[H, W, 1]`.
      test: real channels in [0, 1], `[3 M, H, W, 1]`, and their digits, for `accuracy`.
      seed: seed of the samples, for the result.

    Raises:
      ValueError: the samples do not have the classifier's size, three channels or values in [0, 1].
    """
    if fake.ndim != 4 or fake.shape[-1] != 3 or (*fake.shape[1:3], 1) != classifier.shape:
        raise ValueError(
            f"stacked_modes takes samples [N, {classifier.shape[0]}, {classifier.shape[1]}, 3], got"
            f" {list(fake.shape)}."
        )
    check_images("stacked_modes", fake=fake)
    digits = [logits(classifier, fake[..., c : c + 1]).argmax(axis=1) for c in range(3)]
    k = classifier.classes
    mode = (digits[0] * k + digits[1]) * k + digits[2]
    counts = np.bincount(mode, minlength=k**3)
    images = 0 if test is None else len(test[0]) // 3
    return ModesResult(
        found=int((counts > 0).sum()),
        modes=k**3,
        high_quality=1.0,
        reverse_kl=reverse_kl(counts),
        counts=counts,
        accuracy=None if test is None else accuracy(classifier, *test),
        n_real=images,
        n_fake=len(fake),
        extractor=classifier.extractor.label,
        seed=seed,
    )


def expected_modes_found(n: int, modes: int) -> float:
    """Returns the expected number of modes that n samples of uniform modes reach."""
    log_miss = math.log1p(-1 / modes) if modes > 1 else -math.inf  # of one mode by one sample
    return modes * -math.expm1(n * log_miss) if n else 0.0
