"""Sliced Wasserstein distances against scipy: pyramids, transport, and the whole metric."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from support.swd_reference import descriptors, distance, official_swd

from genjax.evals import sliced, swd
from genjax.evals.image_sets import Images
from genjax.evals.swd import laplacian_pyramid, normalize, patches, sides

RNG = np.random.default_rng(0)
KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def blur(x):
    return scipy.ndimage.convolve(x, KERNEL[None, :, :, None], mode="mirror")


def pyramid(x, levels):
    """Computes the Laplacian pyramid by scipy, in float64."""
    result = [np.float64(x)]
    for _ in range(levels - 1):
        small = blur(result[-1])[:, ::2, ::2]
        up = np.zeros_like(result[-1])
        up[:, ::2, ::2] = small
        result[-1] = result[-1] - 4 * blur(up)
        result.append(small)
    return result


def test_levels_equal_scipy():
    x = RNG.uniform(0, 1, (3, 64, 48, 2)).astype(np.float32)
    for got, want in zip(laplacian_pyramid(x, 3), pyramid(x, 3), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "want"),
    [
        ((128, 128), [128, 64, 32, 16]),
        ((16, 16), [16]),
        ((28, 28), [28]),  # 14 would be below 16
        ((36, 50), [36, 18]),
        ((72, 50), [50, 25]),  # 36 x 25 cannot be halved: 25 is odd
        ((64, 48), [48, 24]),
        ((17, 64), [17]),
    ],
)
def test_sides(size, want):
    assert sides((*size, 3)) == want


def test_patches_are_at_the_requested_positions():
    level = RNG.normal(size=(4, 10, 12, 2))
    y, x = RNG.integers(0, 4, (4, 3)), RNG.integers(0, 6, (4, 3))
    got = patches(level, y, x)
    assert got.shape == (4, 3, 7, 7, 2)
    for i in range(4):
        for j in range(3):
            want = level[i, y[i, j] : y[i, j] + 7, x[i, j] : x[i, j] + 7]
            np.testing.assert_array_equal(got[i, j], want)


def test_channels_are_normalised_separately():
    result = RNG.normal(size=(30, 7, 7, 3)) * [1, 50, 0] + [0, 200, 3]
    got = normalize(np.float32(result)).reshape(30, 7, 7, 3)
    np.testing.assert_allclose(got.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(axis=(0, 1, 2)), [1, 1, 0], atol=1e-4)


def test_transport_equals_scipy_along_every_direction():
    a, b = RNG.normal(size=(50, 6)), RNG.normal(size=(50, 6)) * 2 + 1
    axes = RNG.normal(size=(6, 37))
    want = [scipy.stats.wasserstein_distance(a @ d, b @ d) for d in axes.T]
    assert sliced(a, b, axes) == pytest.approx(np.mean(want), rel=1e-6)
    with pytest.raises(ValueError, match="must have the same shape"):
        sliced(a, b[:40], axes)


def photos(n, side, channels, power):
    """Returns smooth images in [0, 1] with values between those of uint8."""
    x = scipy.ndimage.gaussian_filter(RNG.normal(size=(n, side, side, channels)), (0, 2, 2, 0))
    x = (x - x.min()) / (x.max() - x.min())
    return np.float32(x**power)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_equals_the_official_metric_in_numpy(channels):
    """With the same positions and directions, from 128 down to 16; images are rounded to uint8."""
    real, fake = photos(5, 128, channels, 1.0), photos(4, 128, channels, 1.5)
    got = swd(real, fake, patches_per_image=20, repeats=2, directions=12, batch_size=4, seed=3)
    real, fake = (np.uint8(np.rint(255 * x[:4])) for x in (real, fake))  # truncated to the smaller
    want = official_swd(real, fake, 20, 2, 12, np.random.default_rng(3))
    assert list(got.levels) == list(want) == [128, 64, 32, 16]
    np.testing.assert_allclose(list(got.levels.values()), list(want.values()), rtol=1e-4)
    assert got.average == pytest.approx(np.mean(list(want.values())), rel=1e-4)
    assert (got.n_real, got.n_fake, got.patches, got.directions) == (4, 4, 20, 24)


def test_batches_only_change_what_is_drawn():
    """Two batches draw their positions one after the other."""
    real, fake = photos(6, 16, 1, 1.0), photos(6, 16, 1, 1.5)
    got = swd(real, fake, patches_per_image=6, repeats=1, directions=9, batch_size=4, seed=5)
    rng, sets = np.random.default_rng(5), []
    for x in (real, fake):
        pairs = [[rng.integers(0, 10, (n, 6)) for _ in range(2)] for n in (4, 2)]
        top, left = (np.concatenate(p) for p in zip(*pairs, strict=True))
        sets.append(descriptors(np.rint(255 * np.float64(x)), top, left))
    axes = rng.standard_normal((49, 9))
    axes /= np.linalg.norm(axes, axis=0)
    assert got.levels[16] == pytest.approx(distance(*sets, axes), rel=1e-4)


def test_a_grey_image_counts_as_three_equal_channels():
    """The sum of three parts of a direction in 147 dimensions is distributed as one in 49."""
    real, fake = photos(40, 16, 1, 1.0), photos(40, 16, 1, 1.5)
    settings = {"patches_per_image": 30, "directions": 500, "seed": 1}
    grey = swd(real, fake, **settings).average
    colour = swd(*(np.repeat(x, 3, axis=-1) for x in (real, fake)), **settings).average
    assert grey == pytest.approx(colour, rel=0.05)


def test_a_level_detects_its_own_detail():
    """Fine stripes change the finest level, and the coarse one hardly at all."""
    base = scipy.ndimage.gaussian_filter(RNG.normal(size=(150, 32, 32, 1)), (0, 3, 3, 0))
    base = np.float32(0.5 + 0.5 * base)
    stripes = np.where(np.arange(32) % 2, 0.05, -0.05)[None, None, :, None].astype(np.float32)
    options = dict(patches_per_image=16, repeats=1, directions=40)
    same = swd(base[:75], base[75:], **options).levels
    fine = swd(base[:75], base[75:] + stripes, **options).levels
    assert fine[32] > 3 * same[32]
    assert fine[16] < 1.5 * same[16]


def test_rejects_small_images_and_different_shapes():
    with pytest.raises(ValueError, match=r"16 pixels or more, got \[8, 8, 1\]"):
        swd(np.zeros((4, 8, 8, 1)), np.zeros((4, 8, 8, 1)))
    with pytest.raises(ValueError, match="differ in shape"):
        swd(np.zeros((4, 16, 16, 1)), np.zeros((4, 16, 16, 3)))


def test_batches_of_any_sizes_equal_the_array():
    """In one pass, of the images used only."""
    real, fake = photos(9, 32, 3, 1.0), photos(7, 32, 3, 1.5)
    starts = []

    def in_parts(x):
        def read(start):
            starts.append(start)
            for first in range(0, len(x), 3):
                yield x[first : first + 3]

        return Images(x.shape, read, "made")

    settings = {"patches_per_image": 8, "repeats": 1, "directions": 5, "batch_size": 4, "seed": 2}
    want = swd(real, fake, **settings)
    assert swd(in_parts(real), in_parts(fake), **settings) == want
    assert starts == [0, 0]
    broken = np.where(np.arange(9)[:, None, None, None] == 6, np.nan, real)
    with pytest.raises(ValueError, match="made has values that are not finite"):
        swd(in_parts(broken), in_parts(fake), **settings)
