"""Counts of modes by hand, and of samples of a mixture."""

import math

import numpy as np
import pytest
from support.mixtures import draw_modes, grid_centres

from genjax.evals import gaussian_modes
from genjax.evals.mode_coverage import expected_modes_found, reverse_kl


def test_share_of_high_quality_samples_of_the_mixture_itself():
    centres = grid_centres(2, 7.0)
    x, _ = draw_modes(centres, 0.5, 20_000, seed=1)
    result = gaussian_modes(x, centres, 0.5)
    # In two dimensions P(r <= 3 sigma) = 1 - exp(-9 / 2).
    inside = 1 - math.exp(-4.5)
    assert abs(result.high_quality - inside) < 5 * math.sqrt(inside * (1 - inside) / 20_000)
    assert result.found == result.modes == 4
    assert result.reverse_kl < 1e-3


def test_counts_by_hand():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    # First mode: one inside, one on the border, one outside; second mode: one outside.
    samples = [[0.1, 0], [0, 3.0], [0, -3.01], [13.1, 0]]
    result = gaussian_modes(np.array(samples), centres, 1.0)
    assert (result.found, result.modes) == (1, 3)
    assert result.high_quality == 0.5
    assert result.counts.tolist() == [3, 1, 0]
    want = 0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 3)
    assert result.reverse_kl == pytest.approx(want)
    wider = gaussian_modes(np.array(samples), centres, 1.0, deviations=3.2)
    assert (wider.found, wider.high_quality) == (2, 1.0)
    assert (result.n_real, result.n_fake) == (0, 4)


def test_kl_of_collapse_and_of_uniform_samples():
    assert reverse_kl(np.eye(1000)[3] * 26_000) == pytest.approx(math.log(1000))
    # The expected value for n uniform samples is (modes - 1) / 2n.
    rng = np.random.default_rng(0)
    draws = [reverse_kl(np.bincount(rng.integers(0, 50, 2000), minlength=50)) for _ in range(300)]
    error = np.std(draws, ddof=1) / math.sqrt(300)
    assert abs(np.mean(draws) - 49 / 4000) < 5 * error + 49 / 4000 * 0.02


def test_one_mode_is_found_by_any_sample():
    assert expected_modes_found(5, 1) == 1.0
    assert expected_modes_found(0, 1) == expected_modes_found(0, 7) == 0.0
    assert expected_modes_found(1, 7) == pytest.approx(1.0)


def test_expected_modes_found():
    rng = np.random.default_rng(1)
    draws = [len(np.unique(rng.integers(0, 100, 150))) for _ in range(500)]
    error = np.std(draws, ddof=1) / math.sqrt(500)
    assert abs(np.mean(draws) - expected_modes_found(150, 100)) < 5 * error


def test_rejects_invalid_samples():
    with pytest.raises(ValueError, match=r"samples \[N, D\] and centres \[modes, D\]"):
        gaussian_modes(np.zeros((4, 3)), np.zeros((2, 2)), 1.0)
    with pytest.raises(ValueError, match="`sigma` must be positive"):
        gaussian_modes(np.zeros((4, 2)), np.zeros((2, 2)), 0.0)
    with pytest.raises(ValueError, match="not finite"):
        gaussian_modes(np.full((4, 2), np.nan), np.zeros((2, 2)), 1.0)
