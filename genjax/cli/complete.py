"""`genjax complete WORKDIR`: completes partly known images with the density of a run.

Writes WORKDIR/completions.png: the first row has images of the split, the second their known part
(the rest is grey), the others completions. Families in raster order need the known pixels first.
The small image of a multi-scale network is known too.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks, evals, families
from genjax.cli.options import ArgumentParser, command, output_help
from genjax.core import named_key
from genjax.train.load_run import load, open_split
from genjax.train.run_files import run_files
from genjax.train.sample_grids import save_grid
from genjax.train.splits import evaluation_conditions, evaluation_data


@command("--images, --draws")
def main(argv: list[str]) -> None:
    """Draws completions and prints one JSON object."""
    print(json.dumps(draw_completions(parse(argv))))


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the command's options."""
    parser = ArgumentParser("complete", __doc__)
    parser.add_split()
    add = parser.add_argument
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--rows", type=int, help="number of known rows (half of them)")
    part.add_argument("--pixels", type=int, help="number of known pixels, in raster order")
    add("--images", type=int, default=10, help="number of images (10)")
    add("--draws", type=int, default=5, help="completions per image (5)")
    add("--seed", type=int, default=0, help="seed of the completions (0)")
    add("--out", type=pathlib.Path, help=f"PNG file ({output_help('completions.png')})")
    options = parser.parse_args(argv)
    checks.positive(images=options.images, draws=options.draws)
    checks.seed(seed=options.seed)
    return options


def draw_completions(options: argparse.Namespace) -> dict[str, object]:
    """Draws the completions; returns the command's output."""
    files = run_files(options.workdir)
    run = files.settings()
    family, config = families.get(run.family), run.model
    if len(config.shape) != 3:
        raise ValueError(f"{options.workdir} has examples of shape {config.shape}, not images.")
    height, width, _ = config.shape
    rows = height // 2 if options.rows is None else options.rows
    if not 0 <= rows < height:
        raise ValueError(f"rows must be from 0 to {height - 1}, so that some are unknown.")
    pixels = rows * width if options.pixels is None else options.pixels
    if not 0 <= pixels < height * width:
        raise ValueError(
            f"pixels must be from 0 to {height * width - 1}, so that some are unknown."
        )
    _, variables = load(files)
    trained = None if options.other_data else options.workdir
    run, dataset = open_split(run, options.split, options.data, trained)
    x = evaluation_data(run, dataset, options.split)[: options.images]
    arrays = evaluation_conditions(run, family, dataset, options.split)
    conditions = {name: jnp.asarray(a[: options.images]) for name, a in arrays.items()}
    first = np.arange(height * width).reshape(height, width, 1) < pixels
    known = np.broadcast_to(first, config.shape)
    shown = known.copy()
    if getattr(config, "factor", 1) > 1:
        conditions["small"] = jnp.asarray(x[:, :: config.factor, :: config.factor])
        shown[:: config.factor, :: config.factor] = True

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        return evals.complete(family, config, variables, key, jnp.asarray(x), known, **conditions)

    key = jax.random.key(options.seed)
    drawn = [np.asarray(draw(named_key(key, i, "completion"))) for i in range(options.draws)]
    low, high = family.traits(config).sample_range
    page = [x, np.where(shown, x, (low + high) / 2), *drawn]
    out = options.out or files.output("completions.png")
    save_grid(out, np.concatenate(page), low, high, len(x))
    return {
        "experiment": run.experiment,
        "known_pixels": pixels,
        "images": len(x),
        "picture": str(out),
    }
