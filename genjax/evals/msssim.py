"""How alike two samples are: multi-scale structural similarity over random pairs.

Wang et al. 2003, "Multiscale Structural Similarity for Image Quality Assessment"; as a measure of
variety Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", section
4.2. High among samples where it is low among the data: the model makes the same few images.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import check_images
from genjax.evals.metric_result import MetricResult
from genjax.evals.separable_filter import separable

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
WINDOW, SIGMA = 11, 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MsSsimResult(MetricResult):
    """Mean similarity of pairs; lower is more varied, 1 is the same image throughout.

    mean: over pairs of samples.
    std_error: of the mean.
    real: mean over as many pairs of real images, to compare with; None where none were given.
    pairs: how many.
    scales: five from 176 pixels on; fewer below (their weights add up to 1 again).
    windows: width of the Gaussian window at each scale, in pixels.
    """

    FIGURE: ClassVar = ("mean", "std_error", "")

    mean: float
    std_error: float
    real: float | None
    pairs: int
    scales: int
    windows: tuple[int, ...]


def windows_of(side: int, *, shrink: bool = False) -> tuple[int, ...]:
    """Window at each scale of images with this shorter side.

    A scale is left out where the window of 11 no longer fits. With `shrink` there are always five,
    and the window becomes as small as the image: what the code of Progressive GAN does at 128
    pixels.

    >>> windows_of(176), windows_of(128), windows_of(128, shrink=True)
    ((11, 11, 11, 11, 11), (11, 11, 11, 11), (11, 11, 11, 11, 8))
    """
    found = [min(WINDOW, side >> scale) for scale in range(len(WEIGHTS))]
    kept = tuple(w for w in found if shrink or w == WINDOW)
    if not kept or min(kept) < 1:
        raise ValueError(f"ms_ssim: images of {side} pixels are smaller than its window, {WINDOW}.")
    return kept


def windows_for(shape: Sequence[int], *, shrink: bool = False) -> tuple[int, ...]:
    """`windows_of` an image's shape `(H, W, C)`.

    Raises:
      ValueError: it is no picture, or smaller than the window.
    """
    if len(shape) != 3:
        raise ValueError(f"ms_ssim: images must be [H, W, C], got {list(shape)}.")
    return windows_of(min(shape[:2]), shrink=shrink)


def _local(maps: Sequence[jax.Array], window: int) -> list[jax.Array]:
    """Gaussian-weighted means of each over every window that fits: `[B, H, W, C]`."""
    places = np.arange(window) - (window - 1) / 2
    weights = np.exp(-0.5 * (places / (SIGMA * window / WINDOW)) ** 2)
    found = separable(jnp.concatenate(maps), tuple(weights / weights.sum()))
    return jnp.split(found, len(maps))


def _halve(x: jax.Array) -> jax.Array:
    """Means of 2x2 pixels; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return x.mean(axis=(2, 4))


@functools.partial(jax.jit, static_argnames=("windows",))
def ms_ssim(a: jax.Array, b: jax.Array, windows: tuple[int, ...]) -> jax.Array:
    """Similarity of images in [0, 1], pair by pair: `[B, H, W, C] -> [B]`, at most 1.

    Args:
      a: first image of each pair.
      b: second image of each pair.
      windows: of `windows_of`, one a scale.
    """
    c1, c2 = 0.01**2, 0.03**2
    weights = WEIGHTS[: len(windows)]
    if len(weights) < len(WEIGHTS):
        weights = tuple(w / sum(weights) for w in weights)
    product = jnp.ones(a.shape[0])
    for scale, (window, weight) in enumerate(zip(windows, weights, strict=True)):
        if scale:
            a, b = _halve(a), _halve(b)
        # Variances do not change when an image is moved, and small numbers lose fewer digits.
        middle_a, middle_b = (x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
        p, q = a - middle_a, b - middle_b
        m, n, pp, qq, pq = _local((p, q, p * p, q * q, p * q), window)
        square_a, square_b, product_ab = pp - m * m, qq - n * n, pq - m * n
        mean_a, mean_b = m + middle_a, n + middle_b
        structure = (2 * product_ab + c2) / (square_a + square_b + c2)
        if scale == len(windows) - 1:  # brightness counts at the coarsest scale alone
            structure *= (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        # A root of a negative similarity would be no number.
        product *= jnp.maximum(structure.mean(axis=(1, 2, 3)), 0) ** weight
    return product


def ms_ssim_pairs(
    fake: np.ndarray,
    real: np.ndarray | None = None,
    *,
    pairs: int = 10_000,
    shrink: bool = False,
    batch_size: int = 100,
    seed: int = 0,
) -> MsSsimResult:
    """Mean similarity of random pairs of samples, and of real images.

    Args:
      fake: samples in [0, 1], `[N, H, W, C]`.
      real: images to compare with, or None.
      pairs: random pairs of two different images.
      shrink: see `windows_of`.
      batch_size: pairs at a time.
      seed: of the pairs.

    Raises:
      ValueError: the images are no pictures, or smaller than the window.
    """
    given = {"fake": fake} if real is None else {"fake": fake, "real": real}
    check_images("ms_ssim", **given)
    checks.positive(pairs=pairs, batch_size=batch_size)
    windows = windows_for(fake.shape[1:], shrink=shrink)
    found = {
        name: _scores(x, windows, pairs, batch_size, np.random.default_rng(seed))
        for name, x in given.items()
    }
    return MsSsimResult(
        mean=float(found["fake"][0].mean()),
        std_error=_error_of_mean(*found["fake"]),
        real=float(found["real"][0].mean()) if "real" in found else None,
        pairs=pairs,
        scales=len(windows),
        windows=windows,
        n_real=0 if real is None else len(real),
        n_fake=len(fake),
        extractor="pixels",
        seed=seed,
    )


def _scores(
    x: np.ndarray, windows: tuple[int, ...], pairs: int, batch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of random pairs `[pairs]`, and which two images those are, `[2, pairs]`."""
    first = rng.integers(0, len(x), pairs)
    second = (first + rng.integers(1, len(x), pairs)) % len(x)  # never the same image twice
    out, size = [], min(batch_size, pairs)
    for start in range(0, pairs, size):
        i, j = (np.resize(p[start : start + size], size) for p in (first, second))
        a, b = (jnp.asarray(x[k], jnp.float32) for k in (i, j))
        out.append(np.asarray(ms_ssim(a, b, windows), np.float64)[: pairs - start])
    return np.concatenate(out), np.stack([first, second])


def _error_of_mean(scores: np.ndarray, images: np.ndarray) -> float:
    """Standard error of the mean score of pairs `[2, P]` that share images; NaN of one pair.

    Var(sum) is the sum of the covariances of pairs with an image in common. Every image's pairs,
    all with all, hold those, and every pair with itself twice.
    """
    if len(scores) < 2:
        return float("nan")
    apart = scores - scores.mean()
    by_image = np.bincount(images.ravel(), weights=np.tile(apart, 2))
    alone = (apart**2).sum()
    return float(np.sqrt(max((by_image**2).sum() - alone, alone)) / len(scores))
