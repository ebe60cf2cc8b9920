"""Exact densities of scikit-learn's 8x8 digits: small models for first steps, on a CPU in a minute.

Grey levels are binarised by a threshold. The weights `nade_digits` and `made_digits` of the package
are of these runs; see docs/weights.md. The figure is the exact NLL of the test split in nats.

    python -m experiments.digit_densities                 # nade
    python -m experiments.digit_densities --recipe made

* `nade`: NADE of 500 units with a random order of the pixels.
* `made`: MADE of one layer of 500 units with one mask in raster order, so that lower rows can be
  completed given the upper ones, and dropout, without which it overfits: 18.5 nats.
"""

import sys
from typing import Any

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import made, nade
from genjax.train import Figure, Run, Train

SHAPE = (8, 8, 1)


def digits(family: str, model: Any, learning_rate: float, steps: int) -> Run:
    """Returns a run of Adam at a rate falling to 0, which keeps the best weights by validation."""
    return Run(
        experiment="digit_densities",
        family=family,
        model=model,
        data=Data(data="digits", transform="binarize('threshold')"),
        optimizer=Optimizer(learning_rate=learning_rate, schedule="linear"),
        train=Train(steps=steps, batch_size=100, eval_every=250),
        figure=Figure(source="no paper has densities of these digits"),
    )


RECIPES = named(
    {
        "nade": digits("nade", nade.Config(shape=SHAPE, hidden=500), 1e-3, 1_500),
        "made": digits(
            "made",
            made.Config(shape=SHAPE, hidden=(500,), order="raster", dropout=0.5),
            3e-3,
            6_000,
        ),
    }
)
REQUIRES = {"*": "a minute of a CPU core"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
