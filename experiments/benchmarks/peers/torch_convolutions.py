"""Times one convolution in PyTorch: value, gradient by the input, gradient by the kernel.

Prints milliseconds, those of the memory layout with the smaller sum. PyTorch pads both sides of an
axis alike; where they differ, the maps are padded before, outside of the measurement.
"""

import sys
from typing import Any

import torch
import torch.nn.functional as F

from experiments.benchmarks.reporting import least
from genjax.cli.options import keep_freed_memory


def times(numbers: list[int], seconds: float, layout: torch.memory_format) -> list[float]:
    """Returns the milliseconds of the three parts."""
    batch, side, inputs, outputs, height, width, stride, *around = numbers
    top, bottom, left, right = around
    x = torch.randn(batch, inputs, side, side)
    pads = [top, left]
    if top != bottom or left != right:
        x, pads = F.pad(x, (left, right, top, bottom)), [0, 0]
    x = x.to(memory_format=layout)
    kernel = torch.randn(outputs, inputs, height, width).to(memory_format=layout)
    strides = [stride, stride]

    def value() -> torch.Tensor:
        return F.conv2d(x, kernel, None, strides, pads)

    g = torch.randn_like(value())

    def gradient(*of: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            g, x, kernel, None, strides, pads, [1, 1], False, [0, 0], 1, [*of, False]
        )

    calls = [value, lambda: gradient(True, False), lambda: gradient(False, True)]
    return [least(call, seconds) for call in calls]


if __name__ == "__main__":
    keep_freed_memory()
    *words, limit = sys.argv[1:]
    sizes = [int(word) for word in words]
    layouts = (torch.channels_last, torch.contiguous_format)
    print(*min((times(sizes, float(limit), layout) for layout in layouts), key=sum))
