"""Times the layers of `experiments.benchmarks.layers` in PyTorch, eagerly, on a CPU.

    python -m experiments.benchmarks.peers.time_layers '["blur pooling"]' 0.5

Maps are in the faster of PyTorch's two layouts.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmarks.layers import LAYERS, Shapes, best_times, describe, make_arguments
from genjax.cli.options import keep_freed_memory

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def main(argv: list[str]) -> int:
    """Prints the cells of each layer as JSON and returns the exit status."""
    keep_freed_memory()
    names, seconds = json.loads(argv[0]), float(argv[1])
    cells = {name: [cell(name, s, seconds) for s in LAYERS[name].shapes] for name in names}
    print(json.dumps(cells))
    return 0


def cell(name: str, shapes: Shapes, seconds: float) -> str:
    """Returns the milliseconds of a layer for one shape, see `layers.describe`."""
    form = FORMS[name]
    times = []
    for kind in (value, gradients, penalty)[: 3 if len(shapes) > 1 else 2]:
        calls = {str(layout): kind(form, tensors(shapes, layout)) for layout in LAYOUTS}
        times.append(min(best_times(calls, lambda output: output, seconds).values()))
    return describe(times)


def tensors(shapes: Shapes, layout: torch.memory_format) -> list[Tensor]:
    """Returns maps `[B, C, H, W]`, and a kernel `[O, I, h, w]` if there is one."""
    arrays = [np.array(a) for a in make_arguments(shapes)]
    axes = [(0, 3, 1, 2), (3, 2, 0, 1)]
    return [
        torch.from_numpy(a.transpose(order).copy()).to(memory_format=layout).requires_grad_()
        for a, order in zip(arrays, axes, strict=False)
    ]


def value(form: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], Any]:
    """Returns the call of a layer."""
    return torch.inference_mode()(lambda: form(*given))


def gradients(form: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], Any]:
    """Returns the call of a layer with its gradients by all arguments."""
    cotangent = torch.randn_like(form(*given))

    def run() -> Any:
        output = form(*given)
        return output, torch.autograd.grad(output, given, cotangent)

    return run


def penalty(form: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], Any]:
    """Returns the call of the gradients of the squared gradient by the maps."""
    cotangent = torch.randn_like(form(*given)).requires_grad_()

    def run() -> Any:
        output = form(*given)
        grad = torch.autograd.grad(output, given[0], cotangent, create_graph=True)[0]
        return torch.autograd.grad(grad.square().sum(), (cotangent, given[1]))

    return run


def _pixel_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def _reflect(x: Tensor, size: int) -> Tensor:
    return F.pad(x, (size, size, size, size), mode="reflect")


def _nearest(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _taps(x: Tensor, scale: float) -> Tensor:
    taps = torch.tensor([1.0, 2.0, 1.0]) * scale
    return torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)


FORMS: dict[str, Callable[..., Tensor]] = {
    "instance norm": F.instance_norm,
    "pixel norm": _pixel_norm,
    "reflection padding by 3": lambda x: _reflect(x, 3),
    "reflection padding by 1": lambda x: _reflect(x, 1),
    "zero padding by 1": lambda x: F.pad(x, (1, 1, 1, 1)),
    "nearest upsampling": _nearest,
    "linear upsampling": lambda x: F.conv_transpose2d(
        x, _taps(x, 0.5), stride=2, padding=0, groups=x.shape[1]
    ),
    "average pooling": lambda x: F.avg_pool2d(x, 2),
    "blur pooling": lambda x: F.conv2d(x, _taps(x, 0.25), stride=2, padding=1, groups=x.shape[1]),
    "upsampling, then 3x3": lambda x, k: F.conv2d(_nearest(x), k, padding=1),
    "3x3, then average pooling": lambda x, k: F.avg_pool2d(F.conv2d(x, k, padding=1), 2),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
