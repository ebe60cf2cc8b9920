"""Functions shared by the peers: Flax arrays as tensors, layers, losses in nats."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genjax.nn.causal import kernel_mask

# A tensor, and the layout that maps it (or its gradient) to the Flax array.
Layout = Callable[[Tensor], Tensor]
Leaves = dict[str, tuple[Tensor, Layout]]


def same(t: Tensor) -> Tensor:
    """Returns the tensor: layouts agree."""
    return t


def transposed(t: Tensor) -> Tensor:
    """`[out, in] -> [in, out]`."""
    return t.t()


def hwio(t: Tensor) -> Tensor:
    """Maps a convolution's `[O, I, h, w]` to Flax's `[h, w, I, O]`."""
    return t.permute(2, 3, 1, 0)


def layer_leaves(layer: Any, kernel: Layout = same) -> Leaves:
    """Returns a layer's `weight` as Flax's `kernel`, and its `bias` if it has one."""
    found: Leaves = {"kernel": (layer.weight, kernel)}
    if isinstance(layer.bias, Tensor):
        found["bias"] = (layer.bias, same)
    return found


def dense_leaves(layer: Any) -> Leaves:
    """Leaves of a `Dense`."""
    return layer_leaves(layer, transposed)


def conv_leaves(layer: Any) -> Leaves:
    """Leaves of a `Conv`."""
    return layer_leaves(layer, hwio)


def prefixed(**parts: Leaves) -> Leaves:
    """Prefixes leaves with the names of their parts: `{"out/kernel": ...}`."""
    return {f"{name}/{k}": v for name, leaves in parts.items() for k, v in leaves.items()}


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Flattens a tree of arrays to `{"a/b/kernel": array}`."""
    found: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = np.asarray(value)
    return found


@torch.no_grad()
def load(leaves: Leaves, tree: Mapping[str, Any]) -> None:
    """Copies the arrays of one Flax collection to tensors.

    Raises:
      ValueError: the leaves differ.
    """
    arrays = flattened(tree)
    differ = sorted(arrays.keys() ^ leaves.keys())
    if differ:
        raise ValueError(f"the leaves of the arrays and of the network differ: {differ}.")
    for path, (tensor, layout) in leaves.items():
        # A layout is a permutation: apply it to indices, and invert it.
        places = layout(torch.arange(tensor.numel()).reshape(tensor.shape))
        values = torch.from_numpy(np.array(arrays[path]))
        if places.shape != values.shape:
            raise ValueError(
                f"{path} has shape {list(values.shape)}; the network needs {list(places.shape)}."
            )
        flat = torch.empty(tensor.numel(), dtype=tensor.dtype)
        flat[places.reshape(-1)] = values.reshape(-1).to(tensor.dtype)
        tensor.copy_(flat.reshape(tensor.shape))


def with_weights(network: Any, variables: Mapping[str, Any] | None) -> Any:
    """Returns the network, with Flax's variables if they are given."""
    if variables is not None:
        load(network.leaves(), variables["params"])
        if "batch_stats" in variables:
            load(network.statistics(), variables["batch_stats"])
    return network


def frozen(network: Any) -> Any:
    """Returns a network whose parameters have become buffers, which are not trained."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    return network


def require(family: str, config: Any, **values: Any) -> None:
    """Checks that fields of a Config have the values that the peer supports.

    Raises:
      ValueError: one has another value.
    """
    for name, value in values.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"{family}: the peer in PyTorch supports only {name}={value!r}, not"
                f" {getattr(config, name)!r}."
            )


def require_default_objective(family: str, config: Any) -> None:
    """Checks that a GAN has the default objective.

    Raises:
      ValueError: it has another loss, or penalties.
    """
    if config.objective != type(config.objective)():
        raise ValueError(f"{family}: the peer in PyTorch supports only the default GanObjective.")


class CausalConv(nn.Conv2d):
    """Masked convolution over earlier pixels, see `genjax.nn.causal.CausalConv`."""

    mask: Tensor | None

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        height: int = 1,
        width: int = 1,
        top: int = 0,
        left: int = 0,
        kind: Any = "B",
    ) -> None:
        super().__init__(len(inputs), len(outputs), (height, width))
        # Left, right, top, bottom; negative margins crop.
        self.margin = (left, width - 1 - left, top, height - 1 - top)
        mask = kernel_mask(height, width, left, np.asarray(inputs), np.asarray(outputs), kind)
        oihw = torch.from_numpy(mask).permute(3, 2, 0, 1).contiguous()
        self.register_buffer("mask", None if mask.all() else oihw, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, I, H, W] -> [B, O, H, W]`."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        return F.conv2d(F.pad(x, self.margin), weight, self.bias)


class MLP(nn.Module):
    """Dense hidden layers and a linear output."""

    def __init__(self, inputs: int, hidden: Sequence[int], out: int, activation: str) -> None:
        super().__init__()
        sizes = [inputs, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.out = nn.Linear(sizes[-1], out)
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs] -> [..., out]`."""
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.out(x)

    def leaves(self) -> Leaves:
        """See `torch_layers.Leaves`."""
        hidden = {f"hidden_{i}": dense_leaves(layer) for i, layer in enumerate(self.hidden)}
        return prefixed(**hidden, out=dense_leaves(self.out))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
}


def sum_event(nats: Tensor) -> Tensor:
    """`[B, ...] -> [B]`."""
    return nats.flatten(1).sum(1)


def bernoulli_nats(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x), elementwise."""
    return F.binary_cross_entropy_with_logits(logits.float(), x, reduction="none")


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x), `[B]`."""
    return sum_event(bernoulli_nats(logits, x))


def conditional_nats(logits: Tensor, x: Tensor, levels: int) -> Tensor:
    """-log p(x_d | x before d): logits `[B, *shape]`, or `[B, *shape, levels]`."""
    if levels == 2:
        return bernoulli_nats(logits, x)
    nats = F.cross_entropy(
        logits.reshape(-1, levels).float(), x.reshape(-1).long(), reduction="none"
    )
    return nats.reshape(x.shape)


def draw_values(logits: Tensor, levels: int) -> Tensor:
    """Values of conditionals whose logits are `[B]`, or `[B, levels]`: `[B]`."""
    if levels == 2:
        return torch.bernoulli(torch.sigmoid(logits.float()))
    return torch.multinomial(F.softmax(logits.float(), -1), 1)[:, 0].float()


def gaussian_nats(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """-log density, elementwise."""
    z = (x - mean) * torch.exp(-log_std)
    return 0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi)


def standard_kl(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)), elementwise."""
    return 0.5 * (torch.exp(2 * log_std) + mean**2 - 1) - log_std


def scaled(x: Tensor, levels: int) -> Tensor:
    """Levels to [-1, 1], NHWC to NCHW."""
    return (2 * x / (levels - 1) - 1).permute(0, 3, 1, 2)


def device_of(network: nn.Module) -> torch.device:
    """Returns the device of a network."""
    return next(network.parameters()).device
