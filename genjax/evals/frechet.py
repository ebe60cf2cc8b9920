"""The Frechet distance between two sets of features, each taken for a Gaussian.

    d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

Dowson and Landau 1982; Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule",
equation 6. Called FID only where the features are the standard Inception network's: `fid` in
`genjax.evals.inception`. Everything else is `NAME_frechet`.
"""

import dataclasses
from typing import ClassVar

import numpy as np
import scipy.linalg

from genjax.evals.feature_extractor import Extractor, batches, check_images
from genjax.evals.metric_result import MetricResult


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean `[F]` and scatter `[F, F]` (sum of products of deviations) in float64.

    Batches are merged by Chan et al. 1979, equation 2.1: no sum of squares whose digits cancel.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> "Moments":
        """Of features `[N, F]`."""
        x = np.asarray(x, np.float64)
        mean = x.mean(axis=0)
        return cls(len(x), mean, (x - mean).T @ (x - mean))

    def merged(self, other: "Moments") -> "Moments":
        """Of both sets together."""
        n = self.n + other.n
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.n / n)
        between = np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, `[F, F]`."""
        return self.scatter / (self.n - 1)


def moments(extractor: Extractor, x: np.ndarray, *, batch_size: int = 100) -> Moments:
    """Of the features of images in [0, 1], `[N, *event]`; a batch of features is held at a time."""
    total = None
    for part in batches(extractor.function, extractor.variables, x, batch_size):
        one = Moments.of(part)
        total = one if total is None else total.merged(one)
    if total is None:
        raise ValueError("moments need an image or more.")
    return total


def _factor(covariance: np.ndarray) -> np.ndarray:
    """A with A A^T = C, `[F, rank]`: by Cholesky with pivots, which takes singular matrices."""
    packed, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    found = np.zeros((len(covariance), rank))
    found[pivots - 1] = np.tril(packed)[:, :rank]
    return found


def frechet_distance(a: Moments, b: Moments) -> float:
    """d^2 between two Gaussians; 0 for equal moments, never below.

    tr (C_1 C_2)^(1/2) is the sum of the singular values of A^T B, where A A^T = C_1 and
    B B^T = C_2. The general square root of C_1 C_2 (scipy.linalg.sqrtm) turns complex or infinite
    where a covariance is singular, as it always is with fewer images than features; factors stay
    real, and a singular value is exact to rounding where the root of an eigenvalue keeps half the
    digits. With few images the factors are thin, and it costs little.

    Raises:
      ValueError: the features differ in number, or fewer than two examples made the moments.

    >>> one = Moments.of(np.array([[0.0], [2.0]]))  # mean 1, variance 2
    >>> round(frechet_distance(one, Moments.of(np.array([[4.0], [8.0]]))), 6)  # mean 6, variance 8
    27.0
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"the features differ: {len(a.mean)} and {len(b.mean)} of them; use one extractor."
        )
    if min(a.n, b.n) < 2:
        raise ValueError("a covariance needs two examples or more.")
    if not all(np.isfinite(m.scatter).all() and np.isfinite(m.mean).all() for m in (a, b)):
        raise ValueError("a feature is not finite.")
    product = _factor(a.covariance).T @ _factor(b.covariance)
    shared = scipy.linalg.svdvals(product).sum() if product.size else 0.0
    apart = ((a.mean - b.mean) ** 2).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared
    return float(apart + max(spread, 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetResult(MetricResult):
    """A Frechet distance; lower is better.

    name: FID, or that of another extractor, `NAME_frechet`.
    distance: d^2.
    features: how many; with fewer images than that the covariances are singular and the distance
      is biased upwards.
    """

    FIGURE: ClassVar = ("distance", "", "")

    name: str
    distance: float
    features: int


def frechet(
    real: np.ndarray,
    fake: np.ndarray,
    extractor: Extractor,
    *,
    batch_size: int = 100,
    seed: int = 0,
) -> FrechetResult:
    """Frechet distance between real and fake images in [0, 1], `[N, *event]` each.

    The result bears the extractor's name, and never that of the standard network.

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
