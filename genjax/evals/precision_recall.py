"""Precision, recall, density and coverage, and nearest training examples.

The support of a set of features is estimated by the union of balls around its points, with the
distance to the k-th nearest neighbour as radius. Kynkaanniemi et al. 2019, "Improved Precision and
Recall Metric for Assessing Generative Models"; Naeem et al. 2020, "Reliable Fidelity and Diversity
Metrics for Generative Models".
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import check_images
from genjax.evals.metric_result import MetricResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrecisionRecallResult(MetricResult):
    """Fractions in [0, 1], except the density, which can exceed 1.

    Attributes:
      precision: fraction of samples within a ball around a real example.
      recall: fraction of real examples within a ball around a sample.
      density: mean number of real balls that contain a sample, divided by k; its expected value is
        1 for equal distributions.
      coverage: fraction of real balls that contain a sample.
      k: neighbours for precision and recall (3 in the paper).
      k_density: neighbours for density and coverage (5 in the paper).
    """

    FIGURE: ClassVar = ("coverage", "", "%")

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    k_density: int


def square_distances(
    a: np.ndarray, b: np.ndarray, *, rows: int = 500
) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterates over blocks of |a_i - b_j|^2 in float64: the rows, and `[rows, len(b)]`."""
    b = np.asarray(b, np.float64)
    norms = (b**2).sum(axis=1)
    for start in range(0, len(a), rows):
        part = np.asarray(a[start : start + rows], np.float64)
        squares = (part**2).sum(axis=1)[:, None] + norms[None] - 2 * part @ b.T
        yield slice(start, start + len(part)), np.maximum(squares, 0)


def square_radii(x: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Returns the squared distance of every point to its k-th nearest other, `[len(ks), N]`."""
    radii = np.empty((len(ks), len(x)))
    for rows, squares in square_distances(x, x):
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = -1  # the point itself
        radii[:, rows] = np.partition(squares, ks, axis=1)[:, list(ks)].T
    return radii


def precision_recall(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    k: int = 3,
    k_density: int = 5,
    extractor: str = "features",
    seed: int = 0,
) -> PrecisionRecallResult:
    """Computes precision, recall, density and coverage of features, `[N, F]` and `[M, F]`.

    Balls are closed (open in the second paper's code, which differs only for equal distances).
    Recall depends on the counts: compare results of equal counts only.

    Precision and recall use `k` neighbours, density and coverage `k_density`. The result stores
    `extractor`, the label of the features, and `seed`, that of the samples.

    Raises:
      ValueError: the numbers of features differ, a feature is not finite, or a set has at most k
        examples.
    """
    checks.positive(k=k, k_density=k_density)
    real, fake = (np.asarray(x).reshape(len(x), -1) for x in (real, fake))
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"the sets have {real.shape[1]} and {fake.shape[1]} features; use one extractor for"
            f" both."
        )
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise ValueError("the features have values that are not finite.")
    if min(len(real), len(fake)) <= max(k, k_density):
        raise ValueError(
            f"{len(real)} real and {len(fake)} fake examples are too few for"
            f" {max(k, k_density)} neighbours each; use more examples, or a smaller k."
        )
    real_k, real_density = square_radii(real, (k, k_density))
    fake_k = square_radii(fake, (k,))[0]
    num_precise = num_balls = 0
    recalled, covered = (np.zeros(len(real), bool) for _ in range(2))
    for rows, squares in square_distances(fake, real):  # [block of samples, real]
        num_precise += int((squares <= real_k[None]).any(axis=1).sum())
        recalled |= (squares <= fake_k[rows][:, None]).any(axis=0)
        inside = squares <= real_density[None]
        num_balls += int(inside.sum())
        covered |= inside.any(axis=0)
    return PrecisionRecallResult(
        precision=num_precise / len(fake),
        recall=float(recalled.mean()),
        density=num_balls / (k_density * len(fake)),
        coverage=float(covered.mean()),
        k=k,
        k_density=k_density,
        n_real=len(real),
        n_fake=len(fake),
        extractor=extractor,
        seed=seed,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighborResult(MetricResult):
    """The training example nearest to each sample.

    Attributes:
      index: index of the training example, `[N]`.
      distance: Euclidean distance of the pixels, `[N]`.
      median: median of the distances.
      test_median: median distance of test images; samples that are closer indicate memorisation, or
        simpler images than the data. None without test images.
    """

    FIGURE: ClassVar = ("median", "", "")

    index: np.ndarray
    distance: np.ndarray
    median: float
    test_median: float | None


def nearest_neighbors(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns index and Euclidean distance, `[N]` each, of the training examples nearest to x."""
    flat, pool = (np.asarray(a).reshape(len(a), -1) for a in (x, train))
    index = np.empty(len(flat), np.int64)
    for rows, squares in square_distances(flat, pool, rows=100):
        index[rows] = squares.argmin(axis=1)
    # Directly from the difference, so that a copy has distance 0 exactly.
    difference = flat.astype(np.float64) - pool[index].astype(np.float64)
    return index, np.sqrt((difference**2).sum(axis=1))


def neighbor_distances(
    fake: np.ndarray, train: np.ndarray, test: np.ndarray | None = None, *, seed: int = 0
) -> NeighborResult:
    """Finds the nearest training examples of samples in [0, 1], `[N, *event]`, by pixels.

    Raises:
      ValueError: the images differ in shape, or are not in [0, 1].
    """
    sets = {"fake": fake, "train": train, "test": test}
    check_images("neighbours", **{name: x for name, x in sets.items() if x is not None})
    index, distance = nearest_neighbors(fake, train)
    test_median = None if test is None else float(np.median(nearest_neighbors(test, train)[1]))
    return NeighborResult(
        index=index,
        distance=distance,
        median=float(np.median(distance)),
        test_median=test_median,
        n_real=len(train),
        n_fake=len(fake),
        extractor="pixels",
        seed=seed,
    )
