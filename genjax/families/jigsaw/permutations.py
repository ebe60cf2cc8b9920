"""Lists of permutations that are far from each other.

Noroozi and Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles"
(arXiv:1603.09246), algorithm 1, with the mean Hamming distance to the permutations chosen before.
A list is a function of three integers: it uses no random number generator of a library, whose
numbers may change with its version.
"""

import functools
import itertools
import math

import numpy as np

ENUMERATED = 9
"""Pieces up to which all permutations are candidates; of more pieces some are drawn."""
DRAWN = 2**16
"""Least number of permutations drawn as candidates."""


@functools.cache
def maximal_hamming(n: int, count: int, seed: int = 0) -> np.ndarray:
    """Returns permutations of n numbers with large Hamming distances, int32 `[count, n]`.

    The first is pseudo-random. Each of the others is the candidate with the largest mean Hamming
    distance to those before it, of several the first in a pseudo-random order. Candidates are all
    permutations of up to 9 numbers; of more numbers `max(2**16, 4 * count)` pseudo-random ones.

    Args:
      n: numbers that are permuted.
      count: permutations, at most n!.
      seed: of the pseudo-random order, in [0, 2^32).

    Returns:
      Distinct permutations; a read-only array.

    Raises:
      ValueError: there are not so many permutations.
    """
    if not 1 <= count <= math.factorial(n):
        raise ValueError(
            f"{n} pieces have {math.factorial(n):,} permutations, so a list cannot have {count:,};"
            f" set num_permutations to at most {math.factorial(n):,}."
        )
    candidates = _candidates(n, count, seed)
    columns = np.ascontiguousarray(candidates.T)
    matches = np.zeros(len(candidates), np.int32)  # summed over the chosen permutations
    chosen = np.zeros(count, np.int64)
    for i in range(count):
        chosen[i] = matches.argmin()
        for column, value in zip(columns, candidates[chosen[i]], strict=True):
            matches += column == value
        matches[chosen[i]] = np.iinfo(np.int32).max // 2
    found = candidates[chosen].astype(np.int32)
    found.flags.writeable = False
    return found


def _candidates(n: int, count: int, seed: int) -> np.ndarray:
    """Returns distinct permutations in a pseudo-random order, `[M, n]`, M at least `count`."""
    dtype = np.min_scalar_type(n)
    if n <= ENUMERATED:
        numbers = itertools.chain.from_iterable(itertools.permutations(range(n)))
        every = np.fromiter(numbers, dtype).reshape(-1, n)
        return every[np.argsort(_hashes(seed, len(every)), kind="stable")]
    drawn = max(DRAWN, 4 * count)
    keys = _hashes(seed, drawn * n).reshape(drawn, n)
    rows = np.argsort(keys, axis=1, kind="stable").astype(dtype)
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def _hashes(seed: int, count: int) -> np.ndarray:
    """Returns pseudo-random uint64 `[count]`: SplitMix64 (Steele et al. 2014) from a seed."""
    gamma = 0x9E3779B97F4A7C15
    state = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(gamma)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))
