"""How fast pixels are drawn: cached, in parallel and a whole network a pixel, in one process.

`--network gated`: the Gated PixelCNN of 10 layers and 128 features on 28x28 bits; `masked`, `row`
and `diagonal`: the PixelCNN and the PixelRNNs of `experiments.pixelcnn_mnist` and `pixelrnn_mnist`;
`plus_plus`: the PixelCNN++ of the authors' code on 32x32x3 bytes. 64 images at a time: seconds of
each way (median of repeats, compiled before), and the share of images that differ from the first
way's, of which so many are different. Rounding decides a draw only where a uniform number falls
beside the border. `checked` after another way is one whole network over that way's images: what it
draws of what comes before each pixel. An image of which nothing differs is the naive way's too.

Weights are random, and pixels of such a network hardly know of each other: parallel draws end
early, and a rounding that changes one changes few others. `--workdir RUN` takes the network and the
weights of a run that is done, in either dtype.
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
from experiments.benchmarks.speed import clocked
from genjax import checks, families
from genjax.cli.options import use_compilation_cache
from genjax.families import pixelcnn, pixelcnn_pp, pixelrnn
from genjax.train.load_run import load
from genjax.train.record import commit, device

METHODS = ("cached", "parallel", "naive", "checked")
# Family, Config, and the setting that says how deep it is.
NETWORKS: dict[str, tuple[Any, Any, str]] = {
    "gated": (pixelcnn, pixelcnn.Config(features=128), "layers"),
    "masked": (pixelcnn, pixelcnn_mnist.PAPER.model, "layers"),
    "row": (pixelrnn, pixelrnn_mnist.RECIPES["row"].model, "layers"),
    "diagonal": (pixelrnn, pixelrnn_mnist.RECIPES["diagonal_7"].model, "layers"),
    "plus_plus": (pixelcnn_pp, pixelcnn_pp.Config(), "blocks"),
}


def main(argv: list[str] | None = None) -> int:
    """Time, compare, print JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.pixel_sampling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--network", choices=tuple(NETWORKS), help="(gated)")
    add("--workdir", type=pathlib.Path, help="a run whose network and weights are taken")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS[:3]))
    add("--dtype", choices=("float32", "bfloat16"), help="(float32, or the run's)")
    add("--side", type=int, help="of the images (28, 32)")
    add("--layers", type=int, help="or blocks at a resolution, of plus_plus")
    add("--features", type=int, help="of a layer")
    add("--images", type=int, default=64, help="drawn together (64)")
    add("--repeats", type=int, default=5, help="timed calls of each way, at most (5)")
    add("--seconds", type=float, default=60.0, help="after so many of a way no call begins (60)")
    options = parser.parse_args(argv)
    use_compilation_cache()
    try:
        named = ("images", "repeats", "side", "layers", "features")
        given = {name: getattr(options, name) for name in named}
        checks.positive(**{name: value for name, value in given.items() if value is not None})
        checks.positive(seconds=options.seconds)
        if options.methods[0] == "checked":
            raise ValueError("checked looks at the images of another way; name that one before it.")
        family, config, variables = of_run(options) if options.workdir else chosen(options)
        if "checked" in options.methods and getattr(config, "factor", 1) > 1:
            raise ValueError("checked is of one scale; leave it out for a run of two.")
        found = measure(family, config, variables, options)
    except checks.USER_ERRORS as error:
        print(f"error: {checks.error_message(error, '--images')}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def chosen(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The family, its Config, and random weights."""
    family, config, depth = NETWORKS[options.network or "gated"]
    side = options.side or config.shape[0]
    changed = {"shape": (side, side, config.shape[2]), "dtype": options.dtype or "float32"}
    if options.layers is not None:
        changed[depth] = options.layers
    if options.features is not None:
        changed["features"] = options.features
    config = dataclasses.replace(config, **changed)
    return family, config, jax.jit(lambda key: family.init(config, key))(jax.random.key(0))


def of_run(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The same of a run.

    Raises:
      ValueError: there is no such run, or it does not draw pixel by pixel; one sentence.
    """
    for name in ("network", "side", "layers", "features"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is that of the run; leave it out, or --workdir.")
    run, variables = load(options.workdir)
    family = families.get(run.family)
    if "method" not in inspect.signature(family.sample).parameters:
        raise ValueError(f"{run.family} has one way to draw; name a run of a pixel family.")
    dtype = options.dtype or run.model.dtype
    return family, dataclasses.replace(run.model, dtype=dtype), variables


def measure(
    family: Any, config: Any, variables: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds of each way and how its images differ."""
    found: dict[str, Any] = {}
    first: Any = None
    for method in options.methods:

        def draw(variables: Any, key: jax.Array, x: Any, method: Any = method) -> jax.Array:
            draws = functools.partial(family.sample, config, variables, key, options.images)
            return of_a_pass(family, draws, x) if method == "checked" else draws(method=method)

        began = time.perf_counter()
        program = jax.jit(draw).lower(variables, jax.random.key(1), first).compile()
        compiled = time.perf_counter() - began
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
    about["different"] = len(np.unique(first, axis=0))  # one image over and over agrees with itself
    return {**about, "config": dataclasses.asdict(config), "methods": found}


def of_a_pass(family: Any, draws: Any, x: jax.Array) -> jax.Array:
    """What the naive way would draw at each pixel after the pixels of `x` before it."""

    def once(method: str, draw: Any, *told: Any, **more: Any) -> jax.Array:
        return draw(x)

    with mock.patch.object(family, "draw_by", once):
        return draws(method="naive")


if __name__ == "__main__":
    sys.exit(main())
