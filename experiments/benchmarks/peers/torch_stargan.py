"""StarGAN: a generator with label planes, and a critic with a head for attributes.

As `genjax.families.stargan`, with one set of binary attributes: the penalty bounds the gradient of
the sum over patches, and the generator's update has the targets of the last critic update. Only
data and translations are NHWC.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_cyclegan import leaves_of, mean, to_maps
from experiments.benchmarks.peers.torch_gan_losses import GanNetworks, squares
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    prefixed,
    require,
    with_weights,
)
from genjax.families.stargan import SLOPE, side_multiple


class Generator(nn.Module):
    """`[B, C, H, W], attributes [B, A] -> [B, C, H, W]` in (-1, 1)."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        width, channels = c.width, c.shape[-1]
        widest = width * 2**c.downs
        self.downs, self.blocks, self.ups = (nn.ModuleList() for _ in range(3))
        options: dict[str, Any] = {"bias": False}
        inputs = channels + len(c.attributes)
        self.downs.extend(normalized(nn.Conv2d(inputs, width, 7, padding=3, **options)))
        for i in range(c.downs):
            a, b = width * 2**i, width * 2 ** (i + 1)
            self.downs.extend(normalized(nn.Conv2d(a, b, 4, 2, 1, **options)))
        for i in reversed(range(c.downs)):
            a, b = width * 2**i, width * 2 ** (i + 1)
            self.ups.extend(normalized(nn.ConvTranspose2d(b, a, 4, 2, 1, **options)))
        for _ in range(2 * c.blocks):
            self.blocks.extend(normalized(nn.Conv2d(widest, widest, 3, padding=1, **options)))
        self.last = nn.Conv2d(width, channels, 7, padding=3, **options)

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        """See the class."""
        planes = attributes[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = torch.cat([x, planes], 1)
        for i in range(0, len(self.downs), 2):
            x = F.relu(self.downs[i + 1](self.downs[i](x)))
        for i in range(0, len(self.blocks), 4):
            first, norm, second, last = self.blocks[i : i + 4]
            x = x + last(second(F.relu(norm(first(x)))))
        for i in range(0, len(self.ups), 2):
            x = F.relu(self.ups[i + 1](self.ups[i](x)))
        return torch.tanh(self.last(x))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return leaves_of([*self.downs, *self.blocks, *self.ups, self.last])


def normalized(layer: Any) -> list[nn.Module]:
    """Returns a convolution and its instance normalisation."""
    return [layer, nn.InstanceNorm2d(layer.out_channels, affine=True)]


class Discriminator(nn.Module):
    """`[B, C, H, W] -> logits of patches [B, h, w], of attributes [B, A]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        height, width, layers = c.shape[0], c.shape[1], c.discriminator_layers
        widths = [c.shape[-1], *(c.discriminator_width * 2**i for i in range(layers))]
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, 2, 1) for i in range(layers)
        )
        self.patches = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        whole = (height // 2**layers, width // 2**layers)
        self.attributes = nn.Conv2d(widths[-1], len(c.attributes), whole, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.patches(x)[:, 0].float(), self.attributes(x)[:, :, 0, 0].float()

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        heads = {"patches": self.patches, "attributes": self.attributes}
        return leaves_of(self.layers) | prefixed(
            **{name: conv_leaves(head) for name, head in heads.items()}
        )


def build(config: Any, variables: Any = None) -> GanNetworks:
    """Builds both networks, with Flax's weights if they are given.

    Raises:
      ValueError: the peer does not support a setting or a size.
    """
    require("stargan", config, classification="binary", second_attributes=(), output="image")
    require("stargan", config.objective, loss="wasserstein", r1=0.0, r2=0.0, drift=0.0)
    require("stargan", config.objective, penalty_target=1.0, one_sided_penalty=False)
    multiple = max(side_multiple(config), 2**config.discriminator_layers)
    if any(side % multiple for side in config.shape[:2]):
        raise ValueError(f"stargan: the peer in PyTorch needs sides that divide by {multiple}.")
    return with_weights(GanNetworks(Generator(config), Discriminator(config)), variables)


def discriminator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Any], noise: Any = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Critic, penalty and classification, `[B]`, and `targets`; `noise` is permutation and mix."""
    x, own, d = to_maps(batch["x"]), batch["attributes"].float(), network.discriminator
    order, share = noise or (torch.randperm(len(x)), torch.rand(len(x)))
    targets = own[order.to(x.device)]
    with torch.no_grad():
        fake = network.generator(x, targets)
    (on_real, labels), (on_fake, _) = d(x), d(fake)
    total = mean(on_fake) - mean(on_real)
    if config.objective.gradient_penalty:
        share = share.to(x.device).view(-1, 1, 1, 1)
        between = share * x + (1 - share) * fake
        slope = squares(lambda x, update: d(x)[0], between).sqrt()
        total = total + config.objective.gradient_penalty * (slope - 1) ** 2
    return total + config.classification_weight * nats(labels, own), {"targets": targets}


def generator_loss(
    network: GanNetworks, config: Any, batch: dict[str, Any], noise: Any = None
) -> Tensor:
    """Critic, classification and reconstruction, `[B]`; without outputs `noise` orders targets."""
    x, own = to_maps(batch["x"]), batch["attributes"].float()
    outputs = batch.get("outputs")
    if outputs is None:
        outputs = {"targets": own[noise[0] if noise else torch.randperm(len(x))]}
    targets = outputs["targets"]
    fake = network.generator(x, targets)
    on_fake, labels = network.discriminator(fake)
    reconstruction = mean((x - network.generator(fake, own)).abs())
    total = config.classification_weight * nats(labels, targets) - mean(on_fake)
    return total + config.reconstruction * reconstruction


def nats(logits: Tensor, attributes: Tensor) -> Tensor:
    """-log p(attributes), `[B]`."""
    return F.binary_cross_entropy_with_logits(logits, attributes, reduction="none").sum(1)
