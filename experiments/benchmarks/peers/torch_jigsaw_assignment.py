"""Assignment of puzzle pieces: CNN of each piece, set transformer, Sinkhorn, border scores.

As `genjax.families.jigsaw_assignment`. Attention is PyTorch's fused one.
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_attention import EPSILON, Block, norm_leaves
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    dense_leaves,
    prefixed,
    require,
    with_weights,
)
from experiments.benchmarks.peers.torch_puzzles import cut, eroded, log_sinkhorn, shuffled
from genjax.families.jigsaw_assignment import BORDER_MAPS, directions, neighbours

KERNEL = 4
EDGES = {"right": (2, -1), "left": (2, 0), "bottom": (1, -1), "top": (1, 0)}  # axis and place


class PieceEncoder(nn.Module):
    """`[M, C, h, w] -> [M, width]`, and features of the borders `[M, border]` by name."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        channels = [c.shape[-1], *c.channels]
        sizes = itertools.pairwise(channels)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, KERNEL, 2) for a, b in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(b, EPSILON) for b in c.channels)
        sides = [side // count for side, count in zip(c.shape[:2], c.grid, strict=True)]
        maps = [[-(-side // 2**i) for side in sides] for i in range(1, len(channels))]
        self.out = nn.Linear(math.prod(maps[-1]) * channels[-1], c.width)
        edges: dict[str, int] = {}
        for (height, width), features in list(zip(maps, c.channels, strict=True))[:BORDER_MAPS]:
            for name in itertools.chain(*directions(c)):
                size = height if name in ("right", "left") else width
                edges[name] = edges.get(name, 0) + size * features
        self.borders = nn.ModuleDict({k: nn.Linear(n, c.border) for k, n in edges.items()})

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class."""
        maps = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            height, width = x.shape[2:]
            x = conv(F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2)))
            maps.append(F.relu(norm(x.permute(0, 2, 3, 1))))  # [M, h, w, C]
            x = maps[-1].permute(0, 3, 1, 2)
        borders: dict[str, Tensor] = {}
        for name, layer in self.borders.items():
            axis, place = EDGES[name]
            edges = [m.select(axis, place).flatten(1) for m in maps[:BORDER_MAPS]]
            borders[name] = layer(torch.cat(edges, 1)).float()
        return self.out(maps[-1].flatten(1)).float(), borders

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Conv_{i}": conv_leaves(layer) for i, layer in enumerate(self.convs)}
        found |= {f"LayerNorm_{i}": norm_leaves(layer) for i, layer in enumerate(self.norms)}
        borders: Any = self.borders.items()
        found |= {name: dense_leaves(layer) for name, layer in borders}
        return prefixed(**found, out=dense_leaves(self.out))


class Solver(nn.Module):
    """Pieces `[B, N, C, h, w]` to log probabilities of their positions, `[B, N, N]`."""

    near: Tensor

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.iterations, self.rounds, self.directions = c.iterations, c.rounds, directions(c)
        if self.directions:
            near = torch.from_numpy(neighbours(c))
            self.register_buffer("near", near, persistent=False)
        self.encoder = PieceEncoder(c)
        self.blocks = nn.ModuleList(Block(c.width, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, EPSILON)
        self.head = nn.Linear(c.width, math.prod(c.grid))

    def forward(self, pieces: Tensor, present: Tensor) -> Tensor:
        """`present` is bool `[B, N]`."""
        size = pieces.shape[:2]
        x, borders = self.encoder(pieces.flatten(0, 1))
        x = x.unflatten(0, size)
        for block in self.blocks:
            x = block(x, present[:, None, None])
        scores = self.head(self.norm(x)).float().masked_fill(~present[..., None], 0.0)
        log_p = log_sinkhorn(scores, self.iterations)
        if not self.directions:
            return log_p
        each = {name: features.unflatten(0, size) for name, features in borders.items()}
        pairs = torch.stack([each[a] @ each[b].mT for a, b in self.directions], 1).float()
        pairs = pairs / math.sqrt(next(iter(each.values())).shape[2])
        alone = torch.eye(size[1], dtype=torch.bool, device=pieces.device)
        absent = alone | ~(present[:, None] & present[:, :, None])
        pairs = pairs.masked_fill(absent[:, None], 0.0)  # [B, directions, N, N]
        for _ in range(self.rounds):
            p = log_p.exp()[:, None]
            beside = pairs @ p @ self.near.mT + pairs.mT @ p @ self.near
            log_p = log_sinkhorn(scores + beside.sum(1), self.iterations)
        return log_p

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        blocks: Any = enumerate(self.blocks)
        return prefixed(
            encoder=self.encoder.leaves(),
            **{f"blocks_{i}": block.leaves() for i, block in blocks},
            norm=norm_leaves(self.norm),
            head=dense_leaves(self.head),
        )


def build(config: Any, variables: Any = None) -> Solver:
    """Builds the network, with Flax's weights if they are given.

    Raises:
      ValueError: the peer does not support a setting.
    """
    require("jigsaw_assignment", config, dropout=0.0)
    return with_weights(Solver(config), variables)


def loss(network: Solver, config: Any, batch: dict[str, Any], noise: Any = None) -> Tensor:
    """Mean over present pieces of -log P of their positions, `[B]`.

    `noise` has orders `[B, N]`, gaps `[B]` and numbers of missing pieces `[B]`.
    """
    pieces = cut(batch["x"], config.grid)
    (size, number), device = pieces.shape[:2], pieces.device
    if noise is None:
        gaps = torch.tensor(config.gaps, device=device)
        drawn = gaps[torch.randint(len(gaps), (size,), device=device)]
        order = torch.rand(size, number, device=device).argsort(1)
        missing = torch.randint(config.missing + 1, (size,), device=device)
    else:
        order, drawn, missing = noise
    if max(config.gaps):
        pieces = eroded(pieces, drawn)
    present = torch.arange(number, device=device) >= missing[:, None]
    scores = network(shuffled(pieces, order), present)
    nats = -scores.gather(2, order.long()[..., None])[..., 0]
    return nats.masked_fill(~present, 0.0).sum(1) / present.sum(1)
