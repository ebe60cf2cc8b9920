"""Mushrooms of the UCI repository: exact test likelihoods of FVSBN, NADE and MADE, in nats.

Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle, "MADE: Masked Autoencoder for
Distribution Estimation", ICML 2015 (arXiv:1502.03509), table 4, column
Mushrooms: FVSBN 10.27, NADE (fixed order) 9.81, MADE (fixed mask) 9.68, MADE (mask sampling) 9.69.
112 binary inputs; 2,000 / 500 / 5,624 examples.

The data are one file, `mushrooms.npz` in the working folder or wherever `--data` says, with
arrays train, validation and test, uint8 [N, D] in {0, 1}, split as Larochelle and Murray 2011 have
it. Whatever is not the paper's was chosen on validation.
"""

import dataclasses
import sys

from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import fvsbn, made, nade
from genjax.train import Figure, Run, Train

SOURCE = "Germain et al. 2015, table 4, Mushrooms: "
CHECKSUM = "15d61bb8"
DATA = Data(data="mushrooms.npz")
SHAPE = (112,)
TRAIN = Train(
    steps=6_000,
    batch_size=100,
    ema=0.99,
    log_every=100,
    eval_every=100,
    eval_batch=600,
    patience=10,
    save_every=1_000,
    samples=16,
)

RECIPES = {
    # Chosen: weight decay 0.003 (of 0, 0.003, 0.03), learning rate 0.1 (of 0.003 .. 0.3).
    "fvsbn": Run(
        experiment="uci_mushrooms:fvsbn",
        family="fvsbn",
        model=fvsbn.Config(shape=SHAPE),
        data=DATA,
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.003),
        train=TRAIN,
        figure=Figure(
            paper=10.27,
            tag="seen",
            source=f"{SOURCE}FVSBN",
            difference="Adam with weight decay and averaged weights; the paper has SGD without",
            data_checksum=CHECKSUM,
        ),
    ),
    # These settings were tried alone: the first was below the figure on validation.
    "nade": Run(
        experiment="uci_mushrooms:nade",
        family="nade",
        model=nade.Config(shape=SHAPE, hidden=200, dropout=0.2),
        data=DATA,
        optimizer=Optimizer(learning_rate=3e-3, weight_decay=0.01),
        train=TRAIN,
        figure=Figure(
            paper=9.81,
            tag="seen",
            source=f"{SOURCE}NADE (fixed order)",
            difference="Adam, dropout, weight decay, averaged weights, 200 units; not SGD",
            data_checksum=CHECKSUM,
        ),
    ),
    # Chosen: two hidden layers (of one, two), dropout 0.5 (of 0.2, 0.3, 0.4, 0.5), weight decay 0.1
    # (of 0.01, 0.1, 0.3), learning rate 1e-2 (of 1e-3 .. 1e-2), direct connections (of both).
    "made": Run(
        experiment="uci_mushrooms:made",
        family="made",
        model=made.Config(shape=SHAPE, hidden=(500, 500), dropout=0.5),
        data=DATA,
        optimizer=Optimizer(learning_rate=1e-2, schedule="linear", weight_decay=0.1),
        train=dataclasses.replace(TRAIN, steps=4_000),
        figure=Figure(
            paper=9.68,
            tag="seen",
            source=f"{SOURCE}MADE (fixed mask)",
            difference="Adam, dropout, weight decay, averaged weights; the paper has Adadelta",
            data_checksum=CHECKSUM,
        ),
    ),
    # Chosen: learning rate 1e-2 (of 3e-3, 1e-2).
    "made_sampling": Run(
        experiment="uci_mushrooms:made_sampling",
        family="made",
        model=made.Config(shape=SHAPE, hidden=(500,), masks=32),
        data=DATA,
        optimizer=Optimizer(learning_rate=1e-2, schedule="linear", weight_decay=0.03),
        train=dataclasses.replace(TRAIN, steps=14_000, eval_every=500),
        figure=Figure(
            paper=9.69,
            tag="seen",
            source=f"{SOURCE}MADE (mask sampling)",
            difference="Adam, weight decay, averaged weights, 32 masks; not Adadelta and 1000",
            data_checksum=CHECKSUM,
        ),
    ),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
