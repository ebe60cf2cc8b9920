"""The kernel distance: an unbiased squared maximum mean discrepancy with a cubic kernel.

Binkowski et al. 2018, "Demystifying MMD GANs", section 4. Unlike the Frechet distance its expected
value does not depend on the number of images. It is named KID for the standard Inception network
only, and `NAME_kernel` for other extractors.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import Extractor, check_images, features
from genjax.evals.image_sets import ImageSet
from genjax.evals.metric_result import MetricResult


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Computes the unbiased estimate of MMD^2 with k(a, b) = (a.b / F + 1)^3; may be negative.

    The features are `[M, F]` and `[N, F]`, two examples or more each.

    >>> mmd2(np.array([[1.0], [-1.0]]), np.array([[1.0], [-1.0]]))  # (0 + 0) - 2 * (8 + 0) / 2
    -8.0
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"mmd2 takes [M, F] and [N, F] with two examples or more, got {list(x.shape)} and"
            f" {list(y.shape)}."
        )

    def within(a: np.ndarray) -> float:
        kernel = (a @ a.T / a.shape[1] + 1) ** 3
        n = len(a)
        return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))  # distinct pairs

    return float(within(x) + within(y) - 2 * ((x @ y.T / x.shape[1] + 1) ** 3).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class MmdResult(MetricResult):
    """MMD^2 over random subsets; lower is better, with expected value 0 for equal distributions.

    Attributes:
      name: KID, or `NAME_kernel` for other extractors.
      mean: mean over subsets.
      spread: standard deviation over subsets (not a standard error of the mean, since subsets share
        images); NaN if a subset contains all images of a set.
      subsets: number of subsets.
      subset_size: images of each set per subset.
    """

    FIGURE: ClassVar = ("mean", "", "")

    name: str
    mean: float
    spread: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: ImageSet,
    fake: ImageSet,
    extractor: Extractor,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    batch_size: int = 100,
    seed: int = 0,
) -> MmdResult:
    """Computes the kernel distance between real and fake images in [0, 1], `[N, *event]` each.

    Each of `subsets` random subsets has `subset_size` images of both sets, at most all of them.
    `batch_size` images at a time pass through the extractor; `seed` is that of the subsets.

    Raises:
      ValueError: the images differ in shape, or are not finite.
    """
    check_images(f"{extractor.name}_kernel", real=real, fake=fake)
    a, b = (features(extractor, x, batch_size=batch_size) for x in (real, fake))
    mean, spread, size = over_subsets(a, b, subsets=subsets, subset_size=subset_size, seed=seed)
    return MmdResult(
        name=f"{extractor.name}_kernel",
        mean=mean,
        spread=spread,
        subsets=subsets,
        subset_size=size,
        n_real=len(a),
        n_fake=len(b),
        extractor=extractor.label,
        seed=seed,
    )


def over_subsets(
    a: np.ndarray, b: np.ndarray, *, subsets: int, subset_size: int, seed: int
) -> tuple[float, float, int]:
    """Returns the mean and standard deviation of `mmd2` over random subsets, and the subset size.

    The deviation is NaN if a subset contains all examples of a set, which then does not vary.
    """
    checks.positive(subsets=subsets, subset_size=subset_size)
    size = min(subset_size, len(a), len(b))
    rng = np.random.default_rng(seed)
    values = [
        mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    varies = subsets > 1 and size < min(len(a), len(b))
    spread = float(np.std(values, ddof=1)) if varies else float("nan")
    return float(np.mean(values)), spread, size
