"""Structural similarity against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import signal

from genjax.evals import ms_ssim, ms_ssim_pairs, msssim
from genjax.evals.image_sets import Images
from genjax.evals.msssim import WEIGHTS, windows_of

RNG = np.random.default_rng(0)


def other(a, b, windows):
    """Computes Wang et al. 2003 for one pair `[H, W, C]` in levels 0 to 255, in float64."""
    a, b = 255 * np.float64(a), 255 * np.float64(b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    weights = np.array(WEIGHTS[: len(windows)])
    if len(windows) < 5:
        weights /= weights.sum()
    product = 1.0
    for scale, size in enumerate(windows):
        grid = np.arange(size) - (size - 1) / 2
        gauss = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / 2 / (1.5 * size / 11) ** 2)
        gauss /= gauss.sum()

        def mean(x, gauss=gauss):
            return np.stack(
                [signal.convolve2d(x[..., c], gauss, mode="valid") for c in range(x.shape[-1])], -1
            )

        m, n = mean(a), mean(b)
        cs = (2 * (mean(a * b) - m * n) + c2) / (mean(a * a) - m * m + mean(b * b) - n * n + c2)
        if scale == len(windows) - 1:
            cs = cs * (2 * m * n + c1) / (m * m + n * n + c1)
        product *= max(cs.mean(), 0) ** weights[scale]
        a, b = (
            (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
            for x in (y[: len(y) // 2 * 2, : y.shape[1] // 2 * 2] for y in (a, b))
        )
    return product


def natural(n, side, channels):
    """Returns smooth random images with a common component."""
    x = RNG.normal(size=(n + 1, side, side, channels)).cumsum(1).cumsum(2)
    x = x[:n] + x[n:]
    low, high = x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)
    return ((x - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize(
    ("side", "channels", "shrink"),
    [(176, 1, False), (45, 3, False), (128, 1, True), (28, 1, False)],
)
def test_against_scipy(side, channels, shrink):
    x = natural(4, side, channels)
    windows = windows_of((side, side, channels), shrink=shrink)
    got = ms_ssim(x[:2], x[2:], windows)
    want = [other(a, b, windows) for a, b in zip(x[:2], x[2:], strict=True)]
    assert 0.01 < min(want) < max(want) < 0.99
    np.testing.assert_allclose(got, want, rtol=2e-4)


def test_closed_forms():
    x = natural(2, 64, 1)
    windows = windows_of((64, 64, 1))
    np.testing.assert_allclose(ms_ssim(x, x, windows), 1, atol=1e-5)
    # Constant images have the same structure and differ in luminance.
    a, b = (np.full((1, 64, 64, 1), level, np.float32) for level in (0.2, 0.6))
    brightness = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    weight = WEIGHTS[2] / sum(WEIGHTS[:3])
    np.testing.assert_allclose(ms_ssim(a, b, windows), brightness**weight, rtol=1e-4)
    # The negative has similarity 0.
    np.testing.assert_array_equal(ms_ssim(x, 1 - x, windows), 0)


def test_number_of_scales_fits_the_image():
    assert [len(windows_of((n, n, 3))) for n in (11, 21, 22, 87, 88, 175, 176, 1024)] == [
        *(1, 1, 2, 3, 4, 4, 5, 5),
    ]
    assert windows_of((28, 30, 1), shrink=True) == (11, 11, 7, 3, 1)
    with pytest.raises(ValueError, match="smaller than its window, 11"):
        windows_of((10, 12, 1))


def test_detects_a_model_of_one_image():
    varied = natural(30, 28, 1)
    same = np.repeat(varied[:1], 30, axis=0)
    same[0] = varied[1]  # except one in thirty
    result = ms_ssim_pairs(same, varied, pairs=90, batch_size=40, seed=5)
    # A pair contains the different image with probability 1 - (29 / 30)(28 / 29) = 1 / 15.
    share = (28 / 30, math.sqrt(28 / 30 * 2 / 30 / 90))
    odd = float(ms_ssim(varied[:1], varied[1:2], result.windows)[0])
    want = share[0] + (1 - share[0]) * odd
    assert abs(result.mean - want) < 5 * share[1] * (1 - odd)
    assert result.real_mean < 0.9 < result.mean
    assert (result.scales, result.windows, result.pairs) == (2, (11, 11), 90)
    assert (result.n_real, result.n_fake, result.extractor, result.seed) == (30, 30, "pixels", 5)
    alone = ms_ssim_pairs(same, pairs=90, batch_size=90, seed=5)
    assert alone.real_mean is alone.real_std_error is None
    again = ms_ssim_pairs(varied, pairs=90, batch_size=90, seed=5)
    assert (result.real_mean, result.real_std_error) == pytest.approx((again.mean, again.std_error))
    assert alone.mean == pytest.approx(result.mean, rel=1e-6)


def test_standard_error_accounts_for_shared_images():
    """Compared with the deviation over independent sets of images."""
    scale = RNG.uniform(0.05, 1, (40 * 60, 1, 1, 1))  # contrast of each image
    x = (0.5 + scale * (natural(len(scale), 11, 1) - 0.5)).astype(np.float32)
    sets = x.reshape(60, 40, 11, 11, 1)
    result = [ms_ssim_pairs(images, pairs=400, seed=i) for i, images in enumerate(sets)]
    spread = np.std([f.mean for f in result], ddof=1)
    error = np.sqrt(np.mean([f.std_error**2 for f in result]))
    assert 0.75 < error / spread < 1.35  # of 60 sets, so within about 10 %


def test_pairs_are_of_different_images():
    two = natural(2, 16, 1)
    result = ms_ssim_pairs(two, pairs=50)
    want = float(ms_ssim(two[:1], two[1:], result.windows)[0])
    assert result.mean == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("held", [1, 9, 20])
def test_blocks_of_images_equal_the_array(held, monkeypatch):
    """Images that do not fit into a block are read again from the block on."""
    x = natural(20, 16, 1)
    windows = windows_of(x.shape[1:])
    first = (rng := np.random.default_rng(4)).integers(0, 20, 30)
    second = (first + rng.integers(1, 20, 30)) % 20
    want = np.asarray(ms_ssim(x[first], x[second], windows))
    starts = []

    def read(start):
        starts.append(start)
        return (x[i : i + 3] for i in range(start, 20, 3))

    monkeypatch.setattr(msssim, "HELD_BYTES", held * x[0].nbytes)
    images = Images(x.shape, read, "made")
    got, pairs = msssim._scores(images, windows, 30, 7, np.random.default_rng(4))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)  # scores near 0
    np.testing.assert_array_equal(pairs, np.sort([first, second], axis=0))
    assert starts == {1: [0, 7, 14], 9: [0, 9, 18], 20: [0]}[held]
