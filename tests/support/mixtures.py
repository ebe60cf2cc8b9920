"""Points of a uniform mixture of Gaussians."""

import numpy as np


def grid_centres(side, spacing):
    """Returns centres on a square grid around 0, `[side^2, 2]`."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def draw_modes(centres, sigma, n, seed):
    """Returns points float32 `[n, D]` and their modes `[n]`."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(centres), n)
    noise = rng.standard_normal((n, centres.shape[1]))
    return (centres[label] + sigma * noise).astype(np.float32), label.astype(np.int32)
