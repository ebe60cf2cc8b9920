"""Multi-scale structural similarity (MS-SSIM) of random pairs of samples.

Wang et al. 2003, "Multiscale Structural Similarity for Image Quality Assessment"; as a measure of
diversity Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", section
4.2. A value much higher for samples than for data indicates mode collapse.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.evals.feature_extractor import check_images
from genjax.evals.image_sets import ImageSet, image_batches, regrouped
from genjax.evals.metric_result import MetricResult
from genjax.evals.separable_filter import separable

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
WINDOW, SIGMA = 11, 1.5
HELD_BYTES = 2**34
"""Bytes of images that are held while pairs are formed; see `_couples`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MsSsimResult(MetricResult):
    """Mean similarity of pairs; lower is more diverse, and 1 means identical images.

    Attributes:
      mean: mean over pairs of samples.
      std_error: standard error of the mean.
      real_mean, real_std_error: the same over as many pairs of real images; None without them.
      pairs: number of pairs.
      scales: number of scales, five from 176 pixels on. With fewer, weights are rescaled to sum 1.
      windows: width of the Gaussian window at each scale, in pixels.
    """

    FIGURE: ClassVar = ("mean", "std_error", "")

    mean: float
    std_error: float
    real_mean: float | None
    real_std_error: float | None
    pairs: int
    scales: int
    windows: tuple[int, ...]


def windows_of(shape: Sequence[int], *, shrink: bool = False) -> tuple[int, ...]:
    """Returns the window at each scale of images of shape `(H, W, C)`.

    Scales smaller than the window of 11 are omitted. With `shrink` there are always five, and the
    window is at most the image, as in the code of Progressive GAN at 128 pixels.

    Raises:
      ValueError: the shape is not an image's, or smaller than the window.

    >>> windows_of((128, 128, 3)), windows_of((128, 128, 3), shrink=True)
    ((11, 11, 11, 11), (11, 11, 11, 11, 8))
    """
    if len(shape) != 3:
        raise ValueError(f"ms_ssim: images must be [H, W, C], got {list(shape)}.")
    side = min(shape[:2])
    sizes = [min(WINDOW, side >> scale) for scale in range(len(WEIGHTS))]
    windows = tuple(w for w in sizes if shrink or w == WINDOW)
    if not windows or min(windows) < 1:
        raise ValueError(f"ms_ssim: images of {side} pixels are smaller than its window, {WINDOW}.")
    return windows


def _local(maps: Sequence[jax.Array], window: int) -> list[jax.Array]:
    """Computes Gaussian-weighted means of each map over all windows, `[B, H, W, C]`."""
    offsets = np.arange(window) - (window - 1) / 2
    weights = np.exp(-0.5 * (offsets / (SIGMA * window / WINDOW)) ** 2)
    means = separable(jnp.concatenate(maps), tuple(weights / weights.sum()))
    return jnp.split(means, len(maps))


def _halve(x: jax.Array) -> jax.Array:
    """Averages 2x2 pixels; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return x.mean(axis=(2, 4))


@functools.partial(jax.jit, static_argnames=("windows",))
def ms_ssim(a: jax.Array, b: jax.Array, windows: tuple[int, ...]) -> jax.Array:
    """Computes the similarity of pairs of images in [0, 1], `[B, H, W, C] -> [B]`, in [0, 1].

    `windows` has the window of each scale, from `windows_of`.
    """
    c1, c2 = 0.01**2, 0.03**2
    weights = WEIGHTS[: len(windows)]
    if len(weights) < len(WEIGHTS):
        weights = tuple(w / sum(weights) for w in weights)
    product = jnp.ones(a.shape[0])
    for scale, (window, weight) in enumerate(zip(windows, weights, strict=True)):
        if scale:
            a, b = _halve(a), _halve(b)
        # Centred first: the variances are the same, and float32 loses fewer digits.
        centre_a, centre_b = (x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
        p, q = a - centre_a, b - centre_b
        m, n, pp, qq, pq = _local((p, q, p * p, q * q, p * q), window)
        square_a, square_b, product_ab = pp - m * m, qq - n * n, pq - m * n
        mean_a, mean_b = m + centre_a, n + centre_b
        structure = (2 * product_ab + c2) / (square_a + square_b + c2)
        if scale == len(windows) - 1:  # luminance, at the coarsest scale only
            structure *= (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        # A power of a negative number would be NaN.
        product *= jnp.maximum(structure.mean(axis=(1, 2, 3)), 0) ** weight
    return product


def ms_ssim_pairs(
    fake: ImageSet,
    real: ImageSet | None = None,
    *,
    pairs: int = 10_000,
    shrink: bool = False,
    batch_size: int = 100,
    seed: int = 0,
) -> MsSsimResult:
    """Computes the mean similarity of random pairs of samples, and of real images.

    Args:
      fake: samples in [0, 1], `[N, H, W, C]`.
      pairs: number of random pairs of different images.
      shrink: see `windows_of`.
      seed: seed of the pairs.

    Raises:
      ValueError: the images have the wrong shape, or are smaller than the window.
    """
    sets = {"fake": fake} if real is None else {"fake": fake, "real": real}
    check_images("ms_ssim", **sets)
    checks.positive(pairs=pairs, batch_size=batch_size)
    windows = windows_of(fake.shape[1:], shrink=shrink)

    def similarity(x: ImageSet) -> tuple[float, float]:
        scores, images = _scores(x, windows, pairs, batch_size, np.random.default_rng(seed))
        return float(scores.mean()), _error_of_mean(scores, images)

    mean, std_error = similarity(fake)
    real_mean, real_std_error = (None, None) if real is None else similarity(real)
    return MsSsimResult(
        mean=mean,
        std_error=std_error,
        real_mean=real_mean,
        real_std_error=real_std_error,
        pairs=pairs,
        scales=len(windows),
        windows=windows,
        n_real=0 if real is None else len(real),
        n_fake=len(fake),
        extractor="pixels",
        seed=seed,
    )


def _scores(
    x: ImageSet, windows: tuple[int, ...], pairs: int, batch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores of random pairs, `[pairs]`, and the indices of their images, `[2, pairs]`."""
    first = rng.integers(0, len(x), pairs)
    second = (first + rng.integers(1, len(x), pairs)) % len(x)  # two different images
    images = np.sort([first, second], axis=0)  # a score is symmetric
    size = min(batch_size, pairs)
    order: list[np.ndarray] = []
    out = []
    for couples in regrouped(_couples(x, images, size, order), size):
        a, b = (jnp.asarray(np.resize(k, (size, *k.shape[1:]))) for k in couples.swapaxes(0, 1))
        out.append(np.asarray(ms_ssim(a, b, windows), np.float64)[: len(couples)])
    scores = np.empty(pairs)
    scores[np.concatenate(order)] = np.concatenate(out)
    return scores, images


def _couples(
    x: ImageSet, images: np.ndarray, size: int, order: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Iterates over pairs `images` `[2, P]` in batches `[K, 2, H, W, C]`; appends their numbers
    to `order`.

    A block of `HELD_BYTES` of images is held, and combined with all images from the block on. So
    the set is read once if it fits into a block, and b blocks take (b + 1) / 2 passes over it.
    """
    earlier, later = images
    block = max(size, HELD_BYTES // (4 * math.prod(x.shape[1:])))
    for begin in range(0, len(x), block):
        held = np.empty((min(block, len(x) - begin), *x.shape[1:]), np.float32)
        start = begin
        for part in image_batches(x, size, begin):
            free = held[start - begin :]
            free[: len(part)] = part[: len(free)]
            inside = (earlier >= begin) & (earlier < begin + len(held))
            chosen = np.flatnonzero(inside & (later >= start) & (later < start + len(part)))
            for k in (chosen[i : i + size] for i in range(0, len(chosen), size)):
                order.append(k)
                yield np.stack([held[earlier[k] - begin], part[later[k] - start]], axis=1)
            start += len(part)


def _error_of_mean(scores: np.ndarray, images: np.ndarray) -> float:
    """Computes the standard error of the mean score of pairs that share images; NaN for one pair.

    Only pairs with a common image are correlated. The sum over images of (sum of the residuals of
    its pairs)^2 has each product of such pairs once and the square of each pair twice.
    """
    if len(scores) < 2:
        return float("nan")
    residual = scores - scores.mean()
    by_image = np.bincount(images.ravel(), weights=np.tile(residual, 2))
    squares = (residual**2).sum()
    return float(np.sqrt(max((by_image**2).sum() - squares, squares)) / len(scores))
