"""A tour: every family on scikit-learn's 8x8 digits, on a CPU, in minutes.

Trains each family briefly on binarised digits, prints one table (parameters, kind of density, test
nats, seconds) and writes a page with their curves and with samples during training. The joint table
is of digits shrunk to 4x4: at 8x8 it would have 2^64 - 1 parameters. Nats are comparable between
rows with the same number of pixels. Translators have a figure of their own: top-1 retrieval of the
true partner among the test images, or the attribute error; puzzle solvers, the percentage of test
images restored from 2x2 pieces.

    python -m experiments.examples.tour          # nine families
    python -m experiments.examples.tour --all
"""

import argparse
import dataclasses
import pathlib
import shutil
import sys
import tempfile
import time
from typing import Any

import jax

from genjax import families, report
from genjax.cli.experiment import smoke
from genjax.cli.options import set_up_process
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.data.json_files import read_object
from genjax.families import (
    cyclegan,
    dalle,
    dcgan,
    dvae,
    fvsbn,
    gan,
    gan_cls,
    hierarchical_vae,
    infogan,
    jigsaw,
    jigsaw_assignment,
    joint,
    joint_embedding,
    m2,
    made,
    markov,
    mixture,
    nade,
    orderless_nade,
    pix2pix,
    pixelcnn,
    pixelcnn_pp,
    pixelrnn,
    progressive,
    puzzle_gan,
    rnade,
    stargan,
    vae,
)
from genjax.train import Figure, Run, Train, fit

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
SHAPE = (8, 8, 1)


def adam(rate: float, **settings: Any) -> Optimizer:
    """Returns Adam at a rate that falls to 0."""
    return Optimizer(learning_rate=rate, schedule="linear", **settings)


def gan_adam(generator: float, discriminator: float) -> dict[str, Optimizer]:
    """Returns the optimizers of a GAN, at constant rates."""
    return dict(
        generator=Optimizer(learning_rate=generator, b1=0.5),
        discriminator=Optimizer(learning_rate=discriminator, b1=0.5),
    )


def entry(
    family: str,
    model: Any,
    optimizer: Optimizer | dict[str, Optimizer] | None,
    data: Data = DIGITS,
    **train: Any,
) -> Run:
    """Returns the run of one family; `train` replaces settings of `TRAIN`."""
    return Run(
        experiment=f"tour_{family}",
        family=family,
        model=model,
        data=data,
        optimizer=optimizer,
        train=dataclasses.replace(TRAIN, **train),
        figure=Figure(metric=train.get("metric", "") if family == "dalle" else ""),
    )


PAIRS = Data(data="digits_pairs", transform="scale(-1, 1)")
TRANSLATION: dict[str, Any] = dict(ema=0.0, samples=8, metric="translation", classifier_steps=300)
CAPTIONED = Data(
    data="captioned_digits_8x8", transform="scale(0, 1)", tokenizer="words", text_length=6
)
TOKENIZER = dvae.Config(
    shape=(16, 16, 1),
    quantizer="vq",
    codes=64,
    code_width=8,
    hidden=16,
    groups=3,
    blocks=1,
    width=32,
    likelihood="normal",
)
EMBEDDING = joint_embedding.Config(
    shape=(16, 16, 1),
    vocabulary=18,
    text_length=6,
    embedding=32,
    text_encoder="transformer",
    width=32,
    layers=1,
    image_widths=(16, 32),
    objective="contrastive",
)
DRAWN: dict[str, Any] = dict(
    metric="caption_accuracy", metric_samples=800, classifier_steps=1_000, eval_samples=1
)
COUNTED: dict[str, Any] = dict(batch_size=1437, ema=0.0)  # all training images in one batch

ENTRIES = (
    entry(
        "joint",
        joint.Config(shape=(4, 4, 1), alpha=0.01),
        None,
        data=dataclasses.replace(DIGITS, data="digits_4x4"),
        steps=1,
        **COUNTED,
    ),
    entry("markov", markov.Config(shape=SHAPE, k=4, alpha=0.5), None, steps=1, **COUNTED),
    entry(
        "mixture",
        mixture.Config(shape=SHAPE, components=50, mean_prior=0.5),
        None,
        steps=50,
        log_every=5,
        eval_every=5,
        save_every=50,
        sample_every=5,
        **COUNTED,
    ),
    entry("fvsbn", fvsbn.Config(shape=SHAPE, order="raster"), adam(1e-2, weight_decay=0.02)),
    entry("nade", nade.Config(shape=SHAPE, hidden=100, order="raster", dropout=0.1), adam(3e-3)),
    entry(
        "made",
        made.Config(shape=SHAPE, hidden=(200,), masks=8, order="raster", dropout=0.1),
        adam(3e-3),
    ),
    entry(
        "orderless_nade",
        orderless_nade.Config(shape=SHAPE, hidden=(128, 128), orders=8),
        adam(2e-3),
        steps=2000,
    ),
    entry(
        "pixelcnn",
        pixelcnn.Config(shape=SHAPE, layers=4, features=24, first=3, head=24, dropout=0.2),
        adam(3e-3),
        steps=1000,
        eval_every=250,
    ),
    entry(
        "pixelrnn",
        pixelrnn.Config(shape=SHAPE, layers=1, features=24, first=3, head=24),
        adam(3e-3, clip=1.0),
        steps=1000,
        eval_every=250,
    ),
    # All 17 grey levels of a pixel, as integers: its nats compare with no binary row's.
    entry(
        "pixelcnn_pp",
        pixelcnn_pp.Config(
            shape=SHAPE, levels=17, features=16, blocks=1, halvings=1, components=3, dropout=0.1
        ),
        adam(3e-3),
        data=dataclasses.replace(DIGITS, transform=""),
        steps=600,
        eval_every=200,
    ),
    # Real numbers: grey levels with noise added, in [0, 1); its nats compare with no other row's.
    entry(
        "rnade",
        rnade.Config(shape=SHAPE, hidden=64, components=5, dropout=0.1),
        adam(3e-3),
        data=dataclasses.replace(DIGITS, transform="dequantize()"),
        steps=600,
    ),
    entry("vae", vae.Config(shape=SHAPE, latent=8, hidden=(128,)), adam(2e-3)),
    entry(
        "hierarchical_vae",
        hierarchical_vae.Config(
            shape=SHAPE, latent=(8, 4), hidden=(128, 64), inference="top_down", kl_warmup=500
        ),
        adam(2e-3),
    ),
    # Ten labels per digit; its figure is the percentage of test digits classified wrongly. With the
    # paper's alpha of 0.1 it is a quarter, twice what the labels alone give.
    entry(
        "m2",
        m2.Config(
            shape=SHAPE,
            latent=8,
            hidden=(128,),
            alpha=1.0,
            labelled=100 / 1437,
            weight_prior=1 / 1437,
        ),
        adam(1e-3),
        data=dataclasses.replace(DIGITS, labels_per_class=10),
        steps=2000,
    ),
    entry(
        "gan",
        gan.Config(
            shape=SHAPE,
            latent=16,
            generator_hidden=(128, 128),
            discriminator_hidden=(64, 64),
            pieces=3,
        ),
        gan_adam(1e-3, 1e-3),
    ),
    entry(
        "dcgan",
        dcgan.Config(shape=SHAPE, latent=16, generator_widths=(32, 16), kernel=3),
        gan_adam(2e-4, 2e-4),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
    ),
    entry(
        "infogan",
        infogan.Config(
            shape=SHAPE,
            latent=16,
            generator_dense=(64,),
            generator_widths=(32, 16),
            discriminator_widths=(16, 32),
            discriminator_dense=(64,),
            code_hidden=32,
        ),
        gan_adam(1e-3, 2e-4),
    ),
    # 100 steps at 4x4, then a fade of 100 and 300 more at 8x8.
    entry(
        "progressive",
        progressive.Config(
            shape=SHAPE, latent=16, base=32, max_width=16, fade_images=3_200, stable_images=3_200
        ),
        dict.fromkeys(
            ("generator", "discriminator"), Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)
        ),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
        steps=500,
        batch_size=32,
    ),
    # The same with four parts. The figure is the percentage of the change of pixels within the part
    # whose noise changes; a part has 25 % of the area.
    entry(
        "puzzle_gan",
        puzzle_gan.Config(
            shape=SHAPE,
            smallest=4,
            start=4,
            latent=16,
            base=32,
            max_width=16,
            fade_images=3_200,
            stable_images=3_200,
        ),
        dict.fromkeys(
            ("generator", "discriminator"), Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)
        ),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
        steps=500,
        batch_size=32,
        metric="part_changes",
    ),
    # Four pieces of 4x4. The figure is the percentage of test images that are restored.
    entry(
        "jigsaw_assignment",
        jigsaw_assignment.Config(
            shape=SHAPE, grid=(2, 2), missing=1, channels=(32, 32), width=32, layers=2, heads=2
        ),
        Optimizer(learning_rate=2e-3, schedule="cosine", warmup=100, clip=1.0),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
        steps=600,
        eval_every=200,
        samples=48,
        metric="puzzle",
    ),
    # All 24 orders, with true labels: those by borders are wrong, as blank borders of digits match.
    entry(
        "jigsaw",
        jigsaw.Config(
            shape=SHAPE,
            grid=(2, 2),
            num_permutations=24,
            labels="true",
            width=16,
            blocks=1,
            dense=64,
            discriminator_width=16,
        ),
        gan_adam(1e-3, 1e-3),
        data=dataclasses.replace(DIGITS, transform="scale(-1, 1)"),
        steps=300,
        eval_every=100,
        samples=48,
        ema=0.0,
        metric="puzzle",
    ),
    # Digits to the same digits made bold and slanted by rule. The figure is the percentage of test
    # images whose true partner is the nearest to the translation.
    entry(
        "cyclegan",
        cyclegan.Config(
            shape=SHAPE,
            width=16,
            blocks=1,
            downs=1,
            kernel=3,
            upsampling="resize",
            discriminator_width=16,
            discriminator_layers=1,
        ),
        dict(generators=adam(1e-3, b1=0.5), discriminators=adam(1e-3, b1=0.5)),
        data=dataclasses.replace(PAIRS, unpaired=True),
        steps=300,
        batch_size=32,
        **TRANSLATION,
    ),
    entry(
        "pix2pix",
        pix2pix.Config(
            shape=SHAPE, width=16, downs=2, discriminator_width=16, discriminator_layers=1
        ),
        dict(discriminator=adam(1e-3, b1=0.5), generator=adam(1e-3, b1=0.5)),
        data=PAIRS,
        steps=600,
        batch_size=32,
        **TRANSLATION,
    ),
    # The error is the percentage of translations in which a classifier of real images does not find
    # the attributes.
    entry(
        "stargan",
        stargan.Config(
            shape=SHAPE,
            attributes=("bold", "slanted"),
            exclusive=(),
            width=16,
            downs=0,
            blocks=2,
            discriminator_width=16,
            discriminator_layers=2,
            output="color_mask",
            objective=GanObjective(loss="non_saturating", r1=0.1),
        ),
        gan_adam(1e-3, 1e-3),
        data=dataclasses.replace(PAIRS, data="digits_attributes"),
        steps=450,
        batch_size=32,
        **(TRANSLATION | {"metric": "attribute_translation"}),
    ),
    # Pairs of digits with captions such as "a three above an eight": a discrete VAE of 4x4 tokens,
    # captions and images in one space (top-1 retrieval), and two models that draw images of
    # captions. Their figure is the percentage of images of held-out captions that a classifier of
    # digits reads as the caption; chance is 0.5.
    entry(
        "dvae",
        TOKENIZER,
        Optimizer(learning_rate=2e-3, schedule="cosine", warmup=50),
        data=dataclasses.replace(CAPTIONED, tokenizer="", text_length=0),
        steps=600,
        eval_every=200,
    ),
    entry(
        "joint_embedding",
        EMBEDDING,
        Optimizer(learning_rate=1e-3, schedule="cosine", warmup=50),
        data=CAPTIONED,
        steps=600,
        ema=0.0,
        metric="caption_retrieval",
    ),
    entry(
        "dalle",
        dalle.Config(
            shape=TOKENIZER.shape,
            image_tokenizer=TOKENIZER,
            vocabulary=EMBEDDING.vocabulary,
            text_length=EMBEDDING.text_length,
            width=64,
            layers=3,
            heads=4,
            kernel=3,
        ),
        Optimizer(learning_rate=2e-3, schedule="cosine", warmup=100, clip=1.0),
        data=CAPTIONED,
        steps=1_200,
        samples=8,
        **DRAWN,
    ),
    entry(
        "gan_cls",
        gan_cls.Config(
            shape=TOKENIZER.shape,
            width=32,
            discriminator_width=16,
            latent=32,
            text_width=32,
            captions=2,
            embedding=EMBEDDING,
        ),
        gan_adam(1e-3, 4e-4),
        data=dataclasses.replace(CAPTIONED, transform="scale(-1, 1)"),
        steps=1_200,
        samples=8,
        **DRAWN,
    ),
)
RUNS = {run.family: run for run in ENTRIES}
# Families that train in under three minutes together.
DEFAULT = ("joint", "markov", "mixture", "fvsbn", "nade", "made", "orderless_nade", "vae", "gan")


def main(argv: list[str] | None = None) -> int:
    """Trains the families, prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.tour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="train every family")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), help="train these families")
    parser.add_argument("--smoke", action="store_true", help="train a few steps each")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/tour"))
    parser.add_argument("--verbose", action="store_true", help="print metrics during training")
    options = parser.parse_args(argv)
    set_up_process()
    names = options.only or (list(RUNS) if options.all else DEFAULT)
    try:
        remove_earlier_runs(options.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(train_family(name, options))
    print_table(rows)
    page = report.write(
        [options.out / name for name in names],
        options.out / "report.html",
        title="The tour: binarised digits",
    )
    print(f"Curves and samples: {page}")
    return 0


def remove_earlier_runs(out: pathlib.Path) -> None:
    """Removes the runs of an earlier tour, and nothing else.

    Raises:
      ValueError: a folder with the name of a family is not from a tour.
    """
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / name for name in RUNS if (out / name).exists() or (out / name).is_symlink()]
    for folder in folders:
        try:
            experiment = read_object(folder / "config.json", fix="remove it").get("experiment")
        except ValueError:
            experiment = ""
        if folder.is_symlink() or not str(experiment).startswith("tour_"):
            raise ValueError(f"{folder} is not from a tour; move it, or choose another --out.")
    for folder in folders:
        shutil.rmtree(folder)


def with_parts(run: Run, folder: pathlib.Path, options: argparse.Namespace) -> Run:
    """Trains the families that a run's contains, and returns the run with their weights."""
    names = [name for name, _ in families.parts_of(run.family, run.model).values()]
    for name in names:
        part = smoke(RUNS[name]) if options.smoke else RUNS[name]
        fit(part, folder / name, devices=jax.devices()[:1], quiet=not options.verbose)
    parts = tuple(str(folder / name) for name in names)
    return dataclasses.replace(run, train=dataclasses.replace(run.train, parts_from=parts))


def train_family(name: str, options: argparse.Namespace) -> list[str]:
    """Trains one family, keeps its files except checkpoints, and returns its row of the table."""
    start = time.monotonic()
    run = RUNS[name]
    if options.smoke:
        run = smoke(run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, name)
        run = with_parts(run, pathlib.Path(temporary), options)
        # The batch does not divide over all numbers of devices, and one is enough.
        result = fit(run, folder, devices=jax.devices()[:1], quiet=not options.verbose)
        record = result.record or {}
        ignored = shutil.ignore_patterns("checkpoints", ".lock")
        # Copied and renamed: an interrupted tour leaves no folder that the next one rejects.
        with tempfile.TemporaryDirectory(dir=options.out, prefix=".tour-") as partial:
            shutil.copytree(folder, pathlib.Path(partial, name), ignore=ignored)
            pathlib.Path(partial, name).rename(options.out / name)
    density = families.get(run.family).traits(run.model).density
    figure = "-"
    if density != "none" or run.train.metric:
        figure = f"{record['obtained']:.2f} ± {record['std_error']:.2f}"
    if record["unit"] not in ("", "nats"):
        figure += f" {record['unit']}"
    if run.train.metric:
        figure += f" {record['metric'].split()[-1]}"  # such as top1
    pixels = str(run.model.shape[0] * run.model.shape[1])
    seconds = f"{time.monotonic() - start:.0f}"
    return [name, pixels, f"{record['parameters']:,}", density, figure, seconds]


def print_table(rows: list[list[str]]) -> None:
    """Prints one line per family."""
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
