"""Quality and variety apart: precision, recall, density, coverage; and whom a sample resembles.

A set of features is taken for the union of balls around its members, each as wide as the distance
to the k-th nearest other member. Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric
for Assessing Generative Models"; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for
Generative Models".
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
    """Shares from 0 to 1, but for the density, which can be above.

    precision: of samples within a ball around a real example.
    recall: of real examples within a ball around a sample.
    density: real balls that a sample lies in, over k; 1 is expected of equal distributions.
    coverage: of real balls with a sample in it.
    k: of precision and recall (3 in the paper).
    k_density: of density and coverage (5 in the paper).
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
    """Blocks of |a_i - b_j|^2 in float64: which rows, and `[rows, len(b)]`."""
    b = np.asarray(b, np.float64)
    norms = (b**2).sum(axis=1)
    for start in range(0, len(a), rows):
        part = np.asarray(a[start : start + rows], np.float64)
        squares = (part**2).sum(axis=1)[:, None] + norms[None] - 2 * part @ b.T
        yield slice(start, start + len(part)), np.maximum(squares, 0)


def square_radii(x: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Squared distance of every member to its k-th nearest other member: `[len(ks), N]`."""
    found = np.empty((len(ks), len(x)))
    for where, squares in square_distances(x, x):
        squares[np.arange(len(squares)), np.arange(where.start, where.stop)] = -1  # oneself
        found[:, where] = np.partition(squares, ks, axis=1)[:, list(ks)].T
    return found


def precision_recall(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    k: int = 3,
    k_density: int = 5,
    extractor: str = "features",
    seed: int = 0,
) -> PrecisionRecallResult:
    """Precision, recall, density and coverage of features, `[N, F]` and `[M, F]`.

    A ball holds its border (the second paper's code leaves it out; for numbers that never tie it
    is the same). Recall depends on the counts: compare figures of equal counts only.

    Args:
      real: features of real examples.
      fake: features of samples.
      k: neighbours that make a ball of precision and recall.
      k_density: those of density and coverage.
      extractor: its label.
      seed: of the samples' draw; nothing is drawn here.

    Raises:
      ValueError: the features differ in number or are not finite, or there are no k others.
    """
    checks.positive(k=k, k_density=k_density)
    real, fake = (np.asarray(x).reshape(len(x), -1) for x in (real, fake))
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"the features differ: {real.shape[1]} and {fake.shape[1]} of them.")
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise ValueError("a feature is not finite.")
    if min(len(real), len(fake)) <= max(k, k_density):
        raise ValueError(
            f"{len(real)} real and {len(fake)} fake examples have no {max(k, k_density)} neighbours"
            f" each; give more, or a smaller k."
        )
    real_k, real_density = square_radii(real, (k, k_density))
    fake_k = square_radii(fake, (k,))[0]
    precise = balls = 0
    recalled, covered = (np.zeros(len(real), bool) for _ in range(2))
    for where, squares in square_distances(fake, real):  # [some samples, real]
        precise += int((squares <= real_k[None]).any(axis=1).sum())
        recalled |= (squares <= fake_k[where][:, None]).any(axis=0)
        inside = squares <= real_density[None]
        balls += int(inside.sum())
        covered |= inside.any(axis=0)
    return PrecisionRecallResult(
        precision=precise / len(fake),
        recall=float(recalled.mean()),
        density=balls / (k_density * len(fake)),
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

    index: of it, `[N]`.
    distance: Euclidean, of the pixels, `[N]`.
    median: of the distances.
    test_median: of those of test images that the model never saw; a model that copies comes
      closer than that, and so does one that makes the simplest images alone. None where no test
      images were given.
    """

    FIGURE: ClassVar = ("median", "", "")

    index: np.ndarray
    distance: np.ndarray
    median: float
    test_median: float | None


def nearest_neighbors(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index `[N]` and Euclidean distance `[N]` of the training example nearest to each of `x`."""
    flat, pool = (np.asarray(a).reshape(len(a), -1) for a in (x, train))
    index = np.empty(len(flat), np.int64)
    for where, squares in square_distances(flat, pool, rows=100):
        index[where] = squares.argmin(axis=1)
    # Of the one that was found the distance is computed directly: a copy has 0 exactly.
    apart = flat.astype(np.float64) - pool[index].astype(np.float64)
    return index, np.sqrt((apart**2).sum(axis=1))


def neighbor_distances(
    fake: np.ndarray, train: np.ndarray, test: np.ndarray | None = None, *, seed: int = 0
) -> NeighborResult:
    """Nearest training examples by pixels of samples in [0, 1], `[N, *event]`.

    Raises:
      ValueError: the images differ in shape, or are not all in [0, 1].
    """
    given = {"fake": fake, "train": train, "test": test}
    check_images("neighbours", **{name: x for name, x in given.items() if x is not None})
    index, distance = nearest_neighbors(fake, train)
    unseen = None if test is None else float(np.median(nearest_neighbors(test, train)[1]))
    return NeighborResult(
        index=index,
        distance=distance,
        median=float(np.median(distance)),
        test_median=unseen,
        n_real=len(train),
        n_fake=len(fake),
        extractor="pixels",
        seed=seed,
    )
