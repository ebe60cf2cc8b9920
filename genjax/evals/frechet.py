"""The Frechet distance between Gaussians fitted to two sets of features.

    d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

Dowson and Landau 1982; Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule",
equation 6. It is named FID for the standard Inception network only (`genjax.evals.inception.fid`),
and `NAME_frechet` for other extractors.
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import scipy

from genjax.evals.feature_extractor import Extractor, batches, check_images
from genjax.evals.image_sets import ImageSet
from genjax.evals.metric_result import MetricResult


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean `[F]` and scatter (sum of products of deviations) in float64.

    The scatter is `[F, F]`, or its diagonal `[F]`. Batches are merged by the differences of their
    means, so that a large mean costs no precision: Chan et al. 1979, equation 2.1.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, *, diagonal: bool = False) -> "Moments":
        """Computes the moments of features `[N, F]`."""
        x = np.asarray(x, np.float64)
        mean = x.mean(axis=0)
        deviations = x - mean
        scatter = (deviations**2).sum(axis=0) if diagonal else deviations.T @ deviations
        return cls(len(x), mean, scatter)

    def merged(self, other: "Moments") -> "Moments":
        """Returns the moments of the union of both sets."""
        n = self.n + other.n
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.n / n)
        square = np.outer(shift, shift) if np.ndim(self.scatter) == 2 else shift**2
        between = square * (self.n * other.n / n)
        return Moments(n, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, or its diagonal."""
        return self.scatter / (self.n - 1)


def moments(extractor: Extractor, x: ImageSet, *, batch_size: int = 100) -> Moments:
    """Computes the moments of the features of images in [0, 1], `[N, *event]`, batch by batch."""
    parts = batches(extractor.function, extractor.variables, x, batch_size)
    return functools.reduce(Moments.merged, map(Moments.of, parts))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """A with A A^T = C, `[F, rank]`: by Cholesky with pivots, which takes singular matrices."""
    packed, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    factor = np.zeros((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor


def frechet_distance(a: Moments, b: Moments) -> float:
    """Computes d^2 between two Gaussians; non-negative, and 0 for equal moments.

    tr (C_1 C_2)^(1/2) is the sum of the singular values of A^T B, where A A^T = C_1 and
    B B^T = C_2. Unlike scipy.linalg.sqrtm(C_1 C_2), this sum is real and finite for singular
    covariances, which occur with fewer images than features.

    Raises:
      ValueError: the numbers of features differ, or a set has fewer than two examples.

    >>> one = Moments.of(np.array([[0.0], [2.0]]))  # mean 1, variance 2
    >>> round(frechet_distance(one, Moments.of(np.array([[4.0], [8.0]]))), 6)  # mean 6, variance 8
    27.0
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"the sets have {len(a.mean)} and {len(b.mean)} features; use one extractor for both."
        )
    if min(a.n, b.n) < 2:
        raise ValueError("a covariance needs two examples or more in each set.")
    if not all(np.isfinite(m.scatter).all() and np.isfinite(m.mean).all() for m in (a, b)):
        raise ValueError("the features have values that are not finite.")
    product = _factor(a.covariance).T @ _factor(b.covariance)
    shared = scipy.linalg.svdvals(product).sum() if product.size else 0.0
    distance = ((a.mean - b.mean) ** 2).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared
    return float(distance + max(spread, 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetResult(MetricResult):
    """A Frechet distance; lower is better.

    Attributes:
      name: FID, or `NAME_frechet` for other extractors.
      distance: d^2.
      features: number of features; with fewer images the covariances are singular and the distance
        is biased upwards.
      real_distance: d^2 between two disjoint sets of `real_images` real images each, which samples
        of the data's distribution would reach; None if it is not computed.
    """

    FIGURE: ClassVar = ("distance", "", "")

    name: str
    distance: float
    features: int
    real_distance: float | None = None
    real_images: int = 0


def frechet(
    real: ImageSet,
    fake: ImageSet,
    extractor: Extractor,
    *,
    batch_size: int = 100,
    seed: int = 0,
) -> FrechetResult:
    """Computes the Frechet distance between real and fake images in [0, 1], `[N, *event]` each.

    Raises:
      ValueError: the images differ in shape, or are not finite.
    """
    check_images(f"{extractor.name}_frechet", real=real, fake=fake)
    a, b = (moments(extractor, x, batch_size=batch_size) for x in (real, fake))
    return FrechetResult(
        name=f"{extractor.name}_frechet",
        distance=frechet_distance(a, b),
        features=len(a.mean),
        n_real=a.n,
        n_fake=b.n,
        extractor=extractor.label,
        seed=seed,
    )
