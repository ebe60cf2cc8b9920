"""SSIM against dm-pix, against its formula along lines, and as a loss."""

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.evals.msssim import ms_ssim
from genjax.losses import ssim


def pairs(*shape, seed=0):
    """Returns two correlated random arrays in [0, 1]."""
    a, b = np.random.default_rng(seed).uniform(0, 1, (2, *shape)).astype(np.float32)
    return jnp.asarray(a), jnp.asarray((a + b) / 2)


def test_equals_dm_pix():
    a, b = pairs(3, 20, 17, 2)
    np.testing.assert_allclose(ssim(a, b), dm_pix.ssim(a, b), rtol=2e-5)
    wide = dm_pix.ssim(255 * a, 255 * b, max_val=255.0, filter_size=5, filter_sigma=0.7)
    got = ssim(255 * a, 255 * b, window=(5, 5), sigma=0.7, data_range=255.0)
    np.testing.assert_allclose(got, wide, rtol=2e-5)


def test_is_the_coarsest_scale_of_ms_ssim():
    a, b = pairs(2, 16, 16, 3)
    np.testing.assert_allclose(ssim(a, b), ms_ssim(a, b, (11,)), rtol=1e-5)


def test_formula_along_lines():
    """Windows of one row, in float64 NumPy."""
    a, b = pairs(2, 1, 9, 3)
    offsets = np.arange(4) - 1.5
    weights = np.exp(-(offsets**2) / (2 * 1.2**2))
    weights /= weights.sum()
    local = lambda x: np.stack([weights @ x[i : i + 4] for i in range(6)])  # noqa: E731
    want = []
    for x, y in zip(np.asarray(a, float), np.asarray(b, float), strict=True):
        x, y = x[0], y[0]
        m, n = local(x), local(y)
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * m * n + c1) / (m**2 + n**2 + c1)
        structure = (2 * (local(x * y) - m * n) + c2) / (
            local(x * x) - m * m + local(y * y) - n * n + c2
        )
        want.append((luminance * structure).mean())
    np.testing.assert_allclose(ssim(a, b, window=(1, 4), sigma=1.2), want, rtol=1e-5)


def test_is_1_for_equal_images_and_has_a_gradient_elsewhere():
    a, b = pairs(2, 12, 12, 1)
    np.testing.assert_allclose(ssim(a, a), 1, rtol=1e-6)
    np.testing.assert_allclose(ssim(jnp.zeros_like(a), jnp.zeros_like(a)), 1)
    gradient = jax.grad(lambda x: ssim(x, b).sum())(a)
    assert np.isfinite(gradient).all()
    step = 1e-2 * gradient / jnp.linalg.norm(gradient)
    assert (ssim(a + step, b).sum() > ssim(a, b).sum()).all()


def test_rejects_other_shapes():
    a, b = pairs(2, 12, 9, 1)
    with pytest.raises(ValueError, match=r"window of 11x11, got float32\[2, 12, 9, 1\]"):
        ssim(a, b)
    with pytest.raises(ValueError, match="shape"):
        ssim(a, b[:, :8])
    with pytest.raises(ValueError, match=r"must be \[B, H, W, C\]"):
        ssim(a[0], b[0])
