"""Precision, recall, density, coverage and neighbours by brute force, and of Gaussians."""

import math

import numpy as np
import pytest

from genjax.evals import nearest_neighbors, neighbor_distances, precision_recall
from genjax.evals.precision_recall import square_distances

RNG = np.random.default_rng(0)


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def radius(points, i, k):
    return sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]


def by_loops(real, fake, k, k_density):
    """Kynkaanniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, equations 4 and 5."""
    real_k = [radius(real, i, k) for i in range(len(real))]
    fake_k = [radius(fake, i, k) for i in range(len(fake))]
    real_d = [radius(real, i, k_density) for i in range(len(real))]
    inside = [[distance(f, r) for r in real] for f in fake]
    fakes, reals = range(len(fake)), range(len(real))
    return (
        np.mean([any(d <= s for d, s in zip(row, real_k, strict=True)) for row in inside]),
        np.mean([any(inside[f][r] <= fake_k[f] for f in fakes) for r in reals]),
        sum(d <= s for row in inside for d, s in zip(row, real_d, strict=True))
        / (k_density * len(fake)),
        np.mean([any(inside[f][r] <= real_d[r] for f in fakes) for r in reals]),
    )


@pytest.mark.parametrize(("k", "k_density"), [(3, 5), (1, 2), (4, 1)])
def test_against_loops(k, k_density):
    real, fake = RNG.normal(size=(40, 3)), RNG.normal(size=(30, 3)) * 0.7 + 0.8
    got = precision_recall(real, fake, k=k, k_density=k_density)
    want = by_loops(real, fake, k, k_density)
    assert len(set(want)) == 4, "all alike would hide a mistake"
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(want)
    assert (got.k, got.k_density, got.n_real, got.n_fake) == (k, k_density, 40, 30)


def test_against_loops_where_distances_tie():
    # Integers, for which squares are exact; a point on the border is inside.
    real, fake = RNG.integers(0, 4, (40, 2)), RNG.integers(1, 6, (30, 2))
    got = precision_recall(real, fake, k=2, k_density=3)
    want = by_loops(real.tolist(), fake.tolist(), 2, 3)
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(want)


def test_blocks_equal_the_whole():
    a, b = RNG.normal(size=(23, 4)), RNG.normal(size=(11, 4))
    result = np.concatenate([block for _, block in square_distances(a, b, rows=5)])
    np.testing.assert_allclose(result, ((a[:, None] - b[None]) ** 2).sum(-1), atol=1e-12)
    assert [where for where, _ in square_distances(a, b, rows=10)] == [
        *(slice(0, 10), slice(10, 20), slice(20, 23)),
    ]


def test_equal_distributions_have_the_expected_coverage_and_density():
    """Naeem et al. 2020, lemmas 1 and 2; 1100 examples take several blocks."""
    result = [precision_recall(*RNG.normal(size=(2, 1100, 2)), k_density=3) for _ in range(6)]
    covered = [f.coverage for f in result]
    want = 1 - np.prod([(1100 - i) / (2200 - i) for i in (1, 2, 3)])
    assert abs(np.mean(covered) - want) < 5 * np.std(covered, ddof=1) / math.sqrt(6) + 0.01
    density = [f.density for f in result]
    assert abs(np.mean(density) - 1) < 5 * np.std(density, ddof=1) / math.sqrt(6) + 0.01


def test_separates_quality_from_diversity():
    middle = np.array([[0.0, 0.0], [50.0, 0.0]])
    real = RNG.normal(size=(200, 2)) + middle[np.arange(200) % 2]
    dropped = precision_recall(real, RNG.normal(size=(200, 2)) + middle[:1])  # one of two modes
    assert dropped.precision > 0.9
    assert 0.4 < dropped.recall < 0.55
    assert 0.4 < dropped.coverage < 0.55
    fuzzy = RNG.normal(size=(200, 2)) + middle[np.arange(200) % 2]
    fuzzy[::2] += 500 * RNG.normal(size=(100, 2))  # every other sample far outside
    outside = precision_recall(real, fuzzy)
    assert 0.4 < outside.precision < 0.6
    assert outside.density < 0.65
    assert outside.recall > 0.9


def test_neighbours_by_hand():
    train = RNG.uniform(0, 1, (300, 4, 4, 1)).astype(np.float32)
    fake = RNG.uniform(0, 1, (130, 4, 4, 1)).astype(np.float32)
    fake[7] = train[211]
    index, apart = nearest_neighbors(fake, train)
    all_pairs = np.sqrt(((np.float64(fake)[:, None] - train[None]) ** 2).sum((2, 3, 4)))
    np.testing.assert_array_equal(index, all_pairs.argmin(axis=1))
    np.testing.assert_allclose(apart, all_pairs.min(axis=1), rtol=1e-12)
    assert (index[7], apart[7]) == (211, 0.0)  # a copy has distance 0
    copies = neighbor_distances(train[:20], train, fake)
    assert copies.median == 0
    assert copies.test_median == pytest.approx(np.median(all_pairs.min(axis=1)), rel=1e-12)
    assert (copies.n_real, copies.n_fake) == (300, 20)
    assert neighbor_distances(fake, train).test_median is None


def test_rejects_invalid_features():
    x = RNG.normal(size=(6, 2))
    with pytest.raises(ValueError, match="are too few for 5 neighbours each"):
        precision_recall(x, x[:5])
    with pytest.raises(ValueError, match="the sets have 2 and 1 features"):
        precision_recall(x, x[:, :1])
    with pytest.raises(ValueError, match="not finite"):
        precision_recall(x, x * np.nan)
    with pytest.raises(ValueError, match="`k` must be positive"):
        precision_recall(x, x, k=0)
    with pytest.raises(ValueError, match="the images differ in shape"):
        neighbor_distances(x, x[:, :1])
