"""Latents of traversals, interpolations and grids."""

import numpy as np
import pytest
from scipy import stats

from genjax.evals import interpolation, manifold, traversal


def test_traversal_varies_one_unit_per_row():
    start = np.array([10.0, 20.0, 30.0, 40.0])
    z = traversal(start, [2, 0], np.array([-3.0, 0.0, 3.0])).reshape(2, 3, 4)
    assert z.dtype == np.float32
    assert z[0, :, 2].tolist() == [-3, 0, 3]
    assert z[1, :, 0].tolist() == [-3, 0, 3]
    assert (z[0][:, [0, 1, 3]] == start[[0, 1, 3]]).all()
    assert (z[1][:, [1, 2, 3]] == start[[1, 2, 3]]).all()
    own = traversal(start, [2, 0], np.array([[1.0, 2.0], [3.0, 4.0]])).reshape(2, 2, 4)
    assert own[0, :, 2].tolist() == [1, 2]
    assert own[1, :, 0].tolist() == [3, 4]


def test_unit_changes_its_pixel_only():
    """With a decoder in which unit i is pixel i."""
    images = np.tanh(traversal(np.full(5, 0.3), range(5), np.linspace(-3, 3, 7)))
    moved = np.ptp(images.reshape(5, 7, 5), axis=1) > 0
    np.testing.assert_array_equal(moved, np.eye(5, dtype=bool))


def test_great_circle_preserves_the_length():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 50))
    b *= np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    path = interpolation(a, b, 9).reshape(3, 9, 50)
    np.testing.assert_allclose(path[:, 0], a, atol=1e-6)
    np.testing.assert_allclose(path[:, -1], b, atol=1e-6)
    length = np.linalg.norm(path, axis=-1)
    np.testing.assert_allclose(length, length[:, :1].repeat(9, 1), rtol=1e-5)
    # In equal steps.
    steps = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(8, 1), rtol=1e-4)
    line = interpolation(a, b, 9, spherical=False).reshape(3, 9, 50)
    np.testing.assert_allclose(line[:, 4], (a + b) / 2, atol=1e-6)
    assert (np.linalg.norm(line[:, 4], axis=-1) < 0.85 * length[:, 0]).all()


def test_degenerate_angles_use_the_line():
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    b = np.array([[-1.0, 0.0], [2.0, 2.0], [0.0, 4.0]])  # opposite, parallel, from zero
    found = interpolation(a, b, 5)
    np.testing.assert_allclose(found, interpolation(a, b, 5, spherical=False), atol=1e-6)


def test_corners_and_middle_of_the_grid():
    z = manifold(5).reshape(5, 5, 2)
    far = stats.norm.ppf(0.9)
    np.testing.assert_allclose(z[0, 0], [-far, far], rtol=1e-6)  # top left
    np.testing.assert_allclose(z[0, -1], [far, far], rtol=1e-6)
    np.testing.assert_allclose(z[-1, 0], [-far, -far], rtol=1e-6)
    np.testing.assert_allclose(z[-1, -1], [far, -far], rtol=1e-6)
    np.testing.assert_allclose(z[2, 2], [0, 0], atol=1e-12)
    np.testing.assert_allclose(stats.norm.cdf(z[0, :, 0]), [0.1, 0.3, 0.5, 0.7, 0.9], rtol=1e-5)


def test_rejects_invalid_arguments():
    with pytest.raises(ValueError, match="units must be from 0 to 1, got"):
        traversal(np.zeros(2), [2], np.zeros(3))
    with pytest.raises(ValueError, match="a row per unit"):
        traversal(np.zeros(2), [1], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="must have the same shape"):
        interpolation(np.zeros((1, 2)), np.zeros((2, 2)), 3)
    with pytest.raises(ValueError, match="columns must be 2 or more"):
        interpolation(np.zeros((1, 2)), np.zeros((1, 2)), 1)
    with pytest.raises(ValueError, match="`side` must be positive"):
        manifold(0)
