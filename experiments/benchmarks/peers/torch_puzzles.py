"""Puzzles in PyTorch: images cut into pieces, gaps, shuffled pieces, Sinkhorn's normalisation.

As `genjax.core.puzzles` and `genjax.nn.sinkhorn`, with pieces `[B, N, C, h, w]`.
"""

import torch
from torch import Tensor


def cut(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """`[B, H, W, C] -> [B, N, C, h, w]`, row by row."""
    rows, columns = grid
    x = images.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))  # [B, R, h, S, w, C]
    return x.permute(0, 1, 3, 5, 2, 4).flatten(1, 2)


def shuffled(pieces: Tensor, order: Tensor) -> Tensor:
    """Puts the piece of position `order[b, k]` at index k."""
    return pieces.gather(1, order.long().view(*order.shape, 1, 1, 1).expand_as(pieces))


def eroded(pieces: Tensor, gap: Tensor) -> Tensor:
    """Replaces borders by copies of what is inside; the gap is `[B]` pixels."""
    for axis in (-2, -1):
        size = pieces.shape[axis]
        low, high = (gap + 1) // 2, size - 1 - gap // 2
        places = torch.arange(size, device=gap.device).clamp(low[:, None], high[:, None])  # [B, s]
        shape = [len(gap), 1, 1, 1, 1]
        shape[axis] = size
        pieces = pieces.gather(axis, places.view(shape).expand_as(pieces))
    return pieces


def log_sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Normalises rows, then columns and rows in turn, `[B, N, N]`."""
    scores = scores.log_softmax(2)
    for _ in range(iterations):
        scores = scores.log_softmax(1).log_softmax(2)
    return scores
