"""How many of the known modes a model finds: rings and grids of Gaussians, stacked digits.

The counts of Srivastava et al. 2017, "VEEGAN", section 4.1, and Lin et al. 2018, "PacGAN", section
4: a sample is of high quality within three standard deviations of its nearest mode, and a mode is
found that has one. Stacked digits have 1000 modes, named by a classifier of single digits.
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
    """Modes that were found.

    found: modes with a sample (for Gaussians: with one of high quality).
    modes: in all.
    high_quality: share of samples near a mode; 1 where every sample has a mode by construction.
    reverse_kl: KL(modes of the samples || uniform), in nats; 0 is even, log(modes) one mode alone.
    counts: samples a mode, `[modes]`.
    accuracy: of the classifier that names a mode's parts, on real test images, where one does.
    """

    FIGURE: ClassVar = ("found", "", "modes")

    found: int
    modes: int
    high_quality: float
    reverse_kl: float
    counts: np.ndarray
    accuracy: float | None = None


def ring_centres(modes: int = 8, radius: float = 1.0) -> np.ndarray:
    """Centres evenly on a circle: `[modes, 2]`."""
    checks.positive(modes=modes, radius=radius)
    angles = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid_centres(side: int = 5, spacing: float = 2.0) -> np.ndarray:
    """Centres on a square grid around 0: `[side^2, 2]`."""
    checks.positive(side=side, spacing=spacing)
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def draw_modes(centres: np.ndarray, sigma: float, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Points of the even mixture of Gaussians, float32 `[n, D]`, and their modes `[n]`."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(centres), n)
    noise = rng.standard_normal((n, centres.shape[1]))
    return (centres[label] + sigma * noise).astype(np.float32), label.astype(np.int32)


def reverse_kl(counts: np.ndarray) -> float:
    """KL(counts / n || uniform), in nats.

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
    """Modes of a mixture of round Gaussians that samples find.

    Args:
      samples: `[N, D]`; 2500 in the papers.
      centres: `[modes, D]`.
      sigma: standard deviation of a mode in each direction.
      deviations: a sample nearer than so many standard deviations is of high quality.
      seed: of the samples' draw; nothing is drawn here.

    Raises:
      ValueError: samples and centres differ in dimensions, or a sample is not finite.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    checks.positive(sigma=sigma, deviations=deviations)
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"gaussian_modes takes samples [N, D] and centres [modes, D], got"
            f" {list(samples.shape)} and {list(centres.shape)}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("gaussian_modes: a sample is not finite.")
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


def stack_digits(
    x: np.ndarray, labels: np.ndarray, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Three random grey images as the channels of one: `[n, H, W, 3]` and labels `[n]`.

    The label counts in as many as there are classes, the first channel foremost: of digits
    100 a + 10 b + c. Metz et al. 2017, "Unrolled Generative Adversarial Networks", section 3.3.1.

    Raises:
      ValueError: the images are not grey.
    """
    if x.ndim != 4 or x.shape[-1] != 1:
        raise ValueError(f"stack_digits takes grey images [N, H, W, 1], got {list(x.shape)}.")
    picks = np.random.default_rng(seed).integers(0, len(x), (n, 3))
    classes = int(labels.max()) + 1
    found = (labels[picks].astype(np.int64) * [classes**2, classes, 1]).sum(axis=1)
    return x[picks, ..., 0].transpose(0, 2, 3, 1), found.astype(np.int32)


def stacked_modes(
    fake: np.ndarray,
    classifier: Classifier,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    batch_size: int = 200,
    seed: int = 0,
) -> ModesResult:
    """Modes among the classes^3 that samples find, every channel named by the classifier.

    A channel that is named wrongly falls into another mode, so errors add modes that are not there:
    with one channel in a hundred, 26,000 samples of 700 even modes are counted as some 860, of 900
    as 950. Read the count beside `accuracy`, and train the classifier on until it is high.

    Args:
      fake: samples in [0, 1], `[N, H, W, 3]`; 26,000 in PacGAN's protocol.
      classifier: of single channels `[H, W, 1]`.
      test: real channels in [0, 1], `[3 M, H, W, 1]`, and their digits, for `accuracy`.
      batch_size: channels at a time.
      seed: of the samples' draw; nothing is drawn here.

    Raises:
      ValueError: the samples are not of the classifier's size, have not three channels, or are not
        all in [0, 1].
    """
    if fake.ndim != 4 or fake.shape[-1] != 3 or (*fake.shape[1:3], 1) != classifier.shape:
        raise ValueError(
            f"stacked_modes takes samples [N, {classifier.shape[0]}, {classifier.shape[1]}, 3], got"
            f" {list(fake.shape)}."
        )
    check_images("stacked_modes", fake=fake)
    named = [
        logits(classifier, fake[..., c : c + 1], batch_size=batch_size).argmax(axis=1)
        for c in range(3)
    ]
    k = classifier.classes
    mode = (named[0] * k + named[1]) * k + named[2]
    counts = np.bincount(mode, minlength=k**3)
    images = 0 if test is None else len(test[0]) // 3  # of three channels each
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
    """Modes that n samples of an even distribution are expected to find.

    The ceiling of the count: 26,000 samples find 1000 modes but for 5e-9.
    """
    missed = math.log1p(-1 / modes) if modes > 1 else -math.inf  # by a sample, of one mode
    return modes * -math.expm1(n * missed) if n else 0.0
