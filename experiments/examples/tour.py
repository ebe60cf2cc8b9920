"""A tour: every family on scikit-learn's 8x8 digits, on a CPU, in minutes.

Trains each family briefly on binarised digits, prints one table (what the family is, what its
density is worth, how long it took) and writes a page with their curves and with samples as training
goes on. The joint table sees the digits shrunk to 4x4: at 8x8 it would need 2^64 - 1 parameters.
Nats are comparable between rows with the same number of pixels.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import sys
import tempfile
import time

import jax

from genjax import families, report
from genjax.cli.experiment import smoke
from genjax.cli.options import use_compilation_cache
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import (
    dcgan,
    fvsbn,
    gan,
    hierarchical_vae,
    infogan,
    joint,
    m2,
    made,
    markov,
    mixture,
    nade,
    orderless_nade,
    pixelcnn,
    pixelcnn_pp,
    pixelrnn,
    rnade,
    vae,
)
from genjax.train import Run, Train, fit
from genjax.train.run_config import TwoOptimizers

DIGITS = Data(data="digits", transform="binarize('threshold')")
TRAIN = Train(
    steps=3000,
    batch_size=64,
    ema=0.99,
    log_every=500,
    eval_every=500,
    eval_batch=180,
    eval_samples=100,
    save_every=1000,
    sample_every=300,
    samples=64,
)

STOPS = {
    "joint": Run(
        experiment="tour_joint",
        family="joint",
        model=joint.Config(shape=(4, 4, 1), alpha=0.01),
        data=dataclasses.replace(DIGITS, data="digits_4x4"),
        optimizer=None,
        train=dataclasses.replace(TRAIN, steps=1, batch_size=1437, ema=0.0),
    ),
    "markov": Run(
        experiment="tour_markov",
        family="markov",
        model=markov.Config(shape=(8, 8, 1), k=4, alpha=0.5),
        data=DIGITS,
        optimizer=None,
        train=dataclasses.replace(TRAIN, steps=1, batch_size=1437, ema=0.0),
    ),
    "mixture": Run(
        experiment="tour_mixture",
        family="mixture",
        model=mixture.Config(shape=(8, 8, 1), components=50, mean_prior=0.5),
        data=DIGITS,
        optimizer=None,
        train=dataclasses.replace(
            TRAIN,
            steps=50,
            batch_size=1437,
            ema=0.0,
            log_every=5,
            eval_every=5,
            save_every=50,
            sample_every=5,
        ),
    ),
    "fvsbn": Run(
        experiment="tour_fvsbn",
        family="fvsbn",
        model=fvsbn.Config(shape=(8, 8, 1), order="raster"),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=1e-2, schedule="linear", weight_decay=0.02),
        train=TRAIN,
    ),
    "nade": Run(
        experiment="tour_nade",
        family="nade",
        model=nade.Config(shape=(8, 8, 1), hidden=100, order="raster", dropout=0.1),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear"),
        train=TRAIN,
    ),
    "made": Run(
        experiment="tour_made",
        family="made",
        model=made.Config(shape=(8, 8, 1), hidden=(200,), masks=8, order="raster", dropout=0.1),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear"),
        train=TRAIN,
    ),
    "orderless_nade": Run(
        experiment="tour_orderless_nade",
        family="orderless_nade",
        model=orderless_nade.Config(shape=(8, 8, 1), hidden=(128, 128), orders=8),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=2e-3, schedule="linear"),
        train=dataclasses.replace(TRAIN, steps=2000),
    ),
    "pixelcnn": Run(
        experiment="tour_pixelcnn",
        family="pixelcnn",
        model=pixelcnn.Config(
            shape=(8, 8, 1), layers=4, features=24, first=3, head=24, dropout=0.2
        ),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear"),
        train=dataclasses.replace(TRAIN, steps=1000, eval_every=250),
    ),
    "pixelrnn": Run(
        experiment="tour_pixelrnn",
        family="pixelrnn",
        model=pixelrnn.Config(shape=(8, 8, 1), layers=1, features=24, first=3, head=24),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear", clip=1.0),
        train=dataclasses.replace(TRAIN, steps=1000, eval_every=250),
    ),
    # All 17 grey levels of a pixel, as integers: its nats compare with no binary row's.
    "pixelcnn_pp": Run(
        experiment="tour_pixelcnn_pp",
        family="pixelcnn_pp",
        model=pixelcnn_pp.Config(
            shape=(8, 8, 1), levels=17, features=16, blocks=1, halvings=1, components=3, dropout=0.1
        ),
        data=dataclasses.replace(DIGITS, transform=""),
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear"),
        train=dataclasses.replace(TRAIN, steps=600, eval_every=200),
    ),
    # Real numbers: grey levels with noise added, in [0, 1); its nats compare with no other row's.
    "rnade": Run(
        experiment="tour_rnade",
        family="rnade",
        model=rnade.Config(shape=(8, 8, 1), hidden=64, components=5, dropout=0.1),
        data=dataclasses.replace(DIGITS, transform="dequantize()"),
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear"),
        train=dataclasses.replace(TRAIN, steps=600),
    ),
    "vae": Run(
        experiment="tour_vae",
        family="vae",
        model=vae.Config(shape=(8, 8, 1), latent=8, hidden=(128,)),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=2e-3, schedule="linear"),
        train=TRAIN,
    ),
    "hierarchical_vae": Run(
        experiment="tour_hierarchical_vae",
        family="hierarchical_vae",
        model=hierarchical_vae.Config(
            shape=(8, 8, 1), latent=(8, 4), hidden=(128, 64), inference="top_down", kl_warmup=500
        ),
        data=DIGITS,
        optimizer=Optimizer(learning_rate=2e-3, schedule="linear"),
        train=TRAIN,
    ),
    # Ten labels of each digit are known; its figure is the share of test digits it names wrongly.
    # With the paper's alpha of 0.1 that is a quarter, twice what the labels alone give.
    "m2": Run(
        experiment="tour_m2",
        family="m2",
        model=m2.Config(
            shape=(8, 8, 1),
            latent=8,
            hidden=(128,),
            alpha=1.0,
            labelled=100 / 1437,
            weight_prior=1 / 1437,
        ),
        data=dataclasses.replace(DIGITS, labels_per_class=10),
        optimizer=Optimizer(learning_rate=1e-3, schedule="linear"),
        train=dataclasses.replace(TRAIN, steps=2000),
    ),
    "gan": Run(
        experiment="tour_gan",
        family="gan",
        model=gan.Config(
            shape=(8, 8, 1),
            latent=16,
            generator_hidden=(128, 128),
            discriminator_hidden=(64, 64),
            pieces=3,
        ),
        data=DIGITS,
        optimizer=TwoOptimizers(
            generator=Optimizer(learning_rate=1e-3, b1=0.5),
            discriminator=Optimizer(learning_rate=1e-3, b1=0.5),
        ),
        train=TRAIN,
    ),
    "dcgan": Run(
        experiment="tour_dcgan",
        family="dcgan",
        model=dcgan.Config(shape=(8, 8, 1), latent=16, generator_widths=(32, 16), kernel=3),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
        optimizer=TwoOptimizers(
            generator=Optimizer(learning_rate=2e-4, b1=0.5),
            discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        ),
        train=TRAIN,
    ),
    "infogan": Run(
        experiment="tour_infogan",
        family="infogan",
        model=infogan.Config(
            shape=(8, 8, 1),
            latent=16,
            generator_dense=(64,),
            generator_widths=(32, 16),
            discriminator_widths=(16, 32),
            discriminator_dense=(64,),
            code_hidden=32,
        ),
        data=DIGITS,
        optimizer=TwoOptimizers(
            generator=Optimizer(learning_rate=1e-3, b1=0.5),
            discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        ),
        train=TRAIN,
    ),
}
# What a newcomer sees in under three minutes; every family has a stop, and --all visits each.
DEFAULT = ("joint", "markov", "mixture", "fvsbn", "nade", "made", "orderless_nade", "vae", "gan")


def main(argv: list[str] | None = None) -> int:
    """Walk the tour."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.tour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="every family, not the default list")
    parser.add_argument("--only", nargs="+", choices=list(STOPS), help="just these families")
    parser.add_argument("--smoke", action="store_true", help="a few steps each")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/tour"))
    parser.add_argument("--verbose", action="store_true", help="lines of metrics along the way")
    options = parser.parse_args(argv)
    use_compilation_cache()
    names = options.only or (list(STOPS) if options.all else DEFAULT)
    try:
        clear(options.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(walk(name, options))
    show(rows)
    page = report.write(
        [options.out / name for name in names],
        options.out / "report.html",
        title="The tour: binarised digits",
    )
    print(f"Curves and samples: {page}")
    return 0


def clear(out: pathlib.Path) -> None:
    """Remove what an earlier tour left, and nothing else: a tour begins anew.

    Raises:
      ValueError: a folder that the tour would write holds something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    there = [out / name for name in STOPS if (out / name).exists() or (out / name).is_symlink()]
    for folder in there:
        try:
            made = json.loads((folder / "config.json").read_text())["experiment"]
        except (OSError, ValueError, KeyError, TypeError):
            made = ""
        if folder.is_symlink() or not str(made).startswith("tour_"):
            raise ValueError(f"{folder} is not of a tour; move it, or take another --out.")
    for folder in there:
        shutil.rmtree(folder)


def walk(name: str, options: argparse.Namespace) -> list[str]:
    """Train one family from nothing, keep what it left but checkpoints, and give its row."""
    began = time.monotonic()
    run = STOPS[name]
    if options.smoke:
        run = smoke(run)
    with tempfile.TemporaryDirectory() as private:
        folder = pathlib.Path(private, name)  # the temporary one's permissions stay its own
        # The digits do not divide over many devices, and one is enough for them.
        result = fit(run, folder, devices=jax.devices()[:1], quiet=not options.verbose)
        record = result.record or {}
        left_out = shutil.ignore_patterns("checkpoints", ".lock")
        # Copied beside and renamed: a tour cut here leaves no folder that the next cannot tell.
        with tempfile.TemporaryDirectory(dir=options.out, prefix=".tour-") as beside:
            shutil.copytree(folder, pathlib.Path(beside, name), ignore=left_out)
            pathlib.Path(beside, name).rename(options.out / name)
    density = families.get(run.family).traits(run.model).density
    figure = "-" if density == "none" else f"{record['obtained']:.2f} ± {record['std_error']:.2f}"
    if record["unit"] not in ("", "nats"):
        figure += f" {record['unit']}"
    pixels = str(run.model.shape[0] * run.model.shape[1])
    seconds = f"{time.monotonic() - began:.0f}"
    return [name, pixels, f"{record['parameters']:,}", density, figure, seconds]


def show(rows: list[list[str]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    page = Table(title="The tour: binarised digits")
    for column, justify in (
        *(("family", "left"), ("pixels", "right"), ("parameters", "right")),
        *(("density", "left"), ("test nats", "right"), ("seconds", "right")),
    ):
        page.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        page.add_row(*row)
    Console().print(page)


if __name__ == "__main__":
    sys.exit(main())
