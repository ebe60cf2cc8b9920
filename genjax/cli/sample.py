"""`genjax sample WORKDIR`: a grid of samples of a finished run, as PNG.

For families with latents the grid shows the mean of p(x | z) of each sample z; `--draw` shows draws
from p(x | z). For text-to-image runs it shows samples of captions of the run's data; for others
see `genjax draw`.
"""

import argparse
import functools
import pathlib
from typing import Any

import jax
import numpy as np

from genjax import checks, families
from genjax import data as genjax_data
from genjax.cli.options import ArgumentParser, command, output_help
from genjax.core import sample_images
from genjax.core.protocols import LatentVariable, PuzzleSolver, Sampler, TextToImage, Translator
from genjax.train.caption_sheets import CaptionSheet, caption_sheet
from genjax.train.load_run import check_trained_on, load
from genjax.train.run_config import Run
from genjax.train.run_files import run_files
from genjax.train.sample_grids import save_grid


@command("--n")
def main(argv: list[str]) -> None:
    """Draws samples and writes them."""
    parser = ArgumentParser("sample", __doc__)
    parser.add_run()
    parser.add_argument("--n", type=int, default=64, help="number of samples (64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (0)")
    parser.add_argument(
        "--label", type=int, nargs="+", help="classes of the samples, repeated in this order"
    )
    parser.add_argument(
        "--draw", action="store_true", help="draw from p(x | z) instead of showing its mean"
    )
    text = f"the PNG ({output_help('samples/seed_SEED.png')})"
    parser.add_argument("--out", type=pathlib.Path, help=text)
    parser.add_argument("--npy", type=pathlib.Path, help="also write the samples to a .npy file")
    options = parser.parse_args(argv)
    files = run_files(options.workdir)
    out = options.out or files.output("samples") / f"seed_{options.seed}.png"
    checks.positive(n=options.n)
    checks.seed(seed=options.seed)
    run, variables = load(files)
    family = families.get(run.family)
    if isinstance(family, Translator):
        raise ValueError(
            f"{run.family} translates images and samples none; use genjax translate"
            f" {options.workdir} INPUT OUT."
        )
    if isinstance(family, PuzzleSolver):
        raise ValueError(
            f"{run.family} solves puzzles and samples no images; use genjax solve {options.workdir}"
            f" INPUT OUT."
        )
    if not isinstance(family, Sampler):
        raise ValueError(
            f"{run.family} samples no images; pass this run as --ranker to genjax draw or measure."
        )
    conditions: dict[str, Any] = {}
    if options.draw and not isinstance(family, LatentVariable):
        raise ValueError(f"{run.family} has no latents, so its samples are draws; omit --draw.")
    if options.label is not None:
        if "label" not in family.batch_spec(run.model, 1):
            raise ValueError(
                f"this run of {run.family} is not conditioned on a label; omit --label."
            )
        if options.n < len(options.label):
            raise ValueError(
                f"`--n` {options.n} is less than the number of labels; use at least"
                f" {len(options.label)}."
            )
        if min(options.label) < 0 or max(options.label) >= run.model.classes:
            raise ValueError(f"`--label` must be in 0 .. {run.model.classes - 1}.")
        conditions["label"] = np.resize(np.asarray(options.label, np.int32), options.n)
    key = jax.random.key(options.seed)
    if isinstance(family, TextToImage):
        sheet = sheet_of_data(run, family, options)
        x = np.asarray(jax.jit(functools.partial(sheet.draw, run, family))(variables, key))
        sheet.save(out, x)
        print(f"{len(x)} samples of {len(sheet.captions)} captions in {out}")
    else:
        draw = functools.partial(sample_images, family, run.model, n=options.n, draw=options.draw)
        x = np.asarray(jax.jit(draw)(variables, key=key, **conditions))
        save_grid(out, x, *family.traits(run.model).sample_range)
        print(f"{options.n} samples in {out}")
    if options.npy:
        options.npy.parent.mkdir(parents=True, exist_ok=True)
        with options.npy.open("wb") as file:  # np.save adds .npy to other names
            np.save(file, x, allow_pickle=False)
        print(f"samples as numbers in {options.npy}")


def sheet_of_data(run: Run, family: Any, options: argparse.Namespace) -> CaptionSheet:
    """Returns the sheet of captions of the data that a text-to-image run was trained on.

    Raises:
      ValueError: the data are not there, or others.
    """
    try:
        dataset = genjax_data.load(run.data)
        check_trained_on(dataset, options.workdir)
    except checks.USER_ERRORS as error:
        raise ValueError(
            f"{run.family} draws captions of its data, which cannot be read"
            f" ({checks.error_message(error, '--n').rstrip('.')}); use genjax draw"
            f' {options.workdir} "a caption" --out grid.png, which needs no data.'
        ) from None
    return caption_sheet(run, family, dataset, options.n)
