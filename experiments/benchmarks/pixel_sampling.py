"""Times the sampling methods of the pixel families and compares their images.

Networks: `gated` is the Gated PixelCNN of 10 layers and 128 features on 28x28 binary images;
`masked`, `row` and `diagonal` are those of `experiments.pixelcnn_mnist` and `pixelrnn_mnist`;
`plus_plus` is the PixelCNN++ of the authors' code on 32x32x3 bytes. With random weights pixels
hardly depend on each other, so parallel sampling ends early and rounding has little effect;
`--workdir RUN` uses the network and weights of a run.

Per method: median seconds of compiled calls, and the fraction of images that differ from those of
the first method. `checked` applies the network once to the images of the first method, and draws
each pixel as the naive method would after the earlier pixels of that image. An image that does not
differ is the one that the naive method draws.
"""

import argparse
import dataclasses
import functools
import inspect
import json
import pathlib
import sys
import time
from typing import Any
from unittest import mock

import jax
import numpy as np

from experiments import pixelcnn_mnist, pixelrnn_mnist
from experiments.benchmarks.reporting import make_parser
from experiments.benchmarks.speed import clocked
from genjax import checks, families
from genjax.cli.options import set_up_process
from genjax.families import pixelcnn, pixelcnn_pp, pixelrnn
from genjax.train.load_run import load
from genjax.train.record import commit, device

METHODS = ("cached", "parallel", "naive", "checked")
# Family, Config, and the field for its depth.
NETWORKS: dict[str, tuple[Any, Any, str]] = {
    "gated": (pixelcnn, pixelcnn.Config(features=128), "layers"),
    "masked": (pixelcnn, pixelcnn_mnist.PAPER.model, "layers"),
    "row": (pixelrnn, pixelrnn_mnist.RECIPES["row"].model, "layers"),
    "diagonal": (pixelrnn, pixelrnn_mnist.RECIPES["diagonal_7"].model, "layers"),
    "plus_plus": (pixelcnn_pp, pixelcnn_pp.Config(), "blocks"),
}


def main(argv: list[str] | None = None) -> int:
    """Times, compares, prints JSON and returns the exit status."""
    parser = make_parser("pixel_sampling", __doc__)
    add = parser.add_argument
    add("--network", choices=tuple(NETWORKS), help="(gated)")
    add("--workdir", type=pathlib.Path, help="use the network and weights of a run")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS[:3]))
    add("--dtype", choices=("float32", "bfloat16"), help="(float32, or the run's)")
    add("--side", type=int, help="image size (28, 32)")
    add("--layers", type=int, help="layers, or blocks per resolution of plus_plus")
    add("--features", type=int, help="per layer")
    add("--images", type=int, default=64, help="images per call (64)")
    add("--repeats", type=int, default=5, help="timed calls per method, at most (5)")
    add("--seconds", type=float, default=60.0, help="start no call of a method after so long (60)")
    options = parser.parse_args(argv)
    set_up_process()
    try:
        named = ("images", "repeats", "side", "layers", "features")
        values = {name: getattr(options, name) for name in named}
        checks.positive(**{name: value for name, value in values.items() if value is not None})
        checks.positive(seconds=options.seconds)
        if options.methods[0] == "checked":
            raise ValueError(
                "checked compares the images of another method; name that method before it."
            )
        family, config, variables = (
            network_of_run(options) if options.workdir else random_network(options)
        )
        if "checked" in options.methods and getattr(config, "factor", 1) > 1:
            raise ValueError("checked supports one scale; leave it out for a multi-scale run.")
        found = measure(family, config, variables, options)
    except checks.USER_ERRORS as error:
        print(f"error: {checks.error_message(error, '--images')}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def random_network(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Returns the family, its Config, and random weights."""
    family, config, depth = NETWORKS[options.network or "gated"]
    side = options.side or config.shape[0]
    changed = {"shape": (side, side, config.shape[2]), "dtype": options.dtype or "float32"}
    if options.layers is not None:
        changed[depth] = options.layers
    if options.features is not None:
        changed["features"] = options.features
    config = dataclasses.replace(config, **changed)
    return family, config, family.init(config, jax.random.key(0))


def network_of_run(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Returns the family, Config and weights of a run.

    Raises:
      ValueError: there is no such run, or its family has no sampling methods.
    """
    for name in ("network", "side", "layers", "features"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is fixed by the run; leave out --{name} or --workdir.")
    run, variables = load(options.workdir)
    family = families.get(run.family)
    if "method" not in inspect.signature(family.sample).parameters:
        raise ValueError(
            f"{run.family} has a single sampling method; use a run of pixelcnn, pixelrnn or"
            " pixelcnn_pp."
        )
    dtype = options.dtype or run.model.dtype
    return family, dataclasses.replace(run.model, dtype=dtype), variables


def measure(
    family: Any, config: Any, variables: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns seconds of each method and the fraction of its images that differ."""
    found: dict[str, Any] = {}
    first: Any = None
    for method in options.methods:

        def draw(variables: Any, key: jax.Array, x: Any, method: Any = method) -> jax.Array:
            draws = functools.partial(family.sample, config, variables, key, options.images)
            return naive_values(family, draws, x) if method == "checked" else draws(method=method)

        start = time.perf_counter()
        program = jax.jit(draw).lower(variables, jax.random.key(1), first).compile()
        compiled = time.perf_counter() - start
        once = functools.partial(program, variables, jax.random.key(1), first)
        seconds, drawn = clocked(once, options.repeats, options.seconds)
        x = np.asarray(drawn)
        first = x if first is None else first
        differ = (x != first).any(axis=(1, 2, 3)).mean()
        print(f"{method}: {np.median(seconds):.3f} s", file=sys.stderr, flush=True)
        found[method] = {
            "seconds": float(np.median(seconds)),
            "spread": float(np.ptp(seconds)),
            "compile_seconds": compiled,
            "share_of_images_that_differ": float(differ),
        }
    about = {"commit": commit(), "device": device(), "images": options.images}
    about["different"] = len(np.unique(first, axis=0))  # equal images agree trivially
    return {**about, "config": dataclasses.asdict(config), "methods": found}


def naive_values(family: Any, draws: Any, x: jax.Array) -> jax.Array:
    """Returns what the naive method would draw at each pixel given the earlier pixels of `x`."""

    def once(method: str, draw: Any, *args: Any, **options: Any) -> jax.Array:
        return draw(x)

    with mock.patch.object(family, "draw_images", once):
        return draws(method="naive")


if __name__ == "__main__":
    sys.exit(main())
