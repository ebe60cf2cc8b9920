"""Times implementations of padding, normalisation and resampling layers on a CPU.

Every table is one layer. A cell is milliseconds, the best of the calls, of the layer; of the layer
with its gradients; and for layers with a kernel of the gradient penalty: the squared gradient by
the maps and its gradients. The implementation of `genjax.nn` is marked with a star; others are what
a user might write. All are compared with the first, and PyTorch is timed where it is installed, in
a process of its own. Shapes are of CycleGAN (batch 1), StarGAN and progressive GAN (batch 16).

    python -m experiments.benchmarks.layers
    python -m experiments.benchmarks.layers --layers "blur pooling" --seconds 1
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.reporting import Row, make_parser, show
from genjax import checks
from genjax.cli.options import keep_freed_memory
from genjax.nn.norms import instance_norm, pixel_norm
from genjax.nn.padding import pad
from genjax.nn.resampling import (
    SUMS,
    average_pool,
    blur_pool,
    conv_downsample,
    upsample_conv,
    upsample_linear,
    upsample_nearest,
)

NHWC = ("NHWC", "HWIO", "NHWC")
Shapes = tuple[tuple[int, ...], ...]  # of the maps, and of the kernel if there is one


class Layer(NamedTuple):
    """A layer, its implementations by name, plain ones first, and the shapes of its arguments."""

    forms: dict[str, Callable[..., jax.Array]]
    shapes: Sequence[Shapes]


def _conv(x: Any, kernel: Any, pads: Any = "SAME", strides: Any = (1, 1), **options: Any) -> Any:
    options |= {"dimension_numbers": NHWC}
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, **options)


def _depthwise(x: jax.Array, taps: Any, **options: Any) -> jax.Array:
    taps = np.outer(taps, taps)[:, :, None, None].repeat(x.shape[-1], 3)
    kernel = jnp.asarray(taps, x.dtype)
    return _conv(x, kernel, feature_group_count=x.shape[-1], **options)


def _sum_of_ones(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    mean = jnp.full((b, h * w), 1 / (h * w), x.dtype)
    return jnp.einsum("bn,bnc->bc", mean, x.reshape(b, h * w, c)).reshape(b, 1, 1, c)


def _norm_by_products(x: jax.Array) -> jax.Array:
    centred = x - _sum_of_ones(x)
    return centred * jax.lax.rsqrt(_sum_of_ones(centred * centred) + 1e-5)


def _norm_by_flax(x: jax.Array) -> jax.Array:
    return nn.InstanceNorm(use_bias=False, use_scale=False, epsilon=1e-5).apply({}, x)


def _pixel_by_product(x: jax.Array) -> jax.Array:
    mean = jnp.full((x.shape[-1], 1), 1 / x.shape[-1], x.dtype)
    return x * jax.lax.rsqrt(jnp.matmul(x * x, mean) + 1e-8)


def _reflected(size: int) -> dict[str, Callable[..., jax.Array]]:
    def by_numpy(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")

    def sources(side: int) -> np.ndarray:
        return np.pad(np.arange(side), size, mode="reflect")

    def by_gather(x: jax.Array) -> jax.Array:
        return x[:, sources(x.shape[1])][:, :, sources(x.shape[2])]

    def by_product(x: jax.Array) -> jax.Array:
        rows, columns = (np.eye(n, dtype=np.float32)[sources(n)] for n in x.shape[1:3])
        return jnp.einsum("iw,bhwc->bhic", columns, jnp.einsum("ih,bhwc->biwc", rows, x))

    genjax = functools.partial(pad, size=size, mode="reflect")
    return {"jnp.pad": by_numpy, "gather": by_gather, "matrices": by_product, "slices *": genjax}


def _zeros_joined(x: jax.Array) -> jax.Array:
    for axis in (2, 1):
        edge = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
        x = jnp.concatenate([edge, x, edge], axis)
    return x


def _pool_by_flax(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (2, 2), (2, 2))


def _pool_by_mean(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def _pool_by_pairs(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    y = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return sum(y[:, :, i, :, j] for i in range(2) for j in range(2)) / 4  # type: ignore[return-value]


def _repeated(x: jax.Array) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _resized(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    return jax.image.resize(x, (b, 2 * h, 2 * w, c), "nearest")


def _whole_kernel(kernel: jax.Array) -> jax.Array:
    """Returns the 4x4 kernel of a 3x3 convolution and a sum of 2x2 pixels."""
    wide = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return sum(  # type: ignore[return-value]
        wide[i : i + 4, j : j + 4] for i in range(2) for j in range(2)
    )


def _up_in_one(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves once, with the four kernels of the phases side by side."""
    b, h, w, inputs = x.shape
    sums = jnp.einsum("pat,qbu,tuio->abipqo", SUMS, SUMS, kernel).reshape(2, 2, inputs, -1)
    y = _conv(x, sums, ((1, 1), (1, 1))).reshape(b, h + 1, w + 1, 2, 2, -1)
    parts = [jnp.stack([y[:, p : p + h, q : q + w, p, q] for q in range(2)], 3) for p in range(2)]
    return jnp.stack(parts, 2).reshape(b, 2 * h, 2 * w, -1)


LAYERS = {
    "instance norm": Layer(
        {
            "nn.InstanceNorm": _norm_by_flax,
            "matrix products": _norm_by_products,
            "two means *": instance_norm,
        },
        [((1, 64, 64, 64),), ((1, 64, 64, 256),), ((1, 256, 256, 64),), ((16, 64, 64, 64),)],
    ),
    "pixel norm": Layer(
        {"matrix product": _pixel_by_product, "mean *": pixel_norm},
        [((16, 32, 32, 128),), ((16, 64, 64, 64),), ((16, 128, 128, 32),)],
    ),
    "reflection padding by 3": Layer(
        _reflected(3), [((1, 64, 64, 64),), ((1, 256, 256, 3),), ((1, 256, 256, 64),)]
    ),
    "reflection padding by 1": Layer(
        _reflected(1), [((1, 16, 16, 256),), ((1, 64, 64, 256),), ((16, 16, 16, 256),)]
    ),
    "zero padding by 1": Layer(
        {"concatenate": _zeros_joined, "jnp.pad *": functools.partial(pad, size=1)},
        [((1, 64, 64, 256),), ((16, 64, 64, 64),)],
    ),
    "nearest upsampling": Layer(
        {"jnp.repeat": _repeated, "jax.image.resize": _resized, "broadcast *": upsample_nearest},
        [((16, 16, 16, 256),), ((16, 32, 32, 128),), ((16, 64, 64, 64),)],
    ),
    "linear upsampling": Layer(
        {
            "depthwise convolution": lambda x: _depthwise(
                x, (0.5, 1, 0.5), pads=((2, 1), (2, 1)), lhs_dilation=(2, 2)
            ),
            "shifted sums *": upsample_linear,
        },
        [((16, 16, 16, 256),), ((16, 32, 32, 128),)],
    ),
    "average pooling": Layer(
        {
            "nn.avg_pool": _pool_by_flax,
            "mean of 2x2": _pool_by_mean,
            "pairs": _pool_by_pairs,
            "strided slices *": average_pool,
        },
        [((16, 32, 32, 128),), ((16, 64, 64, 64),), ((16, 128, 128, 32),)],
    ),
    "blur pooling": Layer(
        {
            "depthwise convolution": lambda x: _depthwise(
                x, (0.25, 0.5, 0.25), pads=((1, 0), (1, 0)), strides=(2, 2)
            ),
            "sums of pairs *": blur_pool,
        },
        [((16, 32, 32, 128),), ((16, 64, 64, 64),), ((16, 128, 128, 32),)],
    ),
    "upsampling, then 3x3": Layer(
        {
            "jnp.repeat, convolution": lambda x, k: _conv(_repeated(x), k),
            "one 2x2 convolution": _up_in_one,
            "four 2x2 convolutions *": upsample_conv,
        },
        [
            ((16, 16, 16, 256), (3, 3, 256, 128)),
            ((16, 32, 32, 128), (3, 3, 128, 64)),
            ((16, 64, 64, 64), (3, 3, 64, 32)),
        ],
    ),
    "3x3, then average pooling": Layer(
        {
            "convolution, nn.avg_pool": lambda x, k: _pool_by_flax(_conv(x, k)),
            "4x4 with stride 2": lambda x, k: _conv(
                x, _whole_kernel(k) / 4, ((1, 1), (1, 1)), (2, 2)
            ),
            "four 2x2 convolutions *": conv_downsample,
        },
        [
            ((16, 32, 32, 128), (3, 3, 128, 256)),
            ((16, 64, 64, 64), (3, 3, 64, 128)),
            ((16, 128, 128, 32), (3, 3, 32, 64)),
        ],
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Measures the layers, prints a table of each and returns the exit status."""
    keep_freed_memory()
    parser = make_parser("layers", __doc__)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), help="names (all)")
    parser.add_argument("--seconds", type=float, default=0.15, help="per form and figure (0.15)")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    options = parser.parse_args(argv)
    try:
        checks.positive(seconds=options.seconds)
        for name in options.layers:
            checks.one_of(tuple(LAYERS), layers=name)
    except ValueError as error:
        parser.error(str(error))
    found = {name: measure(LAYERS[name], options.seconds) for name in options.layers}
    torch = {} if options.no_torch else run_torch(options.layers, options.seconds)
    for name, cells in found.items():
        show(f"{name}: milliseconds", table(LAYERS[name], cells, torch.get(name, [])))
    return 0


def table(layer: Layer, cells: list[dict[str, str]], torch: list[str]) -> list[Row]:
    """Returns a row per form, with a column per shape."""
    if torch:
        cells = [{**cell, "PyTorch": other} for cell, other in zip(cells, torch, strict=True)]
    titles = [" x ".join("x".join(map(str, s)) for s in shapes) for shapes in layer.shapes]
    return [
        {"form": form, **{t: cell[form] for t, cell in zip(titles, cells, strict=True)}}
        for form in cells[0]
    ]


def measure(layer: Layer, seconds: float) -> list[dict[str, str]]:
    """Returns the milliseconds of every form, for each of a layer's shapes.

    Raises:
      ValueError: a form's values differ from the first one's.
    """
    cells = []
    for shapes in layer.shapes:
        arguments = make_arguments(shapes)
        outputs = {name: jax.jit(form)(*arguments) for name, form in layer.forms.items()}
        first = next(iter(outputs.values()))
        for name, output in outputs.items():
            if not np.allclose(output, first, rtol=1e-4, atol=1e-3):
                raise ValueError(f"{name} differs from {next(iter(outputs))} at {shapes}.")
        cotangent = make_arguments((first.shape,))[0]
        kinds = (value, gradients, penalty)[: 3 if len(shapes) > 1 else 2]
        times = []
        for kind in kinds:
            calls: dict[str, Callable[[], Any]] = {
                name: functools.partial(jax.jit(kind(form)), cotangent, *arguments)
                for name, form in layer.forms.items()
            }
            times.append(best_times(calls, jax.block_until_ready, seconds))
        cells.append({name: describe([time[name] for time in times]) for name in layer.forms})
    return cells


def value(form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the layer as a function of a cotangent, which it ignores, and its arguments."""
    return lambda cotangent, *arguments: form(*arguments)


def gradients(form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the layer with its gradients by all arguments."""

    def run(cotangent: jax.Array, *arguments: jax.Array) -> Any:
        output, pull = jax.vjp(form, *arguments)
        return output, pull(cotangent)

    return run


def penalty(form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the gradients of the squared gradient by the maps, as in a gradient penalty."""

    def squared(cotangent: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.square(jax.vjp(form, x, kernel)[1](cotangent)[0]).sum()

    return jax.value_and_grad(squared, (0, 2))


def make_arguments(shapes: Shapes) -> list[jax.Array]:
    """Returns maps, and a kernel that keeps their scale."""
    rng = np.random.default_rng(0)
    scales = [1.0, *(np.prod(shape[:-1]) ** -0.5 for shape in shapes[1:])]
    return [
        jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for scale, shape in zip(scales, shapes, strict=True)
    ]


def best_times(
    calls: dict[str, Callable[[], Any]], wait: Callable[[Any], Any], seconds: float
) -> dict[str, float]:
    """Returns the shortest time of each call, of at least four.

    Calls alternate in pairs: a machine's slow seconds meet all, and the second finds its arrays in
    the caches.
    """
    for call in calls.values():
        wait(call())
    best = dict.fromkeys(calls, float("inf"))
    end, rounds = time.perf_counter() + seconds * len(calls), 0
    while rounds < 2 or time.perf_counter() < end:
        for name, call in [pair for pair in calls.items() for _ in range(2)]:
            start = time.perf_counter()
            wait(call())
            best[name] = min(best[name], time.perf_counter() - start)
        rounds += 1
    return best


def describe(seconds: Sequence[float]) -> str:
    """Writes seconds as milliseconds with two digits: `0.05 / 1.2 / 130`."""
    return " / ".join(_two_digits(1e3 * each) for each in seconds)


def _two_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def run_torch(layers: Sequence[str], seconds: float) -> dict[str, list[str]]:
    """Returns PyTorch's cells of each layer, or none, with a message, if it did not run."""
    command = [sys.executable, "-m", "experiments.benchmarks.peers.time_layers"]
    done = subprocess.run(
        [*command, json.dumps(list(layers)), str(seconds)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        print(f"PyTorch was not timed: {lines[-1]}", file=sys.stderr)
        return {}
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
