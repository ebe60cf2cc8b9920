"""`genjax sample WORKDIR`: a grid of samples of a finished run, as PNG."""

import pathlib

import jax
import numpy as np

from genjax import checks, families
from genjax.cli.options import ArgumentParser, run_command
from genjax.train.load_run import load
from genjax.train.sample_grids import save_grid


def main(argv: list[str] | None = None) -> int:
    """Draw, write the picture (and the numbers), say where."""
    return run_command(lambda: draw_samples(argv), "--n")


def draw_samples(argv: list[str] | None) -> None:
    """Parses the options, draws and writes."""
    parser = ArgumentParser("sample", __doc__)
    parser.add_argument("workdir", type=pathlib.Path, help="folder of a run")
    parser.add_argument("--n", type=int, default=64, help="images to draw (64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    parser.add_argument("--out", type=pathlib.Path, help="the PNG; WORKDIR/samples/seed_SEED.png")
    parser.add_argument("--npy", type=pathlib.Path, help="write the samples there too, as .npy")
    options = parser.parse_args(argv)
    out = options.out or options.workdir / "samples" / f"seed_{options.seed}.png"
    checks.positive(n=options.n)
    checks.seed(seed=options.seed)
    run, variables = load(options.workdir)
    family = families.get(run.family)
    draw = jax.jit(lambda v, key: family.sample(run.model, v, key, options.n))
    x = np.asarray(draw(variables, jax.random.key(options.seed)))
    save_grid(out, x, *family.traits(run.model).sample_range)
    print(f"{options.n} samples in {out}")
    if options.npy:
        options.npy.parent.mkdir(parents=True, exist_ok=True)
        with options.npy.open("wb") as file:  # under this name: np.save adds .npy to others
            np.save(file, x, allow_pickle=False)
        print(f"and as numbers in {options.npy}")
