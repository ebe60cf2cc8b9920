"""Lists of permutations: greedy choice, checksums, limits."""

import hashlib
import itertools
import math
import time

import numpy as np
import pytest

from genjax.families.jigsaw.permutations import maximal_hamming


def distances(a, b):
    """Returns Hamming distances, `[A, n], [B, n] -> [A, B]`."""
    return (a[:, None] != b[None]).sum(-1)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_has_the_largest_mean_distance_to_those_before(n, seed):
    """By brute force over all permutations that are left."""
    every = np.array(list(itertools.permutations(range(n))))
    found = maximal_hamming(n, math.factorial(n), seed)
    for i in range(1, len(found)):
        before = found[:i]
        left = every[distances(every, before).min(1) > 0]
        largest = distances(left, before).mean(1).max()
        assert distances(found[i : i + 1], before).mean() == pytest.approx(largest)
        assert distances(found[i : i + 1], before).min() > 0


@pytest.mark.parametrize(
    ("count", "checksum"),
    [
        (10, "24c965c0c16cf4bb"),
        (100, "7795bca57e42e3af"),
        (1000, "36fc6a7cf261c405"),
    ],
)
def test_lists_never_change(count, checksum):
    """Runs are saved with the numbers that determine their list, not with the list."""
    found = np.ascontiguousarray(maximal_hamming(9, count, 0), "<i4")
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == checksum


def test_lists_of_sampled_candidates_never_change():
    found = maximal_hamming(16, 100, 0)
    np.testing.assert_array_equal(np.sort(found), np.indices(found.shape)[1])
    assert distances(found, found)[np.triu_indices(100, 1)].min() >= 9
    digest = hashlib.sha256(np.ascontiguousarray(found, "<i4").tobytes()).hexdigest()
    assert digest[:16] == "45728a7ce6360b3c"


def test_lists_are_nested_distinct_and_differ_between_seeds():
    ten, hundred = maximal_hamming(9, 10), maximal_hamming(9, 100)
    np.testing.assert_array_equal(ten, hundred[:10])
    np.testing.assert_array_equal(np.sort(hundred), np.indices(hundred.shape)[1])
    assert (distances(hundred, hundred) + 9 * np.eye(100)).min() > 1
    assert (distances(ten[:9], ten[:9]) + 9 * np.eye(9) == 9).all()  # the largest possible
    assert (maximal_hamming(9, 10, 1) != ten).any()


def test_a_thousand_of_nine_take_below_three_seconds_once():
    start = time.process_time()
    found = maximal_hamming(9, 1000, 7)
    assert time.process_time() - start < 3
    assert maximal_hamming(9, 1000, 7) is found
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_rejects_more_permutations_than_there_are():
    assert len(np.unique(maximal_hamming(4, 24), axis=0)) == 24
    with pytest.raises(
        ValueError, match="4 pieces have 24 permutations, so a list cannot have 25; set num_perm"
    ):
        maximal_hamming(4, 25)
