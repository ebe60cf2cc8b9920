"""Sizes of images in networks of several levels."""


def sides_of(side: int, levels: int) -> list[int]:
    """Returns the pixels of one side at each level, halved and rounded up from one to the next.

    >>> sides_of(28, 4)
    [28, 14, 7, 4]
    """
    out = [side]
    for _ in range(levels - 1):
        out.append(-(-out[-1] // 2))
    return out
