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


@functools.partial(jax.jit, static_argnames=("level", "levels"))
def pyramid_level(x: jax.Array, level: int, levels: int) -> jax.Array:
    """Computes a level of the Laplacian pyramid, `[B, H, W, C] -> [B, H/2^l, W/2^l, C]`.

    Level 0 is the finest; the last of `levels` is the low-pass residual.

    Source: Burt and Adelson 1983, "The Laplacian Pyramid as a Compact Image Code".
    """
    for _ in range(level):
        x = _down(x)
    return x if level == levels - 1 else x - _up(_down(x))


def patches(level: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Extracts 7x7 patches at top left pixels `[N, K]`: `[N, H, W, C] -> [N K, 7, 7, C]`."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    selected = windows[np.arange(len(level))[:, None], y, x]  # [N, K, C, 7, 7]
    return selected.reshape(-1, *selected.shape[2:]).transpose(0, 2, 3, 1)


def normalized(x: np.ndarray) -> np.ndarray:
    """Scales each channel to mean 0 and deviation 1 over patches, `[M, 7, 7, C] -> [M, 49 C]`."""
    x = x - x.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    spread = np.sqrt((x.astype(np.float64) ** 2).mean(axis=(0, 1, 2)))
    x /= np.where(spread > 0, spread, 1).astype(np.float32)  # a constant channel is 0
    return x.reshape(len(x), -1)


def sliced(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Computes the mean 1-Wasserstein distance over directions: `[M, F], [M, F], [F, R]`.

    In one dimension the optimal transport preserves the order, so sorted values are compared.
    """
    checks.same_shape("sliced", a=a, b=b)
    total, count = 0.0, directions.shape[1]
    for start in range(0, count, 16):  # 16 directions at a time bound the memory
        some = directions[:, start : start + 16].astype(np.float32)
        projected = [np.sort((points @ some).T, axis=-1) for points in (a, b)]
        total += float(np.abs(projected[0] - projected[1]).mean(axis=1, dtype=np.float64).sum())
    return total / count


def swd(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    images: int = 16_384,
    patches_per_image: int = 128,
    repeats: int = 4,
    directions: int = 128,
    batch_size: int = 128,
    seed: int = 0,
) -> SwdResult:
    """Computes the sliced Wasserstein distance of every level, times 10^3.

    Args:
      real: images in [0, 1], `[N, H, W, C]`, with a shorter side of at least 16. Both sets are
        rounded to 256 levels, as in image files.
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
    distances = {}
    # One level at a time: with the paper's counts its patches take 2.5 GB.
    for level, side in enumerate(levels):
        points = []
        for x in (real[:n], fake[:n]):
            parts = []
            for start in range(0, n, batch_size):
                part = jnp.asarray(x[start : start + batch_size], jnp.float32)
                part = jnp.round(255 * part) / 255
                image = np.asarray(pyramid_level(part, level, len(levels)))
                h, w = (m - PATCH + 1 for m in image.shape[1:3])
                corners = [rng.integers(0, m, (len(image), patches_per_image)) for m in (h, w)]
                parts.append(patches(image, *corners))
            points.append(normalized(np.concatenate(parts)))
        axes = rng.standard_normal((points[0].shape[1], repeats * directions))
        axes /= np.linalg.norm(axes, axis=0, keepdims=True)
        distances[side] = 1000 * sliced(points[0], points[1], axes)
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
