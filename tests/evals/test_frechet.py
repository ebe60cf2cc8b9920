"""The Frechet distance against closed forms and scipy; moments; names of extractors."""

import numpy as np
import pytest
import scipy.linalg

from genjax.evals import PIXELS, Extractor, Moments, frechet, frechet_distance, moments


def gaussian(mean, covariance, n=1000):
    """Returns moments with exactly this mean and covariance."""
    return Moments(n, np.float64(mean), np.float64(covariance) * (n - 1))


def random_covariance(rng, d, rank=None):
    root = rng.normal(size=(d, rank or d))
    return root @ root.T / d


def test_independent_dimensions_in_closed_form():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.0])  # standard deviations
    shift = np.array([0.5, -1.0, 2.0])
    got = frechet_distance(gaussian(shift, np.diag(a**2)), gaussian([0, 0, 0], np.diag(b**2)))
    assert got == pytest.approx((shift**2).sum() + ((a - b) ** 2).sum(), abs=1e-10)


@pytest.mark.parametrize("d", [1, 2, 9, 40])
def test_general_covariances_against_scipys_square_root(d):
    rng = np.random.default_rng(d)
    m, n = rng.normal(size=(2, d))
    c, e = random_covariance(rng, d), random_covariance(rng, d)
    want = ((m - n) ** 2).sum() + np.trace(c + e - 2 * np.real(scipy.linalg.sqrtm(c @ e)))
    got = frechet_distance(gaussian(m, c), gaussian(n, e))
    assert got == pytest.approx(want, rel=1e-7)
    assert frechet_distance(gaussian(n, e), gaussian(m, c)) == pytest.approx(got, rel=1e-9)


def test_fewer_examples_than_features():
    """Singular covariances, for which scipy's square root is complex or infinite."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 60)) + 5
    scale = np.trace(Moments.of(x).covariance)
    assert frechet_distance(Moments.of(x), Moments.of(x)) < 1e-10 * scale
    # In orthogonal subspaces the distance is the sum of both variances.
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    a, b = rng.normal(size=(8, 20)) @ basis[:20], rng.normal(size=(9, 20)) @ basis[20:40]
    both = [Moments.of(y) for y in (a, b)]
    want = ((both[0].mean - both[1].mean) ** 2).sum()
    want += sum(np.trace(m.covariance) for m in both)
    assert frechet_distance(*both) == pytest.approx(want, rel=1e-9)
    # A rank-one pair in closed form: (|u| |v|) of parallel axes, tr C^(1/2) E^(1/2) = |u . v|.
    u, v = rng.normal(size=(2, 30))
    got = frechet_distance(gaussian(0 * u, np.outer(u, u)), gaussian(0 * u, np.outer(v, v)))
    assert got == pytest.approx(u @ u + v @ v - 2 * abs(u @ v), rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_merged_moments_equal_those_of_the_union(offset):
    x = np.random.default_rng(1).normal(size=(101, 6)) + offset
    parts = [Moments.of(x[a:b]) for a, b in ((0, 1), (1, 40), (40, 97), (97, 101))]
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    assert total.n == 101
    np.testing.assert_allclose(total.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(total.covariance, np.cov(x.T), atol=1e-8)


def test_moments_do_not_depend_on_the_batch_size():
    x = np.random.default_rng(2).uniform(0, 1, (23, 3, 2)).astype(np.float32)
    doubled = Extractor("doubled", lambda scale, x: scale * x.reshape(x.shape[0], -1), 2.0)
    for size in (1, 5, 23, 100):
        got = moments(doubled, x, batch_size=size)
        assert got.n == 23
        flat = 2 * np.float64(x.reshape(23, -1))
        np.testing.assert_allclose(got.mean, flat.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(got.covariance, np.cov(flat.T), rtol=1e-9, atol=1e-12)


def test_a_shift_adds_its_square():
    x = np.random.default_rng(3).uniform(0, 0.5, (400, 2, 2, 1)).astype(np.float32)
    result = [frechet(x, x + shift, PIXELS, seed=7).distance for shift in (0.0, 0.125, 0.25)]
    np.testing.assert_allclose(result, [0, 4 * 0.125**2, 4 * 0.25**2], atol=1e-9)
    result = frechet(x, x[:300], PIXELS, seed=7)
    assert (result.n_real, result.n_fake, result.features) == (400, 300, 4)
    assert (result.name, result.extractor, result.seed) == ("pixels_frechet", "pixels", 7)


@pytest.mark.parametrize("name", ["fid", "FID", "my_fid", "Kid", "", "a b"])
def test_extractors_must_not_be_named_fid_or_kid(name):
    with pytest.raises(ValueError, match="without fid and kid, which name metrics of the standard"):
        Extractor(name, lambda variables, x: x)


def test_rejects_invalid_features_and_images():
    a, b = Moments.of(np.eye(3)), Moments.of(np.eye(4))
    with pytest.raises(ValueError, match="the sets have 3 and 4 features"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="two examples or more"):
        frechet_distance(a, Moments.of(np.ones((1, 3))))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(a, Moments(3, np.zeros(3), np.full((3, 3), np.nan)))
    x = np.zeros((5, 2, 2))
    with pytest.raises(ValueError, match="the images differ in shape"):
        frechet(x, np.zeros((5, 2, 3)), PIXELS)
    symmetric, levels = x.copy(), (255 * np.eye(2)[None].repeat(5, 0)).astype(np.uint8)
    symmetric[0] = -1
    for outside, to in ((symmetric, "-1 to 0"), (levels, "0 to 255")):
        with pytest.raises(ValueError, match=rf"fake must be images in \[0, 1\], got {to}"):
            frechet(x, outside, PIXELS)
