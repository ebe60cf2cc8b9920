"""Images side by side in one picture."""

import dataclasses
import math

import numpy as np

GAP = 2  # pixels between samples
GREY = 128


@dataclasses.dataclass(frozen=True)
class GridLayout:
    """Where the samples of a grid lie; row by row, `columns` in each, from the top left."""

    height: int
    """Pixels of one sample, as drawn."""
    width: int
    columns: int
    count: int
    """Samples; the last row may be shorter."""
    scale: int = 1
    """Pixels of the picture, in each direction, for one pixel of the sample."""
    gap: int = GAP
    """Pixels around each sample."""

    @property
    def rows(self) -> int:
        """Rows of samples."""
        return math.ceil(self.count / self.columns)

    def size(self) -> tuple[int, int]:
        """Height and width of the whole picture in pixels."""
        down, across = self.height + self.gap, self.width + self.gap
        return self.rows * down + self.gap, self.columns * across + self.gap

    def corner(self, i: int) -> tuple[int, int]:
        """Top and left pixel of sample `i`."""
        row, column = divmod(i, self.columns)
        down, across = self.height + self.gap, self.width + self.gap
        return self.gap + row * down, self.gap + column * across


def image_grid(
    images: np.ndarray, low: float = 0.0, high: float = 1.0, scale: int = 0
) -> np.ndarray:
    """Images side by side, as square as it gets: `[N, ...]` in [low, high] -> uint8 `[H, W, 3]`.

    Events `(D,)` are drawn as one row each, or as a square where D is one. `scale` repeats
    pixels; 0 takes the scale that makes an image about 56 pixels high.
    """
    return grid_with_layout(images, low, high, scale)[0]


def grid_with_layout(
    images: np.ndarray, low: float = 0.0, high: float = 1.0, scale: int = 0, columns: int = 0
) -> tuple[np.ndarray, GridLayout]:
    """As `image_grid`, with the places of the images. Infinite limits become the numbers' own.

    `columns` images a row; 0 is as square as it gets.
    """
    x = np.asarray(images, np.float32)
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        x = x.reshape(len(x), side, side) if side**2 == x.shape[1] else x[:, None, :]
    if x.ndim == 3:
        x = x[..., None]
    if not (np.isfinite(low) and np.isfinite(high)):  # numbers without bounds
        low, high = (float(q) for q in np.quantile(x, (0.01, 0.99)))
        high = max(high, low + 1e-6)
    x = np.clip((x - low) / (high - low), 0, 1)
    if x.shape[-1] == 2:  # two channels are shown as red and green
        x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
    x = np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x[..., :3]
    scale = scale or max(1, 56 // max(x.shape[1], 2))
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    columns = columns or math.ceil(math.sqrt(len(x)))
    tiles = GridLayout(x.shape[1], x.shape[2], columns, len(x), scale)
    return place_images((x * 255 + 0.5).astype(np.uint8), tiles), tiles


def place_images(x: np.ndarray, tiles: GridLayout) -> np.ndarray:
    """Samples uint8 `[N, h, w, 3]` in their places on grey."""
    page = np.full((*tiles.size(), 3), GREY, np.uint8)
    for i, image in enumerate(x):
        top, left = tiles.corner(i)
        page[top : top + tiles.height, left : left + tiles.width] = image
    return page
