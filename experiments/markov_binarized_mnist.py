"""Markov models on the fixed binarised MNIST: exact test NLL, in nats.

Baselines without a printed figure: each pixel given the k nearest of a causal template, counted
once over the 50,000 training images. k = 0 is independent pixels; the counts grow as 2^k, and from
k = 10 on the images are too few.

    python -m experiments.markov_binarized_mnist                # k = 10, the best: 97.23, seconds
    python -m experiments.markov_binarized_mnist --recipe k0    # 205.79

The pseudo-count and one table per pixel are chosen on validation for each k. Tables shared by all
pixels are worse up to k = 16, where both are at 102.1 on validation.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import markov
from genjax.train import Figure, Run, Train

ALPHA = {10: 0.6, 0: 0.3, 1: 0.2, 2: 0.4, 4: 0.6, 6: 0.8, 8: 0.7, 12: 0.5, 14: 0.5, 16: 0.4}


def recipe(k: int, alpha: float) -> Run:
    """Returns the model of order k; all training images are counted in one step."""
    return Run(
        experiment="markov_binarized_mnist",
        family="markov",
        model=markov.Config(k=k, template="causal", by_position=True, alpha=alpha),
        data=Data(data="binarized_mnist"),
        optimizer=None,
        train=Train(steps=1, batch_size=50_000),
        figure=Figure(data_checksum="0277658a"),
    )


RECIPES = named({f"k{k}": recipe(k, alpha) for k, alpha in ALPHA.items()})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
