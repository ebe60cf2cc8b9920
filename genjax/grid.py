"""Images side by side in one picture."""

import math

import numpy as np


def grid(images: np.ndarray, low: float = 0.0, high: float = 1.0, scale: int = 0) -> np.ndarray:
    """Images side by side, as square as it gets: `[N, ...]` in [low, high] -> uint8 `[H, W, 3]`.

    Events `(D,)` are drawn as one row each, or as a square where D is one. `scale` repeats
    pixels; 0 takes the scale that makes an image about 56 pixels high.
    """
    x = np.asarray(images, np.float32)
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        x = x.reshape(len(x), side, side) if side**2 == x.shape[1] else x[:, None, :]
    if x.ndim == 3:
        x = x[..., None]
    x = np.clip((x - low) / (high - low), 0, 1)
    if x.shape[-1] == 2:  # two channels are shown as red and green
        x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
    x = np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x[..., :3]
    scale = scale or max(1, 56 // max(x.shape[1], 2))
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    columns = math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    gap = 2
    height, width = x.shape[1] + gap, x.shape[2] + gap
    page = np.full((rows * height + gap, columns * width + gap, 3), 0.5, np.float32)
    for i, image in enumerate(x):
        top, left = gap + (i // columns) * height, gap + (i % columns) * width
        page[top : top + image.shape[0], left : left + image.shape[1]] = image
    return (page * 255 + 0.5).astype(np.uint8)
