"""Times convolutions and both of their gradients in every form, and beside PyTorch.

    JAX_PLATFORMS=cpu python -m experiments.benchmarks.convolutions
    JAX_PLATFORMS=cpu python -m experiments.benchmarks.convolutions --only "4x4 stride 2"

The rule of `genjax.nn.conv_forms.select` follows this table (`docs/performance.md`). Every cell is
the least of several runs in milliseconds: value, gradient by the input, gradient by the kernel.
`[x]` is the form that genjax selects. "XLA" is `jax.lax.conv_general_dilated` alone: with padding
as an argument, or before the convolution for causal layers. PyTorch runs eagerly, in the faster of
its two memory layouts, if it is installed.
"""

import dataclasses
import functools
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import reporting
from genjax.cli.options import keep_freed_memory
from genjax.nn import conv_forms, winograd
from genjax.nn.conv_forms import NHWC, Pads
from genjax.nn.padding import pad_or_crop

PARTS = ("value", "by input", "by kernel")
FORMS = ("direct", "winograd", "patches", "bands", "bands_transposed", "phases")


@dataclasses.dataclass(frozen=True)
class Case:
    """A convolution of square maps."""

    batch: int
    side: int
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str | Pads = "SAME"

    @property
    def name(self) -> str:
        """Kernel, features and maps."""
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        causal = "" if isinstance(self.padding, str) else " causal"
        size = f"{self.kernel[0]}x{self.kernel[1]}{stride}{causal}"
        sides = f"{self.batch}x{self.side}x{self.side}"
        return f"{size}, {self.inputs} to {self.outputs}, {sides}"

    @property
    def strides(self) -> tuple[int, int]:
        """Of rows and columns."""
        return (self.stride, self.stride)

    @property
    def pads(self) -> Pads:
        """Zeros before and after."""
        if not isinstance(self.padding, str):
            return self.padding
        sides = (self.side, self.side)
        rows, columns = jax.lax.padtype_to_pads(sides, self.kernel, self.strides, self.padding)
        return (rows[0], rows[1]), (columns[0], columns[1])


CAUSAL = ((1, 0), (1, 1))
CASES = (
    Case(32, 28, 64, 64, (3, 3)),
    Case(8, 64, 32, 32, (3, 3)),
    Case(32, 8, 256, 256, (3, 3)),
    Case(1, 16, 256, 256, (3, 3)),
    Case(16, 64, 3, 64, (7, 7)),
    Case(16, 64, 64, 3, (7, 7)),
    Case(8, 8, 256, 512, (4, 4)),
    Case(32, 28, 64, 64, (2, 3), padding=CAUSAL),
    Case(32, 28, 32, 32, (2, 3), padding=CAUSAL),
    Case(32, 28, 64, 128, (1, 1)),
    Case(1, 64, 64, 128, (3, 3), 2),
    Case(16, 32, 64, 128, (3, 3), 2),
    Case(32, 32, 64, 128, (4, 4), 2),
    Case(32, 16, 128, 256, (4, 4), 2),
    Case(32, 64, 3, 64, (4, 4), 2),
    Case(16, 4, 512, 1024, (4, 4), 2),
    Case(32, 64, 3, 128, (5, 5), 2),
    Case(32, 32, 128, 256, (5, 5), 2),
    Case(32, 16, 256, 512, (5, 5), 2),
    Case(32, 8, 512, 1024, (5, 5), 2),
)


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m experiments.benchmarks.convolutions`."""
    keep_freed_memory()
    parser = reporting.make_parser("convolutions", __doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    parser.add_argument("--seconds", type=float, default=0.25, help="for each cell")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file of the figures")
    options = parser.parse_args(argv)
    cases = [case for case in CASES if options.only in case.name]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        parser.error(f"--only {options.only!r} matches none of: {names}")
    reporting.prepare_out(options.out)

    def parts(name: str) -> Any:
        case = next(c for c in cases if c.name == name)
        yield {"genjax": times(case, options.seconds)}
        yield {"pytorch": torch_times(case, options.seconds)}

    found = reporting.measure_rows(
        parts, [c.name for c in cases], reporting.provenance(options), options.out
    )
    print("\n".join(markdown(found, {c.name: c for c in cases})))
    return int(any("error" in row for row in found))


def times(case: Case, seconds: float) -> dict[str, list[float]]:
    """Returns the milliseconds of every form: value, gradient by the input, by the kernel."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    x = normal(case.batch, case.side, case.side, case.inputs)
    kernel = normal(*case.kernel, case.inputs, case.outputs)
    sides = conv_forms.output_sides(x, kernel, case.strides, case.pads)
    g = normal(case.batch, *sides, case.outputs)

    def by_xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding: Any = case.pads
        if not isinstance(case.padding, str):
            x, padding = pad_or_crop(x, case.pads), "VALID"
        return jax.lax.conv_general_dilated(
            x, kernel, case.strides, padding, dimension_numbers=NHWC
        )

    found = {"XLA": measure(by_xla, x, kernel, g, seconds)}
    for name in FORMS:
        if not applies(name, case):
            continue
        settings: dict[str, Any] = {"strides": case.strides, "pads": case.pads, "precision": None}
        form = functools.partial(getattr(conv_forms, name), **settings)
        found[name] = measure(form, x, kernel, g, seconds)
    return found


def applies(form: str, case: Case) -> bool:
    """Returns whether a form computes a case."""
    if form == "winograd":
        return winograd.is_supported(case.kernel, case.strides) and case.inputs > 3
    if form.startswith("bands"):
        few = case.inputs if form == "bands" else case.outputs
        return case.stride == 1 and few < conv_forms.FEW_INPUTS
    return case.stride > 1 or form != "phases"


def measure(
    layer: Callable[..., jax.Array],
    x: jax.Array,
    kernel: jax.Array,
    g: jax.Array,
    seconds: float,
) -> list[float]:
    """Returns the milliseconds of a layer's value and gradients."""

    def by_input(g: jax.Array, kernel: jax.Array) -> Any:
        return jax.linear_transpose(lambda x: layer(x, kernel), x)(g)

    def by_kernel(x: jax.Array, g: jax.Array) -> Any:
        return jax.linear_transpose(lambda kernel: layer(x, kernel), kernel)(g)

    calls = [(layer, (x, kernel)), (by_input, (g, kernel)), (by_kernel, (x, g))]
    return [
        reporting.least(functools.partial(_blocked, jax.jit(f), arguments), seconds)
        for f, arguments in calls
    ]


def _blocked(call: Callable[..., Any], arguments: Any) -> None:
    jax.block_until_ready(call(*arguments))


def torch_times(case: Case, seconds: float) -> list[float] | None:
    """Returns PyTorch's milliseconds in a process of its own; None without PyTorch."""
    numbers = [case.batch, case.side, case.inputs, case.outputs, *case.kernel, case.stride]
    words = [str(n) for n in (*numbers, *case.pads[0], *case.pads[1], seconds)]
    command = [sys.executable, "-m", "experiments.benchmarks.peers.torch_convolutions", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [float(t) for t in done.stdout.split()] if done.returncode == 0 else None


def selected(case: Case) -> tuple[str, ...]:
    """Returns the names of the forms that genjax selects for a case."""
    shape = (case.batch, case.side, case.side, case.inputs)
    kernel = (*case.kernel, case.inputs, case.outputs)
    sides = [
        (case.side + sum(p) - k) // case.stride + 1
        for p, k in zip(case.pads, case.kernel, strict=True)
    ]
    forms = conv_forms.select(shape, kernel, case.strides, (sides[0], sides[1]), jnp.float32)
    return tuple(form.__name__ for form in forms)


def markdown(found: list[dict[str, Any]], cases: dict[str, Case]) -> list[str]:
    """Returns the table's lines."""
    names = ("XLA", *FORMS)
    head = ["convolution", "part", *names, "selected sum / XLA's", "PyTorch", "PyTorch / genjax"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in found:
        if "genjax" not in row:
            continue
        ours, torch = row["genjax"], row.get("pytorch")
        chosen = selected(cases[row["row"]])
        total = sum(ours[name][i] for i, name in enumerate(chosen))
        for i, part in enumerate(PARTS):
            cells = []
            for name in names:
                mark = " [x]" if name == chosen[i] else ""
                cells.append(f"{ours[name][i]:.2f}{mark}" if name in ours else "")
            gain = f"{total / sum(ours['XLA']):.2f}" if i == 0 else ""
            theirs = f"{torch[i]:.2f}" if torch else ""
            ratio = f"{sum(torch) / total:.2f}" if torch and i == 0 else ""
            first = row["row"] if i == 0 else ""
            lines.append("| " + " | ".join([first, part, *cells, gain, theirs, ratio]) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
