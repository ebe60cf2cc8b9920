"""The sliced Wasserstein distance of Progressive GAN's authors, in NumPy and float64.

Written from the paper's section 5 and the facts of the authors' code: uint8 images, a pyramid by
the 5-tap binomial filter with mirrored borders, levels from the full side down to 16, patches of
7x7, each set normalised by its own mean and deviation of every channel, sorted projections, times
10^3.
"""

import numpy as np

TAPS = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def mirrored(n):
    """Positions -2 .. n + 1, mirrored at the first and at the last of n pixels."""
    at = np.abs(np.arange(-2, n + 2))
    return np.where(at > n - 1, 2 * (n - 1) - at, at)


def blurred(x, gain=1.0):
    """Filters rows and then columns of `[N, H, W, C]`; every tap has the factor `gain`."""
    for axis in (1, 2):
        n = x.shape[axis]
        wide = np.take(x, mirrored(n), axis=axis)
        x = sum(gain * TAPS[k] * np.take(wide, np.arange(k, k + n), axis=axis) for k in range(5))
    return x


def laplacian_pyramid(images):
    """Images uint8 `[N, S, S, C]` by side S, S / 2, ... 16; the last one is not a difference."""
    low, levels = np.float64(images), {}
    while (side := low.shape[1]) >= 32:
        small = blurred(low)[:, ::2, ::2]
        spread = np.zeros_like(low)
        spread[:, ::2, ::2] = small
        levels[side] = low - blurred(spread, gain=2.0)  # 4 in both directions together
        low = small
    return levels | {side: low}


def descriptors(level, top, left):
    """Normalised 7x7 patches at top left pixels `[N, K]`, `[N K, 49 C]`."""
    n, k = top.shape
    image = np.repeat(np.arange(n), k)[:, None, None]
    rows, columns = (p.reshape(-1, 1, 1) for p in (top, left))
    found = level[image, rows + np.arange(7)[:, None], columns + np.arange(7)]
    found = found - found.mean(axis=(0, 1, 2))
    return (found / found.std(axis=(0, 1, 2))).reshape(n * k, -1)


def distance(a, b, directions):
    """Mean over directions `[F, R]` of the distance between sorted projections, times 10^3."""
    gaps = [np.abs(np.sort(a @ d) - np.sort(b @ d)).mean() for d in directions.T]
    return 1e3 * np.mean(gaps)


def official_swd(real, fake, per_image, repeats, directions, rng):
    """Distances by side of uint8 images; `rng` draws positions of real and of fake patches, of each
    rows then columns, and then directions, level by level."""
    pyramids, result = (laplacian_pyramid(real), laplacian_pyramid(fake)), {}
    for side in pyramids[0]:
        sets = []
        for pyramid in pyramids:
            level = pyramid[side]
            shape = (len(level), per_image)
            top, left = (rng.integers(0, side - 6, shape) for _ in range(2))
            sets.append(descriptors(level, top, left))
        axes = rng.standard_normal((sets[0].shape[1], repeats * directions))
        axes /= np.sqrt((axes**2).sum(axis=0))
        result[side] = distance(*sets, axes)
    return result
