"""The kernel distance: squared maximum mean discrepancy with a cubic kernel, without bias.

Binkowski et al. 2018, "Demystifying MMD GANs", section 4: unlike the Frechet distance its expected
value does not depend on how many images there are. Called KID only of the standard Inception
network's features; everything else is `NAME_kernel`.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import Extractor, check_images, features
from genjax.evals.metric_result import MetricResult


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate of MMD^2 with k(a, b) = (a.b / F + 1)^3; may be below 0.

    Args:
      x: features `[M, F]`, two examples or more.
      y: features `[N, F]`, two examples or more.

    >>> mmd2(np.array([[1.0], [-1.0]]), np.array([[1.0], [-1.0]]))  # (0 + 0) - 2 * (8 + 0) / 2
    -8.0
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"mmd2 takes [M, F] and [N, F] of two examples or more, got {list(x.shape)} and"
            f" {list(y.shape)}."
        )

    def within(a: np.ndarray) -> float:
        kernel = (a @ a.T / a.shape[1] + 1) ** 3
        n = len(a)
        return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))  # an example is no pair of itself

    return float(within(x) + within(y) - 2 * ((x @ y.T / x.shape[1] + 1) ** 3).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class MmdResult(MetricResult):
    """MMD^2 over random subsets; lower is better, and 0 is expected of equal distributions.

    name: KID, or that of another extractor, `NAME_kernel`.
    mean: over subsets.
    spread: standard deviation over subsets, which share images: no standard error of the mean; NaN
      where a subset is all there are.
    subsets: how many.
    subset_size: images of each side in one.
    """

    FIGURE: ClassVar = ("mean", "", "")

    name: str
    mean: float
    spread: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    extractor: Extractor,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    batch_size: int = 100,
    seed: int = 0,
) -> MmdResult:
    """Kernel distance between real and fake images in [0, 1], `[N, *event]` each.

    Args:
      real: images of the data.
      fake: samples.
      extractor: of the features.
      subsets: random subsets, drawn without replacement within each.
      subset_size: images of each side in one; all there are where there are fewer.
      batch_size: images whose features are computed together.
      seed: of the subsets.

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
    """Mean and standard deviation of `mmd2` over random subsets of features, and their size.

    Where a subset is all there are of a side, that side does not vary: the deviation is NaN.
    """
    checks.positive(subsets=subsets, subset_size=subset_size)
    size = min(subset_size, len(a), len(b))
    rng = np.random.default_rng(seed)
    found = [
        mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    varies = subsets > 1 and size < min(len(a), len(b))
    spread = float(np.std(found, ddof=1)) if varies else float("nan")
    return float(np.mean(found)), spread, size
