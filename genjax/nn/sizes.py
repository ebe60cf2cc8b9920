"""Sizes of images in networks of several levels."""

from typing import Any


def sides_of(side: int, levels: int) -> list[int]:
    """Returns the pixels of one side at each level, halved and rounded up from one to the next.

    >>> sides_of(28, 4)
    [28, 14, 7, 4]
    """
    out = [side]
    for _ in range(levels - 1):
        out.append(-(-out[-1] // 2))
    return out


def check_maps(x: Any) -> None:
    """Checks that an array is `[B, H, W, C]`.

    Raises:
      ValueError: it has another rank, or a side of 0.
    """
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"maps must be [B, H, W, C] with H and W above 0, got {list(x.shape)}.")
