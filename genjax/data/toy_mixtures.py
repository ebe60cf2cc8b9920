"""Data with known modes: Gaussians on a ring or a grid, and stacked digits.

All draws are from raw Philox output, which NumPy keeps between versions.
"""

from collections.abc import Mapping

import numpy as np

GAUSSIANS = ("ring", "grid")
SIZES = {"train": 50_000, "validation": 10_000, "test": 10_000}
STACKED_PREFIX = "stacked_"
STREAM = 2**33  # beyond the streams of Order, static binarization and label subsets


def gaussians(name: str) -> dict[str, dict[str, np.ndarray]]:
    """Samples a uniform mixture of isotropic Gaussians, float32 `[N, 2]`, by split.

    `ring`: 8 on the unit circle, of standard deviation 0.01. `grid`: 25 at {-4, -2, 0, 2, 4}^2, of
    standard deviation 0.05. The label of a point is its component.

    Source: Lin et al. 2018, "PacGAN" (arXiv:1712.04086), section 4.1.
    """
    if name == "ring":
        angles = 2 * np.pi * np.arange(8) / 8
        centres, deviation = np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01
    else:
        line = np.arange(-4.0, 5.0, 2.0)
        centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        deviation = 0.05
    out = {}
    for number, (split, n) in enumerate(SIZES.items()):
        raw = np.random.Philox(key=[number, STREAM]).random_raw(3 * n).reshape(3, n)
        label = (raw[0] % np.uint64(len(centres))).astype(np.int32)
        u, v = ((raw[i] >> np.uint64(11)) * 2.0**-53 for i in (1, 2))  # uniform in [0, 1)
        radius, angle = np.sqrt(-2 * np.log1p(-u)), 2 * np.pi * v  # Box and Muller 1958
        noise = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        # Rounded, as sines may differ in the last digit between machines.
        x = np.round(centres[label] + deviation * noise, 5).astype(np.float32)
        out[split] = {"x": x, "label": label}
    return out


def stacked(
    name: str, splits: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns as many images per split as given, each of three random grey images as channels.

    The label has the three labels as digits in base `classes`: 100 a + 10 b + c for ten classes,
    which gives 1000 modes.

    Source: Metz et al. 2017, "Unrolled Generative Adversarial Networks" (arXiv:1611.02163),
    section 3.3.1.

    Raises:
      ValueError: the images are not grey, or have no labels.
    """
    out = {}
    highest = 0
    for rows in splits.values():
        if "label" not in rows or rows["x"].ndim != 4 or rows["x"].shape[-1] != 1:
            raise ValueError(
                f"{STACKED_PREFIX}{name} needs grey images [N, H, W, 1] with labels, and {name} has"
                f" {', '.join(f'{k} {list(v.shape)}' for k, v in rows.items())}; use"
                f" another data set."
            )
        highest = max(highest, int(rows["label"].max()))
    for number, (split, rows) in enumerate(splits.items()):
        n, classes = len(rows["x"]), highest + 1
        raw = np.random.Philox(key=[number, STREAM]).random_raw(3 * n)
        picks = (raw % np.uint64(n)).astype(np.int64).reshape(n, 3)
        digits = rows["label"][picks].astype(np.int64)  # [n, 3]
        label = (digits * [classes**2, classes, 1]).sum(axis=1).astype(np.int32)
        x = np.moveaxis(rows["x"][picks, ..., 0], 1, -1)  # [n, H, W, 3]
        out[split] = {"x": np.ascontiguousarray(x), "label": label}
    return out
