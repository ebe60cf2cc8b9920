"""Joint embedding of texts and images, as `genjax.families.joint_embedding`."""

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
    same,
    transposed,
    with_weights,
)
from genjax.families.joint_embedding import LARGEST_SCALE


class CharCnnRnn(nn.Module):
    """Convolutions over characters and a recurrent network, `[B, T] -> [B, E]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.vocabulary, self.pool = c.vocabulary, c.text_pool
        sizes = itertools.pairwise([c.vocabulary - 1, *c.text_widths])
        self.convs = nn.ModuleList(nn.Conv1d(a, b, c.text_kernel) for a, b in sizes)
        width = c.text_widths[-1]
        self.rnn = nn.RNN(width, width, nonlinearity="relu", batch_first=True)
        with torch.no_grad():  # one bias is enough
            self.rnn.bias_hh_l0.zero_()
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.out = nn.Linear(width, c.embedding)

    def forward(self, text: Tensor) -> Tensor:
        """See the class; padding is a vector of zeros."""
        characters = F.one_hot(text.long(), self.vocabulary)[..., 1:]
        x = characters.to(self.out.weight.dtype).transpose(1, 2)  # [B, V, T]
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(F.max_pool1d(x, self.pool) if i else x))
        return self.out(self.rnn(x.transpose(1, 2))[0].mean(1)).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found: Leaves = {}
        for i, conv in enumerate(self.convs):
            weight: Any = conv.weight  # [O, I, k]
            found[f"Conv_{i}/kernel"] = weight, lambda t: t.permute(2, 1, 0)[None]
            bias: Any = conv.bias
            found[f"Conv_{i}/bias"] = bias, same
        found["input/kernel"] = self.rnn.weight_ih_l0, transposed
        found["input/bias"] = self.rnn.bias_ih_l0, same
        found["recurrent"] = self.rnn.weight_hh_l0, transposed
        return found | prefixed(out=dense_leaves(self.out))


class TransformerEncoder(nn.Module):
    """A transformer averaged over tokens that are not padding, `[B, T] -> [B, E]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.tokens = nn.Embedding(c.vocabulary, c.width)
        self.positions = nn.Parameter(torch.zeros(c.text_length, c.width))
        self.blocks = nn.ModuleList(Block(c.width, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, EPSILON)
        self.out = nn.Linear(c.width, c.embedding)

    def forward(self, text: Tensor) -> Tensor:
        """See the class; a text has a token that is not padding."""
        present = text > 0
        x = self.tokens(text) + self.positions
        for block in self.blocks:
            x = block(x, present[:, None, None])
        x = self.norm(x).masked_fill(~present[..., None], 0.0)
        return self.out(x.sum(1) / present.sum(1, keepdim=True).clamp(min=1)).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        blocks: Any = enumerate(self.blocks)
        found: Leaves = {"positions": (self.positions, same)}
        return found | prefixed(
            tokens={"embedding": (self.tokens.weight, same)},
            **{f"TransformerBlock_{i}": block.leaves() for i, block in blocks},
            norm=norm_leaves(self.norm),
            out=dense_leaves(self.out),
        )


class ImageEncoder(nn.Module):
    """Strided convolutions with layer normalisation, `[B, H, W, C] -> [B, E]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        sizes = itertools.pairwise([c.shape[-1], *c.image_widths])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, 2) for a, b in sizes)
        self.norms = nn.ModuleList(nn.GroupNorm(1, n, EPSILON) for n in c.image_widths[1:])
        sides = [-(-side // 2 ** len(c.image_widths)) for side in c.shape[:2]]
        self.out = nn.Linear(math.prod(sides) * c.image_widths[-1], c.embedding)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; images are in [0, 1]."""
        x = 2 * x.permute(0, 3, 1, 2) - 1
        for i, conv in enumerate(self.convs):
            height, width = x.shape[2:]
            x = conv(F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2)))
            x = F.leaky_relu(self.norms[i - 1](x) if i else x, 0.2)
        return self.out(x.permute(0, 2, 3, 1).flatten(1)).float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Conv_{i}": conv_leaves(conv) for i, conv in enumerate(self.convs)}
        found |= {f"LayerNorm_{i}": norm_leaves(norm) for i, norm in enumerate(self.norms)}
        return prefixed(DownStack_0=prefixed(**found), out=dense_leaves(self.out))


class JointEmbedding(nn.Module):
    """Both encoders, and the log of the factor of contrastive scores."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.text = TransformerEncoder(c) if c.text_encoder == "transformer" else CharCnnRnn(c)
        self.image, self.contrastive = ImageEncoder(c), c.objective == "contrastive"
        if self.contrastive:
            self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, text: Tensor) -> Tensor:
        """Texts `[B, T]` to `[B, E]`."""
        return self.directed(self.text(text))

    def directed(self, x: Tensor) -> Tensor:
        """Divides vectors `[B, E]` of the contrastive objective by their length."""
        if not self.contrastive:
            return x
        return x * x.square().sum(1, keepdim=True).clamp(min=1e-6).rsqrt()

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """Scores of images `[M, H, W, C]` with texts `[N, T]`, `[M, N]`."""
        scores = self.directed(self.image(images)) @ self.embed_text(text).t()
        if not self.contrastive:
            return scores
        limited = self.scale.clamp(max=math.log(LARGEST_SCALE))
        return scores * (self.scale + (limited - self.scale).detach()).exp()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = prefixed(text=self.text.leaves(), image=self.image.leaves())
        return found | ({"scale": (self.scale, same)} if self.contrastive else {})


def build(config: Any, variables: Any = None) -> JointEmbedding:
    """Builds the network, with Flax's weights if they are given."""
    return with_weights(JointEmbedding(config), variables)


def loss(
    network: JointEmbedding, config: Any, batch: dict[str, Tensor], noise: None = None
) -> Tensor:
    """Structured hinge loss or contrastive cross-entropy of each pair, `[B]`."""
    scores, text = network(batch["x"], batch["text"]), batch["text"]
    wrong = (text[:, None] != text).any(2)
    one_sided = contrastive if network.contrastive else structured
    total = one_sided(scores, wrong) + one_sided(scores.t(), wrong)
    return total / 2 if network.contrastive else total


def structured(scores: Tensor, wrong: Tensor) -> Tensor:
    """Mean hinge of the wrong columns of each row, `[B]`."""
    terms = F.relu(1 + scores - scores.diagonal()[:, None]).masked_fill(~wrong, 0.0)
    return terms.sum(1) / wrong.sum(1).clamp(min=1)


def contrastive(scores: Tensor, wrong: Tensor) -> Tensor:
    """Cross-entropy of each row's own column, `[B]`."""
    own = torch.arange(len(scores), device=scores.device)
    others = ~wrong & (own[:, None] != own)
    return F.cross_entropy(scores.masked_fill(others, -torch.inf), own, reduction="none")
