"""Markov models on the fixed binarised MNIST: exact test likelihood, in nats.

Baselines of our own, for want of printed figures: each pixel given the k nearest in a causal
template, counted once over the 50,000 training images. k = 0 is a Bernoulli a pixel; the counts
grow as 2^k, and from k = 10 on the images run out.

Recipes k0 to k16. A table a pixel and the pseudo-count are chosen on validation for each k: the
tables from by position and shared (with nine pseudo-counts from 0.001 to 2 each), the pseudo-count
then from 0.2, 0.3, ..., 0.8 and 1. Validation nats, by position and shared:

    k             0       1       2       4       6       8      10      12      14      16
    position 206.32  146.03  119.76  105.00  102.33   99.82   97.71   98.14   99.39  102.07
    shared   304.60  180.43  138.55  116.13  113.05  110.04  105.19  103.98  102.71  102.18
"""

import sys

from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import markov
from genjax.train import Figure, Run, Train

NAME = "markov_binarized_mnist"
FIGURE = Figure(data_checksum="0277658a")


def recipe(k: int, alpha: float) -> Run:
    """All training images counted in one step; the default, k = 10, is the best on validation."""
    return Run(
        experiment=NAME if k == 10 else f"{NAME}:k{k}",
        family="markov",
        model=markov.Config(k=k, template="causal", by_position=True, alpha=alpha),
        data=Data(data="binarized_mnist"),
        optimizer=None,
        train=Train(steps=1, batch_size=50_000),
        figure=FIGURE,
    )


RECIPES = {
    "k10": recipe(10, 0.6),
    "k0": recipe(0, 0.3),
    "k1": recipe(1, 0.2),
    "k2": recipe(2, 0.4),
    "k4": recipe(4, 0.6),
    "k6": recipe(6, 0.8),
    "k8": recipe(8, 0.7),
    "k12": recipe(12, 0.5),
    "k14": recipe(14, 0.5),
    "k16": recipe(16, 0.4),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
