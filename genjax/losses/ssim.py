"""Structural similarity (SSIM) of images."""

import jax
import jax.numpy as jnp

from genjax import checks
from genjax.losses.likelihood import at_least_float32


def ssim(
    a: jax.Array,
    b: jax.Array,
    *,
    window: tuple[int, int] = (11, 11),
    sigma: float = 1.5,
    data_range: float = 1.0,
    k1: float = 0.01,
    k2: float = 0.03,
) -> jax.Array:
    """Computes the mean structural similarity of pairs of images.

    Means, variances and the covariance are those of Gaussian windows that lie within the images;
    1 - SSIM is a loss. Values are intensities from 0: the luminance term is relative to them, and
    meaningless where means are negative, so scale images in [-1, 1] to [0, 1] first.

    Args:
      a: `[B, H, W, C]`, in [0, `data_range`].
      b: the same shape.
      window: rows and columns of the window, at most those of the images; (1, w) compares lines.
      sigma: standard deviation of the window's weights, in pixels.
      data_range: highest possible value.
      k1: constant of the luminance.
      k2: constant of contrast and structure.

    Returns:
      `[B]`, the mean over windows and channels, in [-1, 1]; 1 for equal images.

    Raises:
      ValueError: the shapes differ or are not those of images, or the window is larger than they.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", eq. 13.

    >>> x = jnp.arange(256.0).reshape(1, 16, 16, 1) / 255
    >>> ssim(x, x).tolist(), round(float(ssim(x, 1 - x)[0]), 3)
    ([1.0], -0.826)
    """
    checks.same_shape("ssim", a=a, b=b)
    checks.floating("ssim", "convert images to floats in [0, `data_range`]", a=a, b=b)
    checks.positive(sigma=sigma, data_range=data_range)
    if a.ndim != 4 or any(w > n for w, n in zip(window, a.shape[1:3], strict=True)):
        raise ValueError(
            f"ssim: images must be [B, H, W, C] and at least as large as the window of"
            f" {window[0]}x{window[1]}, got {checks.describe(a)}; use a smaller window."
        )
    a, b = at_least_float32(a), at_least_float32(b)
    rows, columns = (_windows(a.shape[i + 1], window[i], sigma) for i in range(2))

    def local(x: jax.Array) -> jax.Array:
        """Computes the mean of every window, `[B, H, W, C] -> [B, H', W', C]`."""
        exact = jax.lax.Precision.HIGHEST
        x = x if window[0] == 1 else jnp.einsum("yh,bhwc->bywc", rows, x, precision=exact)
        return x if window[1] == 1 else jnp.einsum("xw,bhwc->bhxc", columns, x, precision=exact)

    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    # Centred first: the variances are the same, and float32 loses fewer digits.
    centre = (a.mean((1, 2), keepdims=True) + b.mean((1, 2), keepdims=True)) / 2
    p, q = a - centre, b - centre
    m, n = local(p), local(q)
    variances = local(p * p) - m * m + local(q * q) - n * n
    covariance = local(p * q) - m * n
    m, n = m + centre, n + centre
    luminance = (2 * m * n + c1) / (m * m + n * n + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean((1, 2, 3))


def _windows(side: int, window: int, sigma: float) -> jax.Array:
    """Returns the weights of all windows within a side, float32 `[side - window + 1, side]`."""
    offsets = jnp.arange(window) - (window - 1) / 2
    weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    placed = (
        jnp.arange(side)[None] - jnp.arange(side - window + 1)[:, None]
    )  # index within the window
    inside = (placed >= 0) & (placed < window)
    return jnp.where(inside, (weights / weights.sum())[placed.clip(0, window - 1)], 0)
