"""NADE on the fixed binarised MNIST: exact test likelihood, in nats.

Benigno Uria, Iain Murray, Hugo Larochelle, "A Deep and Tractable Density Estimator", ICML 2014
(arXiv:1310.1757), table 2, row "NADE (fixed order), 1 hidden layer, ReLU": 88.33 nats. The model
is Hugo Larochelle, Iain Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011.

`adam` is the default and not the paper's: it reads the pixels in raster order and regularises.
`quick` is the same in fewer steps: how soon the paper's figure can be had. `random_order` is on
one random order, as the paper has it. `sgd` is the paper's training as far as it is printed.
"""

import dataclasses
import sys

from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import nade
from genjax.train import Figure, Run, Train

FIGURE = Figure(
    paper=88.33,
    tag="seen",
    source="Uria, Murray and Larochelle 2014, table 2: NADE fixed order, 1 hidden layer, ReLU",
    data_checksum="0277658a",
)
ADAM = "Adam falling to 0, dropout 0.2 and averaged weights; the paper has SGD without dropout"
DATA = Data(data="binarized_mnist")

# Without dropout and averaged weights NADE passes its best within minutes and then overfits.
# Chosen on validation: dropout 0.2 (of 0.2, 0.3, 0.4, 0.5), learning rate 1e-3 (of 5e-4, 1e-3),
# raster order, which is 1.5 nats better there than either of two random ones.
RASTER = Run(
    experiment="nade_binarized_mnist",
    family="nade",
    model=nade.Config(hidden=500, activation="relu", order="raster", dropout=0.2),
    data=DATA,
    optimizer=Optimizer(optimizer="adam", learning_rate=1e-3, schedule="linear"),
    train=Train(
        steps=10_000,  # 20 epochs of 50,000 images
        batch_size=100,
        ema=0.999,
        log_every=500,
        eval_every=1_000,
        sample_every=2_500,
        save_every=1_000,
    ),
    figure=dataclasses.replace(FIGURE, difference=f"{ADAM}; raster order, not a random one"),
)

RECIPES = {
    "adam": RASTER,
    # 3,000 steps end at 89.72 on validation, where those of `adam` have 88.35 (and 87.62 on test).
    "quick": dataclasses.replace(
        RASTER,
        experiment="nade_binarized_mnist:quick",
        optimizer=Optimizer(optimizer="adam", learning_rate=2e-3, schedule="linear"),
        train=Train(steps=6_000, batch_size=100, ema=0.99, log_every=500),
    ),
    "random_order": dataclasses.replace(
        RASTER,
        experiment="nade_binarized_mnist:random_order",
        model=dataclasses.replace(RASTER.model, order="random"),
        train=dataclasses.replace(
            RASTER.train,
            steps=22_500,  # 45 epochs of 50,000 images
            eval_every=2_500,
            sample_every=5_000,
            save_every=5_000,
        ),
        figure=dataclasses.replace(FIGURE, difference=ADAM),
    ),
    # Printed (sections 2 and 6): 500 ReLU units, one random order, minibatches, Nesterov momentum
    # 0.9, learning rate falling linearly to 0, no weight decay, best weights by validation. Not
    # printed for this row: batch size, length and learning rate.
    "sgd": Run(
        experiment="nade_binarized_mnist:sgd",
        family="nade",
        model=nade.Config(hidden=500, activation="relu", order="random"),
        data=DATA,
        optimizer=Optimizer(
            optimizer="sgd", learning_rate=0.02, schedule="linear", momentum=0.9, nesterov=True
        ),
        train=Train(
            steps=45_000,  # 90 epochs of 50,000 images
            batch_size=100,
            log_every=500,
            eval_every=2_500,
            sample_every=5_000,
            save_every=5_000,
        ),
        figure=dataclasses.replace(
            FIGURE, difference="batch size, length and learning rate are not printed for this row"
        ),
    ),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
