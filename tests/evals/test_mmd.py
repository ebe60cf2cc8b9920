"""The kernel distance against loops and closed forms; absence of bias."""

import math

import numpy as np
import pytest

from genjax.evals import PIXELS, kernel_distance, mmd2
from genjax.evals.mmd import over_subsets


def loops(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_against_loops():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1
    assert mmd2(x, y) == pytest.approx(loops(x, y), rel=1e-12)
    assert mmd2(y, x) == pytest.approx(mmd2(x, y), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_expected_value_equals_the_closed_form(shift):
    """One feature: k = sum_j C(3, j) a^j b^j, so MMD^2 = sum_j C(3, j) (E a^j - E b^j)^2."""
    raw = np.array([1, 0, 1, 0])  # moments 0 to 3 of N(0, 1), and of N(shift, 1) below
    moved = np.array([1, shift, 1 + shift**2, shift**3 + 3 * shift])
    want = sum(math.comb(3, j) * (raw[j] - moved[j]) ** 2 for j in range(4))
    rng = np.random.default_rng(1)
    draws = [mmd2(rng.normal(size=(30, 1)), rng.normal(size=(40, 1)) + shift) for _ in range(3000)]
    error = np.std(draws, ddof=1) / math.sqrt(len(draws))
    assert abs(np.mean(draws) - want) < 5 * error
    # Including pairs of an example with itself would add E k(a, a) / n, which exceeds 5 errors.
    diagonal = sum(math.comb(3, j) * [1, 1, 3, 15][j] for j in range(4)) / 30
    assert diagonal > 10 * error or shift


def test_subsets_have_the_requested_size_and_are_reproducible():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(60, 2)), rng.normal(size=(50, 2))
    first = over_subsets(a, b, subsets=4, subset_size=20, seed=3)
    assert first == over_subsets(a, b, subsets=4, subset_size=20, seed=3)
    assert first != over_subsets(a, b, subsets=4, subset_size=20, seed=4)
    assert first[2] == 20
    # Subsets of all examples are equal: the estimate itself, and no deviation.
    mean, spread, size = over_subsets(a[:50], b, subsets=3, subset_size=1000, seed=3)
    assert size == 50
    assert mean == pytest.approx(mmd2(a[:50], b), rel=1e-9)
    assert math.isnan(spread)


def test_spread_of_two_subsets_is_unbiased():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(60, 2)), rng.normal(size=(50, 2))
    first, alone, _ = over_subsets(a, b, subsets=1, subset_size=20, seed=3)
    mean, spread, _ = over_subsets(a, b, subsets=2, subset_size=20, seed=3)
    second = 2 * mean - first
    assert math.isnan(alone)
    assert spread == pytest.approx(abs(first - second) / math.sqrt(2), rel=1e-9)  # 2 - 1 degrees


def test_grows_with_a_shift():
    x = np.random.default_rng(4).uniform(0, 0.5, (300, 3, 1)).astype(np.float32)
    result = [
        kernel_distance(x[:150], x[150:] + s, PIXELS, subsets=5, subset_size=100, seed=1)
        for s in (0.0, 0.1, 0.3)
    ]
    means = [f.mean for f in result]
    assert abs(means[0]) < 0.02 < means[1] < means[2]
    one = result[0]
    assert (one.name, one.extractor, one.n_real, one.n_fake) == (
        *("pixels_kernel", "pixels", 150, 150),
    )
    assert (one.subsets, one.subset_size, one.seed) == (5, 100, 1)


def test_rejects_invalid_features():
    with pytest.raises(ValueError, match=r"mmd2 takes \[M, F\] and \[N, F\]"):
        mmd2(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="two examples or more"):
        mmd2(np.ones((1, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="`subsets` must be positive"):
        over_subsets(np.ones((4, 2)), np.ones((4, 2)), subsets=0, subset_size=2, seed=0)
