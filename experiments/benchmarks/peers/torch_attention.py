"""Transformer blocks with PyTorch's fused attention, as `genjax.nn.attention`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Layout,
    Leaves,
    dense_leaves,
    prefixed,
    same,
)

EPSILON = 1e-6  # of Flax's layer norm
EXPANSION = 4  # hidden units of a block, times the width
Cache = tuple[Tensor, Tensor]  # keys and values `[B, heads, S, D / heads]`


def norm_leaves(layer: Any) -> Leaves:
    """Leaves of a `LayerNorm`."""
    return {"scale": (layer.weight, same), "bias": (layer.bias, same)}


class Block(nn.Module):
    """Pre-norm transformer block, `[B, T, D] -> [B, T, D]`.

    `split_heads`: whether Flax's kernel of queries, keys and values is `[D, 3, heads, D / heads]`.
    """

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, split_heads: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.split_heads = heads, dropout, split_heads
        self.attention_norm, self.norm = (nn.LayerNorm(width, EPSILON) for _ in range(2))
        self.joint = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.hidden = nn.Linear(width, EXPANSION * width)
        self.out = nn.Linear(EXPANSION * width, width)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        train: bool = False,
        cache: Cache | None = None,
        start: int = 0,
    ) -> Tensor:
        """Applies the block.

        Args:
          x: positions start .. start + T - 1 of a sequence.
          mask: bool, broadcast to `[B, heads, T, S]`: which positions may be attended to.
          train: whether the branches have dropout.
          cache: keys and values of the positions before, to which those of x are added; None has
            no positions before.
          start: number of positions before.
        """
        parts = self.joint(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [B, heads, T, d] each
        if cache is not None:
            end = start + x.shape[1]
            for kept, new in zip(cache, (key, value), strict=True):
                kept[:, :, start:end] = new
            key, value = (kept[:, :, :end] for kept in cache)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + F.dropout(self.attended(y.transpose(1, 2).flatten(2)), self.dropout, train)
        y = self.out(F.gelu(self.hidden(self.norm(x)), approximate="tanh"))
        return x + F.dropout(y, self.dropout, train)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        joint, attended = dense_leaves(self.joint), dense_leaves(self.attended)
        if self.split_heads:
            split = (3, self.heads, -1)
            joint = {
                "kernel": (self.joint.weight, lambda t: t.t().unflatten(1, split)),
                "bias": (self.joint.bias, lambda t: t.unflatten(0, split)),
            }
        return prefixed(
            attention=prefixed(query_key_value=joint, out=attended),
            attention_norm=norm_leaves(self.attention_norm),
            norm=norm_leaves(self.norm),
            hidden=dense_leaves(self.hidden),
            out=dense_leaves(self.out),
        )


class Stacked:
    """Tensors of several layers, which Flax has as one array with a first axis of layers."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts
        self.shape, self.dtype = (len(parts), *parts[0].shape), parts[0].dtype

    def numel(self) -> int:
        """Returns the number of values."""
        return sum(part.numel() for part in self.parts)

    def copy_(self, values: Tensor) -> None:
        """Copies values to the tensors."""
        for part, value in zip(self.parts, values, strict=True):
            part.copy_(value)

    @property
    def grad(self) -> Tensor:
        """The gradients."""
        return torch.stack([part.grad for part in self.parts])


def stacked(layers: list[Leaves]) -> Leaves:
    """Returns the leaves of equal layers whose arrays Flax has stacked."""

    def of_each(layout: Layout) -> Layout:
        return lambda t: torch.stack([layout(part) for part in t])

    found: Leaves = {}
    for path, (_, layout) in layers[0].items():
        parts: Any = Stacked([leaves[path][0] for leaves in layers])
        found[path] = parts, of_each(layout)
    return found
