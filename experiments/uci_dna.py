"""DNA of the UCI repository: exact test likelihoods of FVSBN, NADE and MADE, in nats.

Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle, "MADE: Masked Autoencoder for
Distribution Estimation", ICML 2015 (arXiv:1502.03509), table 4, column DNA:
FVSBN 83.64, NADE (fixed order) 84.81, MADE (fixed mask) 83.63, MADE (mask sampling) 79.66.
180 binary inputs; 1,400 / 600 / 1,186 examples.

The data are one file, `dna.npz` in the working folder or wherever `--data` says, with
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

SOURCE = "Germain et al. 2015, table 4, DNA: "
CHECKSUM = "bddb51a0"
DATA = Data(data="dna.npz")
SHAPE = (180,)
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
    # Chosen: weight decay 0.1 (of 0.03, 0.1, 0.3, 1), learning rate 0.01 (of 0.001, 0.003, 0.01,
    # 0.03); the raster order gives the same 83.04.
    "fvsbn": Run(
        experiment="uci_dna:fvsbn",
        family="fvsbn",
        model=fvsbn.Config(shape=SHAPE),
        data=DATA,
        optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.1),
        train=TRAIN,
        figure=Figure(
            paper=83.64,
            tag="seen",
            source=f"{SOURCE}FVSBN",
            difference="Adam with weight decay and averaged weights; the paper has SGD without",
            data_checksum=CHECKSUM,
        ),
    ),
    # Chosen on validation: sigmoid units, the paper's 500, without dropout, weight decay 0.5: 83.03
    # (0.1: 83.47). Of ReLU units 200 with dropout 0.5 and decay 0.3 were the best, 85.39.
    "nade": Run(
        experiment="uci_dna:nade",
        family="nade",
        model=nade.Config(shape=SHAPE, hidden=500, activation="sigmoid"),
        data=DATA,
        optimizer=Optimizer(learning_rate=3e-3, schedule="linear", weight_decay=0.5),
        train=dataclasses.replace(TRAIN, steps=3_000),
        figure=Figure(
            paper=84.81,
            tag="seen",
            source=f"{SOURCE}NADE (fixed order)",
            difference="Adam, weight decay, averaged weights; the paper has SGD without",
            data_checksum=CHECKSUM,
        ),
    ),
    # Chosen: weight decay 1 (of 0.1, 1), learning rate 3e-3 (of 3e-4, 1e-3, 3e-3).
    "made": Run(
        experiment="uci_dna:made",
        family="made",
        model=made.Config(shape=SHAPE, hidden=(500,), dropout=0.5),
        data=DATA,
        optimizer=Optimizer(learning_rate=3e-3, weight_decay=1.0),
        train=TRAIN,
        figure=Figure(
            paper=83.63,
            tag="seen",
            source=f"{SOURCE}MADE (fixed mask)",
            difference="Adam, dropout, weight decay, averaged weights; the paper has Adadelta",
            data_checksum=CHECKSUM,
        ),
    ),
    # Chosen: weight decay 0.03 (78.3 on validation; 0.06 78.4, 0.1 78.9, 0.3 82.2), learning rate
    # 1e-2 (of 1e-2, 2e-2). With 32 masks, dropout and stronger decay it was 82.3 on test.
    "made_sampling": Run(
        experiment="uci_dna:made_sampling",
        family="made",
        model=made.Config(shape=SHAPE, hidden=(500,), masks=1000),
        data=DATA,
        optimizer=Optimizer(learning_rate=1e-2, schedule="linear", weight_decay=0.03),
        train=dataclasses.replace(TRAIN, steps=8_000, eval_every=1_000),
        figure=Figure(
            paper=79.66,
            tag="seen",
            source=f"{SOURCE}MADE (mask sampling)",
            difference="Adam, weight decay, averaged weights; the paper has Adadelta",
            data_checksum=CHECKSUM,
        ),
    ),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
