"""Sizes of images in networks of several levels."""

import math
from collections.abc import Sequence
from typing import Any

MAX_UNITS = 2**15  # of a dense layer beside a map; 1024 x 4 x 4 of DCGAN is half of it


def sides_of(side: int, levels: int) -> list[int]:
    """Returns the pixels of one side at each level, halved and rounded up from one to the next.

    >>> sides_of(28, 4)
    [28, 14, 7, 4]
    """
    out = [side]
    for _ in range(levels - 1):
        out.append(-(-out[-1] // 2))
    return out


def check_smallest_map(shape: Sequence[int], widths: Sequence[int], name: str, order: str) -> None:
    """Checks that the smallest map of a network, next to a dense layer, is small.

    Args:
      shape: of the image, (H, W, C).
      widths: channels of the maps, each of half the side of the next larger one.
      name: of the setting of the widths.
      order: of these, "smallest" or "largest" map first.

    Raises:
      ValueError: the dense layer has more than `MAX_UNITS` units.
    """
    sides = [sides_of(side, len(widths) + 1)[-1] for side in shape[:2]]
    channels = widths[0] if order == "smallest" else widths[-1]
    units = math.prod(sides) * channels
    if units > MAX_UNITS:
        raise ValueError(
            f"{len(widths)} maps halve {shape[0]}x{shape[1]} to {sides[0]}x{sides[1]}, and its"
            f" {channels} channels are a dense layer of {units:,} units; give `{name}` more entries"
            f" ({order} map first), so that the smallest side is about 4 to 7, or use smaller"
            f" images."
        )


def check_maps(x: Any) -> None:
    """Checks that an array is `[B, H, W, C]`.

    Raises:
      ValueError: it has another rank, or a side of 0.
    """
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"maps must be [B, H, W, C] with H and W above 0, got {list(x.shape)}.")
