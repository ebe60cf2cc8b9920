"""Attention masks of text and image tokens, dense boolean arrays.

The sequence is a begin token, T text tokens and the first N - 1 of N image tokens in raster order;
each position predicts the next token. Text attends to itself and to earlier text. Image tokens
attend to all text, and to earlier image tokens by the pattern of the layer (Ramesh et al. 2021,
arXiv:2102.12092, figure 11). In a grid of W columns, the image token at position i attends to i and

* `row`: the W positions before it in raster order, i - W to i - 1, also across the start of a row;
* `column`: the positions above it, i - W, i - 2 W, ...;
* `conv`: the earlier positions of a k x k kernel centred at i: i - W r - c with |r|, |c| <= k // 2.
  At the left and right edges the kernel wraps to a neighbouring row, as `row` does;
* `dense`: all earlier positions.
"""

import functools

import numpy as np

PATTERNS = ("row", "column", "conv", "dense")


def layer_patterns(layers: int, attention: str) -> tuple[str, ...]:
    """Returns the pattern of each layer.

    With `attention="sparse"` it is the paper's order: of layers i = 1 .. layers, the last has
    convolutional attention, those where (i - 2) mod 4 is 0 column attention, and the others row
    attention.
    """
    if attention == "dense":
        return ("dense",) * layers
    kinds = ["column" if (i - 2) % 4 == 0 else "row" for i in range(1, layers)]
    return (*kinds, "conv")


def image_mask(pattern: str, grid: tuple[int, int], kernel: int = 1) -> np.ndarray:
    """Returns whether an image token attends to another, bool `[N, N]`.

    Args:
      pattern: one of `PATTERNS`.
      grid: rows and columns of the image tokens.
      kernel: side of the kernel of `conv`, odd.
    """
    columns = grid[1]
    position = np.arange(grid[0] * columns)
    distance = position[:, None] - position[None]  # to the attended position, backwards
    if pattern == "row":
        allowed = distance <= columns
    elif pattern == "column":
        allowed = distance % columns == 0
    elif pattern == "conv":
        half = np.arange(-(kernel // 2), kernel // 2 + 1)
        allowed = np.isin(distance, columns * half[:, None] + half[None])
    else:
        allowed = np.ones_like(distance, bool)
    return allowed & (distance >= 0)


@functools.cache
def sequence_mask(
    pattern: str, text_length: int, grid: tuple[int, int], kernel: int = 1
) -> np.ndarray:
    """Returns whether a position of the sequence attends to another, bool `[T + N, T + N]`.

    The first T + 1 positions are the begin token and the text. The array is read-only.
    """
    first = text_length + 1
    size = text_length + grid[0] * grid[1]
    mask = np.tril(np.ones((size, size), bool))
    mask[first:, first:] = image_mask(pattern, grid, kernel)[:-1, :-1]
    mask.flags.writeable = False
    return mask
