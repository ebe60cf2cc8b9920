"""Sliced Wasserstein distance between small neighbourhoods, one level of detail at a time.

Karras et al. 2018, "Progressive Growing of GANs", section 5, and the authors' code: 128 patches of
7x7 from every level of a Laplacian pyramid of every image, normalised by channel, compared along
random directions. Small at coarse levels: alike in structure; small at fine ones: alike in detail.
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
    """Distances times 10^3, as papers print them; lower is better.

    levels: by the side of the level in pixels (the shorter one), finest first.
    average: over levels.
    patches: from one level of one image.
    directions: in all.
    """

    FIGURE: ClassVar = ("average", "", "")

    levels: dict[int, float]
    average: float
    patches: int
    directions: int


def sides(height: int, width: int) -> list[int]:
    """The shorter side of every level: halved while it is even and stays at 16 or above."""
    found = [min(height, width)]
    while height % 2 == 0 and width % 2 == 0 and found[-1] // 2 >= COARSEST:
        height, width = height // 2, width // 2
        found.append(min(height, width))
    return found


def _blur(x: jax.Array) -> jax.Array:
    """The 5x5 binomial filter, images mirrored at their border pixel: `[B, H, W, C]`."""
    wide = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    return separable(wide, _FILTER)


def _down(x: jax.Array) -> jax.Array:
    return _blur(x)[:, ::2, ::2]


def _up(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    spread = jnp.zeros((b, 2 * h, 2 * w, c), x.dtype).at[:, ::2, ::2].set(x)
    return 4 * _blur(spread)  # a quarter of the pixels are there


@functools.partial(jax.jit, static_argnames=("level", "levels"))
def pyramid_level(x: jax.Array, level: int, levels: int) -> jax.Array:
    """One level of the Laplacian pyramid, 0 the finest: `[B, H, W, C] -> [B, H/2^l, W/2^l, C]`.

    What the next coarser level cannot tell; the last of `levels` is the blurred image itself.
    Burt and Adelson 1983, "The Laplacian Pyramid as a Compact Image Code".
    """
    for _ in range(level):
        x = _down(x)
    return x if level == levels - 1 else x - _up(_down(x))


def patches(level: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """7x7 patches by their top left pixels `[N, K]`: `[N, H, W, C] -> [N K, 7, 7, C]`."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    found = windows[np.arange(len(level))[:, None], y, x]  # [N, K, C, 7, 7]
    return found.reshape(-1, *found.shape[2:]).transpose(0, 2, 3, 1)


def normalized(found: np.ndarray) -> np.ndarray:
    """Each channel to mean 0 and deviation 1 over all patches: `[M, 7, 7, C] -> [M, 49 C]`."""
    found = found - found.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    spread = np.sqrt((found.astype(np.float64) ** 2).mean(axis=(0, 1, 2)))
    found /= np.where(spread > 0, spread, 1).astype(np.float32)  # a channel without contrast is 0
    return found.reshape(len(found), -1)


def sliced(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Mean over directions of the 1-Wasserstein distance: `[M, F], [M, F], [F, R]`.

    In one dimension the best transport keeps the order, so sorted numbers are compared.
    """
    checks.same_shape("sliced", a=a, b=b)
    total, count = 0.0, directions.shape[1]
    for start in range(0, count, 16):  # sorted numbers of 16 directions in memory
        some = directions[:, start : start + 16].astype(np.float32)
        along = [np.sort((points @ some).T, axis=-1) for points in (a, b)]
        total += float(np.abs(along[0] - along[1]).mean(axis=1, dtype=np.float64).sum())
    return total / count


def check_sides(shape: Sequence[int]) -> None:
    """Hold the shape of an image `(H, W, C)` against what a pyramid needs.

    Raises:
      ValueError: it is no picture, or smaller than 16 pixels.
    """
    if len(shape) != 3 or min(shape[:2]) < COARSEST:
        raise ValueError(
            f"swd: images must be [N, H, W, C] of {COARSEST} pixels or more, got {list(shape)}."
        )


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
    """Sliced Wasserstein distance of every level, times 10^3.

    Args:
      real: images in [0, 1], `[N, H, W, C]`; shorter side 16 or above.
      fake: samples, of the same shape.
      images: of each side that are used, the first ones; as many as both have where fewer.
      patches_per_image: from each level.
      repeats: sets of directions.
      directions: in one set.
      batch_size: images whose pyramid is made together.
      seed: of the patches' places and of the directions.

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
    check_sides(real.shape[1:])
    n = min(images, len(real), len(fake))
    rng = np.random.default_rng(seed)
    found = {}
    names = sides(*real.shape[1:3])
    # One level at a time: at the paper's counts its patches alone are 2.5 GB.
    for level, side in enumerate(names):
        both = []
        for x in (real[:n], fake[:n]):
            parts = []
            for start in range(0, n, batch_size):
                part = jnp.asarray(x[start : start + batch_size], jnp.float32)
                one = np.asarray(pyramid_level(part, level, len(names)))
                h, w = (m - PATCH + 1 for m in one.shape[1:3])
                places = [rng.integers(0, m, (len(one), patches_per_image)) for m in (h, w)]
                parts.append(patches(one, *places))
            both.append(normalized(np.concatenate(parts)))
        axes = rng.standard_normal((both[0].shape[1], repeats * directions))
        axes /= np.linalg.norm(axes, axis=0, keepdims=True)
        found[side] = 1000 * sliced(both[0], both[1], axes)
    return SwdResult(
        levels=found,
        average=float(np.mean(list(found.values()))),
        patches=patches_per_image,
        directions=repeats * directions,
        n_real=n,
        n_fake=n,
        extractor="laplacian_patches",
        seed=seed,
    )
