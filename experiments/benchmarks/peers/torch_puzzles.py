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


def join(pieces: Tensor, grid: tuple[int, int]) -> Tensor:
    """`[B, N, C, h, w] -> [B, C, H, W]`."""
    x = pieces.unflatten(1, grid)  # [B, R, S, C, h, w]
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def border_costs(pieces: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared differences of right to left and bottom to top borders, `[B, N, N]` each."""

    def costs(first: Tensor, second: Tensor) -> Tensor:
        return (first[:, :, None] - second[:, None]).square().flatten(3).mean(3)

    right = costs(pieces[..., -1], pieces[..., 0])
    return right, costs(pieces[..., -1, :], pieces[..., 0, :])


def assemble(pieces: Tensor, grid: tuple[int, int]) -> Tensor:
    """Orders `[B, N]` by Prim's spanning tree of the border costs, within the grid."""
    right, below = border_costs(pieces)
    size, n = right.shape[:2]
    edges = torch.stack([right, right.mT, below, below.mT], 1)  # [B, 4, N, N]: placed, new
    edges = edges.masked_fill(torch.eye(n, dtype=torch.bool, device=edges.device), torch.inf)
    steps = torch.tensor([(0, 1), (0, -1), (1, 0), (-1, 0)], device=edges.device)
    extent = torch.tensor(grid, device=edges.device)
    rows, far = torch.arange(size, device=edges.device), 2 * max(grid)
    cells = torch.zeros(size, n, 2, dtype=torch.long, device=edges.device)
    placed = torch.zeros(size, n, dtype=torch.bool, device=edges.device)
    placed[rows, edges.flatten(1).argmin(1) // n % n] = True
    for _ in range(n - 1):
        targets = cells[:, None] + steps[:, None]  # [B, 4, N, 2], beside every piece
        away = ~placed[..., None]
        low = cells.masked_fill(away, far).amin(1)[:, None, None]
        high = cells.masked_fill(away, -far).amax(1)[:, None, None]
        span = torch.maximum(high, targets) - torch.minimum(low, targets)
        same = (targets[:, :, :, None] == cells[:, None, None]).all(-1)  # [B, 4, N, N]
        free = (span < extent).all(-1) & ~(same & placed[:, None, None]).any(-1)
        allowed = (free & placed[:, None])[..., None] & ~placed[:, None, None]
        best = edges.masked_fill(~allowed, torch.inf).flatten(1).argmin(1)
        direction, anchor, new = best // n**2, best // n % n, best % n
        cells[rows, new] = targets[rows, direction, anchor]
        placed[rows, new] = True
    cells = cells - cells.amin(1, keepdim=True)
    return cells[..., 0] * grid[1] + cells[..., 1]
