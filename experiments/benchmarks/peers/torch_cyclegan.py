"""CycleGAN: residual generators, discriminators of patches and pools of past translations.

As `genjax.families.cyclegan`: images pass through a network together, and both losses are computed
before the simultaneous updates. Only data and translations are NHWC.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers.torch_layers import (
    Leaves,
    conv_leaves,
    flattened,
    layer_leaves,
    prefixed,
    require,
    same,
    with_weights,
)
from genjax.families.cyclegan import DOMAINS
from genjax.nn.translation import DOUBLINGS, SLOPE


def reversed_hwio(t: Tensor) -> Tensor:
    """Maps a transposed convolution's `[I, O, h, w]` to the `[h, w, I, O]` of its dilated input."""
    return t.permute(2, 3, 0, 1).flip(0, 1)


def named_layers(layers: Any) -> dict[str, Any]:
    """Names layers as Flax does, by kind and number."""
    counts: dict[str, itertools.count] = {}
    names = {nn.Conv2d: "Conv", nn.ConvTranspose2d: "ConvTranspose"}
    names[nn.InstanceNorm2d] = "InstanceNorm"
    found = {}
    for layer in layers:
        kind = names[type(layer)]
        found[f"{kind}_{next(counts.setdefault(kind, itertools.count()))}"] = layer
    return found


def leaves_of(layers: Any) -> Leaves:
    """Returns the leaves of convolutions, transposed ones and affine normalisations in order."""
    found = {}
    for name, layer in named_layers(layers).items():
        if isinstance(layer, nn.ConvTranspose2d):
            found[name] = layer_leaves(layer, reversed_hwio)
        elif isinstance(layer, nn.Conv2d):
            found[name] = conv_leaves(layer)
        elif layer.affine:
            found[name] = {"scale": (layer.weight, same), "bias": (layer.bias, same)}
    return prefixed(**found)


class Generator(nn.Module):
    """`[B, C, H, W] -> [B, C, H, W]` in (-1, 1)."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        width, side, channels = c.width, c.kernel, c.shape[-1]
        widest = width * 2**c.downs
        self.resize = c.upsampling == "resize"
        self.first = nn.Conv2d(channels, width, side)
        self.downs = nn.ModuleList(
            nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 3, 2, 1) for i in range(c.downs)
        )
        self.blocks = nn.ModuleList(nn.Conv2d(widest, widest, 3) for _ in range(2 * c.blocks))
        sizes = [(width * 2 ** (i + 1), width * 2**i) for i in reversed(range(c.downs))]
        self.ups = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1)
            if self.resize
            else nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1)
            for a, b in sizes
        )
        self.last = nn.Conv2d(width, channels, side)
        self.margin = (side // 2,) * 4

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = active(self.first(F.pad(x, self.margin, mode="reflect")))
        for down in self.downs:
            x = active(down(x))
        one = (1, 1, 1, 1)
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            y = active(first(F.pad(x, one, mode="reflect")))
            x = x + F.instance_norm(second(F.pad(y, one, mode="reflect")))
        for up in self.ups:
            x = active(up(F.interpolate(x, scale_factor=2) if self.resize else x))
        return torch.tanh(self.last(F.pad(x, self.margin, mode="reflect")))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return leaves_of([self.first, *self.downs, *self.blocks, *self.ups, self.last])


def active(x: Tensor) -> Tensor:
    """ReLU of instance normalisation."""
    return F.relu(F.instance_norm(x))


class Discriminator(nn.Module):
    """`[B, C, H, W] -> logits of patches [B, h, w]`."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        layers = c.discriminator_layers
        widths = [c.discriminator_width * 2 ** min(i, DOUBLINGS) for i in range(layers + 1)]
        sizes = itertools.pairwise([c.shape[-1], *widths, 1])
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2 if i < layers else 1, 1) for i, (a, b) in enumerate(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            x = F.leaky_relu(F.instance_norm(x) if i else x, SLOPE)
        return self.layers[-1](x)[:, 0]

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        return leaves_of(self.layers)


class Networks(nn.Module):
    """Both generators and discriminators, and the pools."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({name: Generator(c) for name in ("ab", "ba")})
        self.discriminators = nn.ModuleDict({name: Discriminator(c) for name in DOMAINS})
        for domain in DOMAINS if c.pool else ():
            height, width, channels = c.shape
            self.register_buffer(f"images_{domain}", torch.zeros(c.pool, channels, height, width))
            self.register_buffer(f"count_{domain}", torch.zeros((), dtype=torch.int64))

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        parts = {"generators": self.generators, "discriminators": self.discriminators}
        networks = {
            f"{name}/{part}": network
            for name, modules in parts.items()
            for part, network in modules.items()
        }
        return prefixed(**{name: network.leaves() for name, network in networks.items()})


def build(config: Any, variables: Any = None) -> Networks:
    """Builds the networks, with Flax's weights and pools if they are given."""
    require("cyclegan", config, generator="resnet", discriminator="patch")
    require("cyclegan", config.objective, loss="least_squares")
    network = with_weights(Networks(config), variables)
    if variables is not None and config.pool:
        for path, values in flattened(variables["buffers"]["discriminators"]).items():
            domain, name = path.split("/")
            tensor = torch.from_numpy(values.copy())
            tensor = to_maps(tensor) if name == "images" else tensor
            getattr(network, f"{name}_{domain}").copy_(tensor)
    return network


def to_maps(x: Tensor) -> Tensor:
    """NHWC to NCHW."""
    return x.permute(0, 3, 1, 2)


def together(network: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Applies a network to several batches in one pass."""
    return network(torch.cat(inputs)).chunk(len(inputs))


def mean(x: Tensor) -> Tensor:
    """Returns the mean of each example, `[B, ...] -> [B]`."""
    return x.flatten(1).mean(1)


def generators_loss(
    network: Networks, config: Any, batch: dict[str, Any], noise: None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Adversarial, cycle and identity losses, `[B]`, and the translations `a` and `b`."""
    del noise
    ab, ba = network.generators["ab"], network.generators["ba"]
    a, b = to_maps(batch["x"]), to_maps(batch["y"])
    identity_b = [b] if config.identity * config.cycle_b else []
    identity_a = [a] if config.identity * config.cycle_a else []
    cycled = config.cycle_a > 0
    fake_b, *same_b = together(ab, a, *identity_b)
    fake_a, *rest = together(ba, b, *identity_a, *([fake_b] if cycled else []))
    total = torch.zeros(len(a), device=a.device)
    if cycled:
        total = total + config.cycle_a * mean((rest[-1] - a).abs())
    if config.cycle_b:
        total = total + config.cycle_b * mean((ab(fake_a) - b).abs())
    if identity_a:
        total = total + config.identity * config.cycle_a * mean((rest[0] - a).abs())
    if identity_b:
        total = total + config.identity * config.cycle_b * mean((same_b[0] - b).abs())
    fakes = {"a": fake_a, "b": fake_b}
    for domain in DOMAINS if config.adversarial else ():
        logits = network.discriminators[domain](fakes[domain]).float()
        total = total + config.adversarial * mean((logits - 1) ** 2)
    return total, {domain: fake.detach() for domain, fake in fakes.items()}


def discriminators_loss(
    network: Networks, config: Any, batch: dict[str, Any], noise: Any = None
) -> Tensor:
    """Half of both squared errors, `[B]`; `noise` has swaps and slots of the pools by domain."""
    real = {"a": to_maps(batch["x"]), "b": to_maps(batch["y"])}
    fakes = batch.get("outputs")
    if fakes is None:
        with torch.no_grad():
            fakes = {"a": network.generators["ba"](real["b"])}
            fakes["b"] = network.generators["ab"](real["a"])
    total = torch.zeros(len(batch["x"]), device=batch["x"].device)
    for domain in DOMAINS:
        fake = fakes[domain]
        if config.pool:
            fake = query_pool(network, domain, fake, (noise or {}).get(domain))
        on_real, on_fake = together(network.discriminators[domain], real[domain], fake)
        loss = mean((on_real.float() - 1) ** 2) + mean(on_fake.float() ** 2)
        total = total + loss / 2
    return total


@torch.no_grad()
@torch.compiler.disable
def query_pool(network: Networks, domain: str, images: Tensor, noise: Any) -> Tensor:
    """Exchanges images with a pool one after another; `noise` is swaps and slots, or None."""
    pool, count = getattr(network, f"images_{domain}"), getattr(network, f"count_{domain}")
    swaps, slots = (torch.rand(len(images)) < 0.5, torch.randint(len(pool), (len(images),)))
    swaps, slots = (swaps, slots) if noise is None else noise
    out = []
    for image, swap, slot in zip(images, swaps.tolist(), slots.tolist(), strict=True):
        stored = int(count)
        if stored < len(pool):
            pool[stored] = image
            count += 1
        elif swap:
            image, pool[slot] = pool[slot].clone(), image.clone()
        out.append(image)
    return torch.stack(out)
