"""GAN-INT-CLS with a fixed text encoder, as `genjax.families.gan_cls`."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers import torch_joint_embedding
from experiments.benchmarks.peers.torch_cyclegan import reversed_hwio
from experiments.benchmarks.peers.torch_gan_losses import (
    GanNetworks,
    discriminator_nats,
    generator_nats,
)
from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    dense_leaves,
    device_of,
    frozen,
    layer_leaves,
    prefixed,
    require_default_objective,
    with_weights,
)
from experiments.benchmarks.peers.torch_strided import BatchNorm
from genjax.families.gan_cls import WRONG
from genjax.families.gan_cls.text_networks import SLOPE, SMALLEST, steps

Noise = tuple[Tensor, Tensor]  # of the discriminator's update, and of the generator's


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.2."""
    return F.leaky_relu(x, SLOPE)


def conv(inputs: int, outputs: int, side: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution without bias."""
    return nn.Conv2d(inputs, outputs, side, stride, padding, bias=False)


class Named(nn.Module):
    """Layers under their Flax names; `statistics` are those of batch normalisation."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        found: dict[str, Leaves] = {}
        layers: Any = self.layers.items()
        for name, layer in layers:
            if isinstance(layer, nn.ConvTranspose2d):
                found[name] = layer_leaves(layer, reversed_hwio)
            elif isinstance(layer, nn.Conv2d):
                found[name] = conv_leaves(layer)
            else:
                found[name] = (
                    dense_leaves(layer) if isinstance(layer, nn.Linear) else layer.leaves()
                )
        return prefixed(**found)

    def statistics(self) -> Leaves:
        """Leaves of Flax's `batch_stats`."""
        layers: Any = self.layers.items()
        kept = (BatchNorm, BottleneckBlock)
        return prefixed(**{k: v.statistics() for k, v in layers if isinstance(v, kept)})


class BottleneckBlock(Named):
    """x + a 1x1 and two 3x3 convolutions with batch norm, activated after the sum."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        narrow = max(1, width // 4)
        sizes = [(width, narrow, 1), (narrow, narrow, 3), (narrow, width, 3)]
        layers: dict[str, nn.Module] = {}
        for i, (a, b, side) in enumerate(sizes):
            layers |= {f"Conv_{i}": conv(a, b, side, padding=side // 2)}
            layers |= {f"BatchNorm_{i}": BatchNorm(b)}
        super().__init__(layers)
        self.activation = activation

    def forward(self, x: Tensor, train: bool, update: bool) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        y = x
        for i in range(3):
            y = self.layers[f"Conv_{i}"](self.activation(y) if i else y)
            y = self.layers[f"BatchNorm_{i}"](y, train, update)
        return self.activation(x + y)


class Generator(Named):
    """Noise `[B, Z]` and embeddings `[B, E]` to images `[B, C, S, S]` in (-1, 1)."""

    def __init__(self, c: Any) -> None:
        number = steps(c.shape[0])
        widths = [c.width << i for i in reversed(range(number))]
        layers: dict[str, nn.Module] = {
            "text": nn.Linear(c.embedding.embedding, c.text_width),
            "Dense_0": nn.Linear(c.latent + c.text_width, SMALLEST**2 * widths[0], bias=False),
        }
        for i, (width, after) in enumerate(zip(widths, [*widths[1:], c.shape[-1]], strict=True)):
            layers[f"BatchNorm_{i}"] = BatchNorm(width)
            layers[f"ConvTranspose_{i}"] = nn.ConvTranspose2d(width, after, 4, 2, 1, bias=False)
            if i < 2:
                layers[f"BottleneckBlock_{i}"] = BottleneckBlock(width, F.relu)
        super().__init__(layers)
        self.steps = number

    def forward(self, z: Tensor, text: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        layers = self.layers
        x = layers["Dense_0"](torch.cat([z, leaky_relu(layers["text"](text))], 1))
        x = x.unflatten(1, (SMALLEST, SMALLEST, -1)).permute(0, 3, 1, 2)
        for i in range(self.steps):
            x = layers[f"BatchNorm_{i}"](x, train, update)
            x = layers[f"BottleneckBlock_{i}"](x, train, update) if i < 2 else F.relu(x)
            x = layers[f"ConvTranspose_{i}"](x)
        return torch.tanh(x)


class Discriminator(Named):
    """Images `[B, C, S, S]` and embeddings `[B, E]` to logits `[B]`."""

    def __init__(self, c: Any) -> None:
        number = steps(c.shape[0])
        widths = [c.shape[-1], *(c.discriminator_width << i for i in range(number))]
        last, layers = widths[-1], dict[str, nn.Module]()
        for i in range(number):
            layers[f"Conv_{i}"] = conv(widths[i], widths[i + 1], 4, 2, 1)
            if i:
                layers[f"BatchNorm_{i - 1}"] = BatchNorm(widths[i + 1])
        layers["BottleneckBlock_0"] = BottleneckBlock(last, leaky_relu)
        layers["text"] = nn.Linear(c.embedding.embedding, c.text_width, bias=False)
        layers[f"BatchNorm_{number - 1}"] = BatchNorm(c.text_width)
        layers[f"Conv_{number}"] = conv(last + c.text_width, last, 1)
        layers[f"BatchNorm_{number}"] = BatchNorm(last)
        layers[f"Conv_{number + 1}"] = conv(last, 1, SMALLEST)
        super().__init__(layers)
        self.steps = number

    def forward(self, x: Tensor, text: Tensor, train: bool = False, update: bool = False) -> Tensor:
        """See `torch_strided.BatchNorm`."""
        layers, number = self.layers, self.steps
        for i in range(number):
            x = layers[f"Conv_{i}"](x)
            x = layers[f"BatchNorm_{i - 1}"](x, train, update) if i else x
            x = leaky_relu(x) if i == 0 or i < number - 2 else x
        x = layers["BottleneckBlock_0"](x, train, update)
        words = layers[f"BatchNorm_{number - 1}"](layers["text"](text), train, update)
        planes = leaky_relu(words)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = layers[f"Conv_{number}"](torch.cat([x, planes], 1))
        x = leaky_relu(layers[f"BatchNorm_{number}"](x, train, update))
        return layers[f"Conv_{number + 1}"](x)[:, 0, 0, 0].float()


class TextGan(GanNetworks):
    """Generator, discriminator and the text encoder, whose weights are fixed."""

    def __init__(self, c: Any, embedding: torch_joint_embedding.JointEmbedding) -> None:
        super().__init__(Generator(c), Discriminator(c))
        self.embedding = frozen(embedding)

    @torch.no_grad()
    def embed(self, text: Tensor) -> Tensor:
        """Texts `[B, T]`, or means of K captions `[B, K, T]`, to `[B, E]`."""
        x = self.embedding.embed_text(text.flatten(0, -2))
        x = x * (x.square().mean(1, keepdim=True) + 1e-12).rsqrt()
        return x.unflatten(0, (len(text), -1)).mean(1)


def build(config: Any, variables: Any = None) -> TextGan:
    """Builds the networks, with Flax's weights if they are given."""
    require_default_objective("gan_cls", config)
    part = None if variables is None else variables["buffers"]["embedding"]
    embedding = torch_joint_embedding.build(config.embedding, part)
    return with_weights(TextGan(config, embedding), variables)


def draw(network: TextGan, config: Any, n: int) -> Tensor:
    """z, `[n, Z]`."""
    return torch.randn(n, config.latent, device=device_of(network))


def discriminator_loss(
    network: TextGan, config: Any, batch: dict[str, Tensor], noise: Noise | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of right, wrong and generated images, `[B]`; also the embeddings."""
    x, captions = batch["x"].permute(0, 3, 1, 2), batch["text"]
    text = network.embed(captions)
    z = draw(network, config, len(x)) if noise is None else noise[0]
    with torch.no_grad():
        fake = network.generator(z, text, train=True)

    def d(images: Tensor) -> Tensor:
        return network.discriminator(images, text, train=True, update=True)

    real = d(x)
    wrong = d(x.roll(-1, 0)) if config.matching_aware else None
    total = discriminator_nats(real, d(fake))
    if wrong is not None:
        equal = (captions[:, :, None] == captions.roll(-1, 0)[:, None]).all(3)
        share = WRONG * (~equal.flatten(1).any(1)).float()
        total = (1 - share) * total + share * discriminator_nats(real, wrong)
    return total, text


def generator_loss(
    network: TextGan, config: Any, batch: dict[str, Any], noise: Noise | None = None
) -> Tensor:
    """Loss of texts and midpoints, `[B]`; half of a midpoint's is in each of its two rows."""
    text = batch["outputs"] if "outputs" in batch else network.embed(batch["text"])
    size = len(text)
    half = size // 2 if config.interpolation else 0
    at = config.interpolation_at
    text = torch.cat([text, at * text[:half] + (1 - at) * text[half : 2 * half]])
    z = draw(network, config, size + half) if noise is None else noise[1]
    images = network.generator(z, text, train=True, update=True)
    each = generator_nats(network.discriminator(images, text, train=True))
    if not half:
        return each
    own = F.pad(each[size:].repeat(2), (0, size - 2 * half)) / 2
    return (each[:size] + config.interpolation * own) * (size / (size + half))


@torch.inference_mode()
def sample(network: TextGan, config: Any, n: int) -> Tensor:
    """Images of n texts, `[n, *shape]` in [-1, 1], by running statistics."""
    size = (n, config.embedding.text_length)
    text = network.embed(torch.ones(size, dtype=torch.long, device=device_of(network)))
    return network.generator(draw(network, config, n), text).float().permute(0, 2, 3, 1)
