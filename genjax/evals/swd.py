"""Sliced Wasserstein distance between image patches at every level of a Laplacian pyramid.

Karras et al. 2018, "Progressive Growing of GANs", section 5, and the authors' code: images rounded
to 256 levels, 128 patches of 7x7 from every level and image, each set normalised by its own mean
and deviation per channel. Distances at coarse levels compare the structure, those at fine levels
the detail. The authors' code takes three channels; here a grey image has one, and its distance is
that of three equal channels, except for the directions drawn.
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
from genjax.evals.image_sets import ImageSet, image_batches
from genjax.evals.metric_result import MetricResult
from genjax.evals.separable_filter import separable

PATCH, COARSEST = 7, 16
_FILTER = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwdResult(MetricResult):
    """Distances times 10^3, as in papers; lower is better.

    Attributes:
      levels: distance by the level's shorter side in pixels, finest first.
      average: mean over levels.
      real_levels, real_average: the same between two disjoint sets of `real_images` real images
        each, which samples of the data's distribution would reach; None without a second set.
      patches: patches per level and image.
      directions: number of directions.
    """

    FIGURE: ClassVar = ("average", "", "")

    levels: dict[int, float]
    average: float
    patches: int
    directions: int
    real_levels: dict[int, float] | None = None
    real_average: float | None = None
    real_images: int = 0


def sides(shape: Sequence[int]) -> list[int]:
    """Returns the shorter side of every level of images of shape `(H, W, C)`.

    Sides are halved while both are even and the result is at least 16.

    Raises:
      ValueError: the shape is not that of images of 16 pixels or more.
    """
    if len(shape) != 3 or min(shape[:2]) < COARSEST:
        raise ValueError(
            f"swd: images must be [N, H, W, C] of {COARSEST} pixels or more, got {list(shape)}."
        )
    height, width, _ = shape
    levels = [min(height, width)]
    while height % 2 == 0 and width % 2 == 0 and levels[-1] // 2 >= COARSEST:
        height, width = height // 2, width // 2
        levels.append(min(height, width))
    return levels


def _blur(x: jax.Array) -> jax.Array:
    """Applies the 5x5 binomial filter with reflection padding, `[B, H, W, C]`."""
    wide = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    return separable(wide, _FILTER)


def _down(x: jax.Array) -> jax.Array:
    return _blur(x)[:, ::2, ::2]


def _up(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    spread = jnp.zeros((b, 2 * h, 2 * w, c), x.dtype).at[:, ::2, ::2].set(x)
    return 4 * _blur(spread)  # 3 of 4 pixels are 0


@functools.partial(jax.jit, static_argnames="levels")
def laplacian_pyramid(x: jax.Array, levels: int) -> list[jax.Array]:
    """Computes the Laplacian pyramid of `[B, H, W, C]`: level l is `[B, H/2^l, W/2^l, C]`.

    Level 0 is the finest; the last of `levels` is the low-pass residual.

    Source: Burt and Adelson 1983, "The Laplacian Pyramid as a Compact Image Code".
    """
    pyramid = []
    for _ in range(levels - 1):
        low = _down(x)
        pyramid.append(x - _up(low))
        x = low
    return [*pyramid, x]


def patches(level: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Extracts 7x7 patches at top left pixels `[N, K]`: `[N, H, W, C] -> [N, K, 7, 7, C]`."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(len(level))[:, None], y, x]


def normalize(x: np.ndarray) -> np.ndarray:
    """Scales each channel to mean 0 and deviation 1 over patches, `[M, 7, 7, C] -> [M, 49 C]`.

    It changes `x`, and the result shares its memory.
    """
    points = x.reshape(len(x), -1)

    def channels(sums: np.ndarray) -> np.ndarray:
        """Means of each channel, `[49 C]`, from sums over patches."""
        means = sums.reshape(-1, x.shape[-1]).mean(axis=0) / len(x)
        return np.tile(means, len(sums) // x.shape[-1])

    points -= channels(points.sum(axis=0, dtype=np.float64)).astype(np.float32)
    squares = np.zeros(points.shape[1])
    for start in range(0, len(points), 4096):
        squares += np.square(points[start : start + 4096], dtype=np.float64).sum(axis=0)
    spread = np.sqrt(channels(squares))
    points /= np.where(spread > 0, spread, 1).astype(np.float32)  # a constant channel is 0
    return points


def sliced(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Computes the mean 1-Wasserstein distance over directions: `[M, F], [M, F], [F, R]`.

    In one dimension the optimal transport preserves the order, so sorted values are compared.
    """
    checks.same_shape("sliced", a=a, b=b)
    total, count = 0.0, directions.shape[1]
    for start in range(0, count, 16):  # 16 directions at a time bound the memory
        some = directions[:, start : start + 16].T.astype(np.float32)
        gaps, other = (some @ points.T for points in (a, b))
        gaps.sort(axis=-1)  # in place
        other.sort(axis=-1)
        gaps -= other
        np.abs(gaps, out=gaps)
        total += float(gaps.mean(axis=1, dtype=np.float64).sum())
    return total / count


def _positions(
    rng: np.random.Generator, n: int, count: int, sizes: Sequence[int], batch_size: int
) -> np.ndarray:
    """Draws top left pixels of patches, `[2, n, count]`, of each batch rows and then columns."""
    drawn = np.empty((2, n, count), np.uint16)
    for start in range(0, n, batch_size):
        rows = slice(start, min(start + batch_size, n))
        for corner, size in zip(drawn, sizes, strict=True):
            corner[rows] = rng.integers(0, size - PATCH + 1, (rows.stop - start, count))
    return drawn


def _descriptors(x: ImageSet, positions: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Returns the normalised patches of every level, `[n K, 49 C]`, in one pass over the images.

    `positions` are those of each level, `[2, n, K]`.
    """
    _, n, count = positions[0].shape
    shape = (n, count, PATCH, PATCH, x.shape[-1])
    found = [np.empty(shape, np.float32) for _ in positions]
    start = 0
    for part in image_batches(x, batch_size):
        rows = slice(start, min(start + len(part), n))
        start = rows.stop
        batch = jnp.asarray(part[: rows.stop - rows.start], jnp.float32)
        pyramid = laplacian_pyramid(jnp.round(255 * batch) / 255, len(positions))
        for out, level, corners in zip(found, pyramid, positions, strict=True):
            out[rows] = patches(np.asarray(level), *corners[:, rows])
        if start == n:
            break
    return [normalize(points.reshape(n * count, *shape[2:])) for points in found]


def swd(
    real: ImageSet,
    fake: ImageSet,
    *,
    images: int = 16_384,
    patches_per_image: int = 128,
    repeats: int = 4,
    directions: int = 128,
    batch_size: int = 128,
    seed: int = 0,
) -> SwdResult:
    """Computes the sliced Wasserstein distance of every level, times 10^3.

    Each set is read once, batch by batch, and its patches of all levels are kept: per level 2.5 GB
    of both sets with the paper's counts, which is 17 GB for the seven levels of 1024x1024 (the
    images would take 412 GB) and 7.4 GB for the three of 64x64.

    Args:
      real: images in [0, 1], `[N, H, W, C]`, with a shorter side of at least 16; an array or
        `Images`. Both sets are rounded to 256 levels, as in image files.
      fake: samples of the same shape.
      images: number of images of each set, the first ones; at most the smaller set.
      patches_per_image: patches per level and image.
      repeats: number of sets of `directions`.
      seed: seed of the patches' positions and of the directions.

    Raises:
      ValueError: the images differ in shape or are smaller than 16 pixels.
    """
    check_images("swd", real=real, fake=fake)
    checks.positive(
        images=images,
        patches_per_image=patches_per_image,
        repeats=repeats,
        directions=directions,
        batch_size=batch_size,
    )
    levels = sides(real.shape[1:])
    n = min(images, len(real), len(fake))
    rng = np.random.default_rng(seed)
    # Drawn level by level: positions in real and in fake images, then directions.
    positions: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    axes = []
    height, width, channels = real.shape[1:]
    for level in range(len(levels)):
        sizes = (height >> level, width >> level)
        for drawn in positions:
            drawn.append(_positions(rng, n, patches_per_image, sizes, batch_size))
        some = rng.standard_normal((PATCH * PATCH * channels, repeats * directions))
        axes.append(some / np.linalg.norm(some, axis=0, keepdims=True))
    points = [_descriptors(x, p, batch_size) for x, p in zip((real, fake), positions, strict=True)]
    distances = {
        side: 1000 * sliced(a, b, some)
        for side, a, b, some in zip(levels, *points, axes, strict=True)
    }
    return SwdResult(
        levels=distances,
        average=float(np.mean(list(distances.values()))),
        patches=patches_per_image,
        directions=repeats * directions,
        n_real=n,
        n_fake=n,
        extractor="laplacian_patches",
        seed=seed,
    )
