"""Jigsaw puzzles of Fashion-MNIST, 3x3 pieces, on a CPU in minutes.

The assignment head (`genjax/families/jigsaw_assignment.py`) on images of 28x28, cropped to 27x27,
in pieces of 9x9. Many pieces are blank: a puzzle is solved when the pixels are those of the image.
The figure is the percentage of test images that are solved; the record has chance, the classical
solvers, gaps and missing pieces.

    python -m experiments.jigsaw_fashion
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import jigsaw_assignment
from genjax.train import Figure, Run, Train

CPU = Run(
    experiment="jigsaw_fashion",
    family="jigsaw_assignment",
    model=jigsaw_assignment.Config(
        shape=(27, 27, 1),
        grid=(3, 3),
        gaps=(0, 1, 2),
        missing=2,
        channels=(32, 64),
        width=64,
        layers=3,
    ),
    data=Data(data="fashion_mnist", validation=2_000, transform="random_crop(27)|scale(-1, 1)"),
    optimizer=Optimizer(learning_rate=1e-3, schedule="cosine", warmup=200, clip=1.0),
    train=Train(
        steps=2_500,
        batch_size=64,
        ema=0.998,
        log_every=100,
        eval_every=500,
        sample_every=1_000,
        samples=48,
        save_every=1_000,
        metric="puzzle",
    ),
    figure=Figure(source="no paper has puzzles of these images"),
)

RECIPES = named({"cpu": CPU})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
