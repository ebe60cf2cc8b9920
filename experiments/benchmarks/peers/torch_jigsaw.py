"""JigsawGAN: a classifier of the order of pieces, a warp, a decoder, and a critic of patches.

As `genjax.families.jigsaw` with the layers of the paper: both losses are computed before the
simultaneous updates, and pieces are `[B, N, C, h, w]`.
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_cyclegan import mean, reversed_hwio, to_maps
from experiments.benchmarks.peers.torch_gan_losses import GanNetworks
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    dense_leaves,
    layer_leaves,
    prefixed,
    require,
    same,
    with_weights,
)
from experiments.benchmarks.peers.torch_puzzles import assemble, cut, eroded, join, shuffled
from experiments.benchmarks.peers.torch_strided import BatchNorm
from genjax.families.jigsaw import WINDOW, permutations
from genjax.families.jigsaw.jigsaw_networks import SLOPE

C1, C2, SIGMA = 0.01**2, 0.03**2, 1.5  # of SSIM in [0, 1]
HALVINGS = 5  # of the classifier after its first


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation with the arguments of `BatchNorm`."""

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """`[B, C, H, W]` -> the same."""
        del train, update
        return super().forward(x)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return {"scale": (self.weight, same), "bias": (self.bias, same)} if self.affine else {}


class Network(nn.Module):
    """Convolutions and normalisations, named as in Flax by kind and number.

    Attributes:
      norm: `batch` or `instance`.
      affine: whether instance normalisation has scales and shifts.
    """

    def __init__(self, norm: str, affine: bool) -> None:
        super().__init__()
        self.norm, self.affine = norm, affine
        self.convs, self.ups, self.norms = (nn.ModuleList() for _ in range(3))

    def conv(self, inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
        """Adds a convolution padded by zeros."""
        self.convs.append(nn.Conv2d(inputs, outputs, side, stride, side // 2))
        return self.convs[-1]

    def normal(self, inputs: int, outputs: int, side: int = 3, padding: bool = True) -> None:
        """Adds a convolution and a normalisation."""
        batch = self.norm == "batch"
        margin = side // 2 if padding else 0
        self.convs.append(nn.Conv2d(inputs, outputs, side, padding=margin, bias=not batch))
        own = BatchNorm(outputs) if batch else InstanceNorm(outputs, affine=self.affine)
        self.norms.append(own)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Conv_{i}": conv_leaves(layer) for i, layer in enumerate(self.convs)}
        for i, layer in enumerate(self.ups):
            found[f"ConvTranspose_{i}"] = layer_leaves(layer, reversed_hwio)
        kind, norms = type(self.norms[0]).__name__, dict[int, Any](enumerate(self.norms))
        return prefixed(**found, **{f"{kind}_{i}": own.leaves() for i, own in norms.items()})

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        norms = dict[int, Any](enumerate(self.norms if self.norm == "batch" else ()))
        return prefixed(**{f"BatchNorm_{i}": own.statistics() for i, own in norms.items()})


class Encoder(Network):
    """`[M, C, h, w] -> [M, 4 width, h / 4, w / 4]`."""

    def __init__(self, c: Any) -> None:
        super().__init__(c.norm, True)
        w = c.width
        self.normal(c.shape[-1], w, 7)
        for features in (w, 2 * w):
            self.conv(features, 2 * features, stride=2)
            self.normal(2 * features, 2 * features)

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        first, *convs = self.convs
        x = F.relu(self.norms[0](first(x), train, update))
        for down, conv, norm in zip(convs[::2], convs[1::2], self.norms[1:], strict=True):
            x = F.relu(norm(conv(down(x)), train, update))
        return x


class Classifier(nn.Module):
    """`[B, 4 width, H, W] -> logits [B, P]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        widths = [c.width * k for k in (4, 4, 6, 6)]
        sizes = itertools.pairwise(widths)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2) for a, b in sizes)
        last = [-(-side // 4 // 2 ** (HALVINGS + 1)) for side in c.shape[:2]]
        self.dense = nn.Linear(math.prod(last) * widths[-1], c.dense)
        self.out = nn.Linear(c.dense, c.num_permutations)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for conv in self.convs:
            height, width = x.shape[2:]
            x = F.relu(conv(F.pad(x, (width % 2, 1, height % 2, 1))))
            x = F.max_pool2d(x, 2, ceil_mode=True)
        return self.out(F.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1))))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found = {f"Conv_{i}": conv_leaves(layer) for i, layer in enumerate(self.convs)}
        dense = {"Dense_0": dense_leaves(self.dense), "Dense_1": dense_leaves(self.out)}
        return prefixed(**found, **dense)


class Decoder(Network):
    """`[B, 4 width, H, W] -> [B, C, 4 H, 4 W]` in [-1, 1]."""

    def __init__(self, c: Any) -> None:
        super().__init__(c.norm, True)
        features = 4 * c.width
        for _ in range(2 * c.blocks):
            self.normal(features, features, padding=False)
        for features in (4 * c.width, 2 * c.width):
            half = features // 2
            up = nn.ConvTranspose2d(features, half, 3, 2, padding=1, output_padding=1)
            self.ups.append(up)
            self.normal(half, half)
        self.convs.append(nn.Conv2d(c.width, c.shape[-1], 7))

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        layers: Any = zip(self.convs, self.norms, strict=False)
        *layers, first_up, second_up = layers
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            y = x
            for i, (conv, norm) in enumerate((first, second)):
                y = F.relu(y) if i else y
                y = norm(conv(F.pad(y, (1, 1, 1, 1), mode="reflect")), train, update)
            x = x + y
        for up, (conv, norm) in zip(self.ups, (first_up, second_up), strict=True):
            x = F.relu(norm(conv(up(x)), train, update))
        x = F.pad(x, (3, 3, 3, 3), mode="reflect")
        return torch.tanh(self.convs[-1](x).float())


class Generator(nn.Module):
    """Pieces `[B, N, C, h, w]` -> logits `[B, P]` and an image `[B, C, H, W]`."""

    permutations: Tensor
    matrices: Tensor

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.grid = c.grid
        self.encoder, self.classifier, self.decoder = Encoder(c), Classifier(c), Decoder(c)
        orders = torch.from_numpy(permutations(c).astype("int64"))
        self.register_buffer("permutations", orders, persistent=False)
        n = orders.shape[1]
        matrices = F.one_hot(orders, n).mT.flatten(1).float()  # [P, position * piece]
        self.register_buffer("matrices", matrices, persistent=False)

    def forward(
        self, pieces: Tensor, train: bool = False, update: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `torch_strided.BatchNorm`."""
        size, n = pieces.shape[:2]
        features = self.encoder(pieces.flatten(0, 1), train, update).unflatten(0, (size, n))
        logits = self.classifier(join(features, self.grid)).float()
        matrix = (logits.softmax(1) @ self.matrices).view(size, n, n).to(features.dtype)
        moved = (matrix @ features.flatten(2)).view_as(features)
        return logits, self.decoder(join(moved, self.grid), train, update)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts: Any = self.named_children()
        return prefixed(**{name: part.leaves() for name, part in parts})

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        return prefixed(encoder=self.encoder.statistics(), decoder=self.decoder.statistics())


class Discriminator(Network):
    """`[B, C, H, W] -> logits of patches [B, H / 4, W / 4]`."""

    def __init__(self, c: Any) -> None:
        super().__init__(c.norm, False)
        w = c.discriminator_width
        self.conv(c.shape[-1], w)
        self.conv(w, 2 * w, stride=2)
        self.normal(2 * w, 2 * w)
        self.conv(2 * w, 4 * w, stride=2)
        self.normal(4 * w, 4 * w)
        self.normal(4 * w, 8 * w)
        self.conv(8 * w, 1)

    def forward(self, x: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        norms = dict(zip((2, 4, 5), self.norms, strict=True))
        for i, conv in enumerate(self.convs[:-1]):
            x = conv(x)
            x = F.leaky_relu(norms[i](x, train, update) if i in norms else x, SLOPE)
        return self.convs[-1](x)[:, 0].float()


def build(config: Any, variables: Any = None) -> GanNetworks:
    """Builds both networks, with Flax's weights if they are given.

    Raises:
      ValueError: the peer does not support a setting.
    """
    require("jigsaw", config, layers="paper", dropout=0.0)
    require("jigsaw", config.objective, loss="minimax", drift=0.0, label_smoothing=0.0)
    require("jigsaw", config.objective, gradient_penalty=0.0, r1=0.0, r2=0.0)
    return with_weights(GanNetworks(Generator(config), Discriminator(config)), variables)


def puzzles_of(
    network: GanNetworks, config: Any, images: Tensor, noise: Any
) -> tuple[Tensor, Tensor]:
    """Cuts and shuffles images: pieces `[B, N, C, h, w]`, and indices of their orders `[B]`."""
    orders, device = network.generator.permutations, images.device
    if noise is None:
        gaps = torch.tensor(config.gaps, device=device)
        true = torch.randint(len(orders), (len(images),), device=device)
        drawn = gaps[torch.randint(len(gaps), (len(images),), device=device)]
    else:
        true, drawn = noise
    pieces = cut(images, config.grid)
    pieces = eroded(pieces, drawn) if any(config.gaps) else pieces
    return shuffled(pieces, orders[true]), true


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Any], noise: Any = None
) -> tuple[Tensor, Tensor]:
    """Classification, adversarial and boundary loss, `[B]`, and the decoded images.

    `noise` has indices of the orders `[B]` and gaps `[B]`.
    """
    pieces, labels = puzzles_of(network, config, batch["x"], noise)
    orders = network.generator.permutations
    if config.labels == "reference":
        with torch.no_grad():
            found = assemble(pieces.float(), config.grid)
            labels = (found[:, None] == orders).sum(2).argmax(1)
    logits, images = network.generator(pieces, True, True)
    total = focal_loss(logits, labels.long(), config.focal)
    if config.boundary:
        total = total + config.boundary * boundary_loss(images, config.grid)
    if config.adversarial:
        fake = network.discriminator(images, True, False)
        total = total - config.adversarial * mean(F.softplus(fake))
    return total, images.detach()


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Any], noise: Any = None
) -> Tensor:
    """-log D(x) - log(1 - D(image)), `[B]`, of the images in `batch["outputs"]`, if any."""
    images = batch.get("outputs")
    if images is None:
        with torch.no_grad():
            pieces, _ = puzzles_of(network, config, batch["x"], noise)
            images = network.generator(pieces, True, False)[1]
    real = network.discriminator(to_maps(batch["x"]), True, True)
    fake = network.discriminator(images, True, True)
    return mean(F.softplus(-real)) + mean(F.softplus(fake))


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p of the labels, `[B]`."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    log_p = logits.log_softmax(1)[own]
    log_rest = logits.masked_fill(own, -torch.inf).logsumexp(1) - logits.logsumexp(1)
    return -torch.exp(gamma * log_rest) * log_p


def boundary_loss(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """2 - SSIM of the lines at horizontal and vertical borders between pieces, `[B]`."""
    total = torch.zeros(len(images), device=images.device)
    images = (images + 1) / 2
    for axis, number in enumerate(grid):
        if number == 1:
            continue
        x = images if axis == 0 else images.mT  # borders are rows
        height, line = x.shape[2] // number, x.shape[3] // grid[1 - axis]
        above, below = x[:, :, height - 1 : -1 : height], x[:, :, height::height]
        lines = [a.unflatten(3, (-1, line)).flatten(0, 3)[:, None] for a in (above, below)]
        total = total + 1 - ssim(*lines).view(len(images), -1).mean(1)
    return total


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of lines `[M, 1, w]` by Gaussian windows within them, `[M]`."""
    size = min(WINDOW, a.shape[2])
    offsets = torch.arange(size, device=a.device) - (size - 1) / 2
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).view(1, 1, -1)

    def local(x: Tensor) -> Tensor:
        return F.conv1d(x, window)

    centre = (a.mean(2, keepdim=True) + b.mean(2, keepdim=True)) / 2  # float32 loses fewer digits
    p, q = a - centre, b - centre
    m, n = local(p), local(q)
    variances = local(p * p) - m * m + local(q * q) - n * n
    covariance = local(p * q) - m * n
    m, n = m + centre, n + centre
    luminance = (2 * m * n + C1) / (m * m + n * n + C1)
    return (luminance * (2 * covariance + C2) / (variances + C2)).flatten(1).mean(1)
