"""Grids of images."""

import dataclasses
import math
from typing import Annotated

import numpy as np

from genjax import checks

GAP = 2  # pixels between images
GREY = 128


@dataclasses.dataclass(frozen=True)
class GridLayout:
    """Positions of the images of a grid, row by row from the top left."""

    height: checks.PositiveInt
    """Pixels of one image, after scaling."""
    width: checks.PositiveInt
    columns: checks.PositiveInt
    count: checks.PositiveInt
    """Images; the last row may be shorter."""
    scale: checks.PositiveInt = 1
    """Factor by which images were enlarged."""
    gap: checks.NonNegativeInt = GAP
    """Pixels around each image."""
    titles: tuple[str, ...] = ()
    """Titles of the columns, if each one shows something else."""
    captions: tuple[str, ...] = ()
    """Captions, each above a group of images; the groups are of one size."""
    header: checks.NonNegativeInt = 0
    """Pixels of a caption, above the rows of its group."""
    page_width: checks.NonNegativeInt = 0
    """Pixels of the page, at least."""
    wrong: tuple[checks.NonNegativeInt, ...] | None = dataclasses.field(default=None, compare=False)
    """Images that do not show what their caption says; None where that is not known."""
    stage: str = dataclasses.field(default="", compare=False)
    """Stage of growing networks that drew the images, such as 8x8."""
    alpha: Annotated[float, checks.Bounds(0, 1)] = dataclasses.field(default=1.0, compare=False)
    """Weight of the stage's new layers."""

    @property
    def label(self) -> str:
        """Stage and, in its fade, alpha; empty for networks that do not grow."""
        stage = " ".join(self.stage.split())[:20]  # a file may hold any text
        return stage if self.alpha == 1 else f"{stage}, alpha {self.alpha:.2f}"

    @property
    def groups(self) -> int:
        """Number of groups of images: one per caption, or one."""
        return max(1, len(self.captions))

    @property
    def per_group(self) -> int:
        """Images of a group; the last one may be smaller."""
        return math.ceil(self.count / self.groups)

    @property
    def rows(self) -> int:
        """Number of rows of images, of all groups."""
        return self.groups * math.ceil(self.per_group / self.columns)

    @property
    def group_height(self) -> int:
        """Pixels from the top of one group to that of the next."""
        return self.header + self.rows // self.groups * (self.height + self.gap)

    def size(self) -> tuple[int, int]:
        """Returns height and width of the grid in pixels."""
        width = self.columns * (self.width + self.gap) + self.gap
        return self.groups * self.group_height + self.gap, max(width, self.page_width)

    def corner(self, i: int) -> tuple[int, int]:
        """Returns the top and left pixel of image `i`."""
        group, place = divmod(i, self.per_group)
        row, column = divmod(place, self.columns)
        top = self.gap + group * self.group_height + self.header + row * (self.height + self.gap)
        return top, self.gap + column * (self.width + self.gap)


def image_grid(
    images: np.ndarray, low: float = 0.0, high: float = 1.0, scale: int = 0
) -> np.ndarray:
    """Returns a nearly square grid: `[N, ...]` in [low, high] -> uint8 `[H, W, 3]`.

    Vectors `(D,)` become squares if D is a square number, else rows. `scale` repeats pixels; 0
    makes an image about 56 pixels high.
    """
    return grid_with_layout(images, low, high, scale)[0]


def grid_with_layout(
    images: np.ndarray,
    low: float = 0.0,
    high: float = 1.0,
    scale: int = 0,
    columns: int = 0,
    titles: tuple[str, ...] = (),
) -> tuple[np.ndarray, GridLayout]:
    """Returns `image_grid` and its layout.

    There is one column per title; without titles there are `columns`, and 0 is nearly square.
    Infinite limits are replaced by quantiles of the values.
    """
    x = np.asarray(images, np.float32)
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        x = x.reshape(len(x), side, side) if side**2 == x.shape[1] else x[:, None, :]
    if x.ndim == 3:
        x = x[..., None]
    if not (np.isfinite(low) and np.isfinite(high)):  # unbounded values
        low, high = (float(q) for q in np.quantile(x, (0.01, 0.99)))
        high = max(high, low + 1e-6)
    x = np.clip((x - low) / (high - low), 0, 1)
    if x.shape[-1] == 2:  # two channels are red and green
        x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
    x = np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x[..., :3]
    scale = scale or max(1, 56 // max(x.shape[1], 2))
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    columns = len(titles) or columns or math.ceil(math.sqrt(len(x)))
    tiles = GridLayout(x.shape[1], x.shape[2], columns, len(x), scale, titles=titles)
    return place_images((x * 255 + 0.5).astype(np.uint8), tiles), tiles


def place_images(x: np.ndarray, tiles: GridLayout) -> np.ndarray:
    """Places images uint8 `[N, h, w, 3]` on a grey page."""
    page = np.full((*tiles.size(), 3), GREY, np.uint8)
    for i, image in enumerate(x):
        top, left = tiles.corner(i)
        page[top : top + tiles.height, left : left + tiles.width] = image
    return page
