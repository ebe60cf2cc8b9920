"""PixelRNN of one scale: Row LSTM and Diagonal BiLSTM; sampling runs the network per value.

Input-to-state is one convolution of the image; state-to-state is a loop over rows, or over the
diagonals of a skewed map. See `genjax.families.pixelrnn.lstm`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    CausalConv,
    Leaves,
    conditional_nats,
    conv_leaves,
    prefixed,
    require,
    same,
    scaled,
    sum_event,
    with_weights,
)
from experiments.benchmarks.peers.torch_pixelcnn import Head, around, lists
from experiments.benchmarks.peers.torch_pixelcnn import sample as sample
from genjax.nn.causal import channel_groups


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM update: gates `[..., 4 h]` in the order o, f, i, g."""
    o, f, i, g = gates.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Recurrence(nn.Module):
    """Input-to-state and state-to-state of one direction, and a learned initial state."""

    def __init__(self, inputs: Any, features: int, channels: int, taps: int, width: int) -> None:
        super().__init__()
        gates = channel_groups(features, channels).tolist() * 4
        seen = width // 2 + 1
        self.inputs = CausalConv(inputs, gates, width=seen, left=seen - 1)
        self.kernel = nn.Parameter(torch.randn(taps * features, 4 * features) / taps / features)
        self.first = nn.Parameter(torch.zeros(2, features))

    def gates(self, x: Tensor) -> Tensor:
        """`[B, F, H, W] -> [B, H, W, 4 h]`."""
        return self.inputs(x).permute(0, 2, 3, 1)

    def row(self, gates: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """States of a row from those above, `[B, W, h]`."""
        left, right = F.pad(h, (0, 0, 1, 0))[:, :-1], F.pad(h, (0, 0, 0, 1))[:, 1:]
        return cell(gates + torch.cat([left, h, right], -1) @ self.kernel, c)

    def diagonal(
        self, gates: Tensor, inside: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """States of a diagonal from the previous one, `[B, H, h]`; initial outside the image."""
        first = self.first[:, None, None]
        above = torch.cat([first[0].expand(len(h), 1, -1), h[:, :-1]], 1)
        h, c = cell(gates + torch.cat([h, above], -1) @ self.kernel, c)
        return torch.where(inside, h, first[0]), torch.where(inside, c, first[1])

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        own: Leaves = {"kernel": (self.kernel, same), "first": (self.first, same)}
        return own | prefixed(inputs=conv_leaves(self.inputs))


class RowLSTM(nn.Module):
    """Row by row, `[B, F, H, W] -> [B, h, H, W]`."""

    def __init__(self, inputs: Any, features: int, channels: int) -> None:
        super().__init__()
        self.recurrence = Recurrence(inputs, features, channels, taps=3, width=3)

    def forward(self, x: Tensor) -> Tensor:
        """All states."""
        gates = self.recurrence.gates(x)
        h, c = self.recurrence.first[:, None, None].expand(-1, len(x), x.shape[3], -1)
        states = []
        for row in gates.unbind(1):
            h, c = self.recurrence.row(row, h, c)
            states.append(h)
        return torch.stack(states, 1).permute(0, 3, 1, 2)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(recurrence=self.recurrence.leaves())

    def directions(self) -> list[Recurrence]:
        """The only recurrence."""
        return [self.recurrence]


class DiagonalBiLSTM(nn.Module):
    """Two sweeps over diagonals, `[B, F, H, W] -> [B, h, H, W]`."""

    def __init__(self, inputs: Any, features: int, channels: int) -> None:
        super().__init__()
        self.left = Recurrence(inputs, features, channels, taps=2, width=1)
        self.right = Recurrence(inputs, features, channels, taps=2, width=1)

    def forward(self, x: Tensor) -> Tensor:
        """All states; the right-to-left sweep is shifted down by a row."""
        from_left = sweep(self.left, self.left.gates(x))
        from_right = sweep(self.right, self.right.gates(x).flip(2)).flip(2)
        return (from_left + F.pad(from_right, (0, 0, 0, 0, 1, 0))[:, :-1]).permute(0, 3, 1, 2)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return prefixed(left=self.left.leaves(), right=self.right.leaves())

    def directions(self) -> list[Recurrence]:
        """From the left, and from the right."""
        return [self.left, self.right]


def sweep(recurrence: Recurrence, gates: Tensor) -> Tensor:
    """Sweeps from the left, all rows of a diagonal at once: `[B, H, W, 4 h] -> [B, H, W, h]`."""
    b, rows, columns, _ = gates.shape
    diagonals = rows + columns - 1
    place = torch.arange(diagonals, device=gates.device)[:, None]  # [S, 1]
    column = place - torch.arange(rows, device=gates.device)  # [S, H]
    inside = ((column >= 0) & (column < columns))[:, None, :, None]  # [S, 1, H, 1]
    h, c = recurrence.first[:, None, None].expand(-1, b, rows, -1)
    states = []
    for part, here in zip(skewed(gates).unbind(2), inside.unbind(), strict=True):
        h, c = recurrence.diagonal(part, here, h, c)
        states.append(h)
    return unskewed(torch.stack(states, 2), columns)


def skewed(x: Tensor) -> Tensor:
    """Shifts row r by r columns to the right: `[B, H, W, F] -> [B, H, W + H - 1, F]`."""
    b, h, w, f = x.shape
    flat = F.pad(x, (0, 0, 0, h)).reshape(b, h * (w + h), f)
    return flat[:, : h * (w + h - 1)].reshape(b, h, w + h - 1, f)


def unskewed(x: Tensor, width: int) -> Tensor:
    """Inverse of `skewed`: `[B, H, W + H - 1, F] -> [B, H, W, F]`."""
    b, h, s, f = x.shape
    flat = F.pad(x.reshape(b, h * s, f), (0, 0, 0, h))
    return flat.reshape(b, h, s + 1, f)[:, :, :width]


class PixelRNN(nn.Module):
    """`x [B, H, W, C]` -> logits."""

    loops = ("step", "evaluate")

    def __init__(self, c: Any) -> None:
        super().__init__()
        channels = c.shape[2]
        self.levels, self.residual = c.levels, c.residual
        wide, narrow = (
            channel_groups(2 * c.features, channels),
            channel_groups(c.features, channels),
        )
        layer, self.margin = (RowLSTM, 0) if c.network == "row" else (DiagonalBiLSTM, 1)
        each = range(c.layers)
        self.first = CausalConv(range(channels), wide, kind="A", **around(c.first))
        self.lstm: Any = nn.ModuleList(layer(wide, c.features, channels) for _ in each)
        self.up = nn.ModuleList(CausalConv(narrow, wide) for _ in each)
        self.out = nn.ModuleList(CausalConv(narrow, wide) for _ in each if c.skip)
        self.head = Head(channels, c.levels, c.head, wide)

    def forward(self, x: Tensor, train: bool = False) -> Tensor:
        """Logits of all conditionals."""
        columns = x.shape[2]
        x = self.first(F.pad(scaled(x, self.levels), (0, self.margin)))
        skips = torch.zeros((), device=x.device)
        for i, (lstm, up) in enumerate(zip(self.lstm, self.up, strict=True)):
            h = lstm(x)
            x = x + up(h) if self.residual else up(h)
            skips = skips + self.out[i](h) if len(self.out) else skips
        return self.head((x + skips if len(self.out) else x)[:, :, :, :columns])

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts = {f"lstm_{i}": lstm.leaves() for i, lstm in enumerate(self.lstm)}
        parts |= {"first": conv_leaves(self.first), "head": self.head.leaves()}
        return prefixed(rnn=prefixed(**parts) | lists(up=self.up, out=self.out))


def build(config: Any, variables: Any = None) -> PixelRNN:
    """Builds the network, with Flax's weights if they are given."""
    require("pixelrnn", config, classes=0, factor=1)
    return with_weights(PixelRNN(config), variables)


def loss(network: PixelRNN, config: Any, batch: dict[str, Tensor], noise: None = None) -> Tensor:
    """-log p(x), `[B]` nats."""
    x = batch["x"]
    return sum_event(conditional_nats(network(x), x, config.levels))


def evaluate(network: PixelRNN, config: Any, batch: dict[str, Tensor]) -> Tensor:
    """log p(x), `[B]`."""
    return -loss(network, config, batch)


def pieces(network: PixelRNN) -> list[tuple[nn.Module, str]]:
    """Methods to compile: the step of every recurrence."""
    directions = [d for lstm in network.lstm for d in lstm.directions()]
    return [(d, "row" if isinstance(network.lstm[0], RowLSTM) else "diagonal") for d in directions]
