"""Jigsaw puzzles of digits, 2x2 pieces, on a CPU in minutes.

The assignment head (`genjax/families/jigsaw_assignment.py`) on MNIST, in pieces of 14x14, and on
the digits of scikit-learn, in pieces of 4x4, which need no download. Quarters of a digit can be
equal, such as blank corners: a puzzle is solved when the pixels are those of the image. The figure
is the percentage of test images that are solved, of which chance is 4.2 % for distinct pieces; the
record has the classical solvers and missing pieces.

    python -m experiments.jigsaw_digits                   # 8x8 digits
    python -m experiments.jigsaw_digits --recipe mnist
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import jigsaw_assignment
from genjax.train import Figure, Run, Train

DIGITS = Run(
    experiment="jigsaw_digits",
    family="jigsaw_assignment",
    model=jigsaw_assignment.Config(
        shape=(8, 8, 1), grid=(2, 2), missing=1, channels=(32, 32), width=32, layers=2, heads=2
    ),
    data=Data(data="digits", transform="scale(-1, 1)"),
    optimizer=Optimizer(learning_rate=2e-3, schedule="cosine", warmup=100, clip=1.0),
    train=Train(
        steps=2_000,
        batch_size=64,
        ema=0.99,
        log_every=100,
        eval_every=200,
        eval_batch=180,
        sample_every=500,
        samples=48,
        save_every=500,
        metric="puzzle",
    ),
    figure=Figure(source="no paper has puzzles of these digits"),
)

MNIST = dataclasses.replace(
    DIGITS,
    model=dataclasses.replace(
        DIGITS.model, shape=(28, 28, 1), channels=(16, 32), width=64, heads=4
    ),
    data=Data(data="mnist", validation=2_000, transform="scale(-1, 1)"),
    train=dataclasses.replace(DIGITS.train, steps=1_000, eval_every=250, eval_batch=500),
)

RECIPES = named({"digits": DIGITS, "mnist": MNIST})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
