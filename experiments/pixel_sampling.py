"""How fast pixels are drawn: cached, in parallel and a whole network a pixel, in one process.

`--network gated`: the Gated PixelCNN of 10 layers and 128 features on 28x28 bits; `plus_plus`: the
PixelCNN++ of the authors' code on 32x32x3 bytes. 64 images at a time, with random weights: seconds
of each way (median of repeats, compiled before), and the share of images that differ from the first
way's, of which so many are different. Rounding decides a draw only where a uniform number falls
beside the border.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from typing import Any

import jax
import numpy as np

from experiments.speed import clocked
from genjax import checks
from genjax.families import pixelcnn, pixelcnn_pp
from genjax.train.cli import use_compilation_cache
from genjax.train.record import commit, device

METHODS = ("cached", "parallel", "naive")


def main(argv: list[str] | None = None) -> int:
    """Time, compare, print JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pixel_sampling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--network", choices=("gated", "plus_plus"), default="gated")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--side", type=int, help="of the images (28, 32)")
    add("--layers", type=int, help="of the gated network, or blocks at a resolution (10, 5)")
    add("--features", type=int, help="of a layer (128, 160)")
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
        family, config = chosen(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measure(family, config, options)))
    return 0


def chosen(options: argparse.Namespace) -> tuple[Any, Any]:
    """The family, and its Config."""
    o = options
    if o.network == "gated":
        side = o.side or 28
        return pixelcnn, pixelcnn.Config(
            shape=(side, side, 1),
            layers=o.layers or 10,
            features=o.features or 128,
            dtype=o.dtype,
        )
    side = o.side or 32
    return pixelcnn_pp, pixelcnn_pp.Config(
        shape=(side, side, 3), blocks=o.layers or 5, features=o.features or 160, dtype=o.dtype
    )


def measure(family: Any, config: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way and how its images differ."""
    variables = jax.jit(lambda key: family.init(config, key))(jax.random.key(0))
    found: dict[str, Any] = {}
    first: Any = None
    for method in options.methods:

        def draw(variables: Any, key: jax.Array, method: Any = method) -> jax.Array:
            return family.sample(config, variables, key, options.images, method=method)

        began = time.perf_counter()
        program = jax.jit(draw).lower(variables, jax.random.key(1)).compile()
        compiled = time.perf_counter() - began
        once = functools.partial(program, variables, jax.random.key(1))
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


if __name__ == "__main__":
    sys.exit(main())
