"""NADE on the fixed binarised MNIST: exact test likelihood, in nats.

Benigno Uria, Iain Murray, Hugo Larochelle, "A Deep and Tractable Density Estimator", ICML 2014
(arXiv:1310.1757), table 2, row "NADE (fixed order), 1 hidden layer, ReLU": 88.33 nats. The model
is Hugo Larochelle, Iain Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011.
"""

import sys

from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import nade
from genjax.train import Figure, Run, Train
from genjax.train.cli import main

FIGURE = Figure(
    paper=88.33,
    tag="seen",
    source="Uria, Murray and Larochelle 2014, table 2: NADE fixed order, 1 hidden layer, ReLU",
)

# The paper's network: 500 ReLU units, one random order kept for the whole run (sections 2, 6.1).
MODEL = nade.Config(shape=(28, 28, 1), hidden=500, activation="relu", order="random")

# Not the paper's recipe: Adam falling to 0, dropout on the hidden units and averaged weights.
# Without the last two NADE passes its best within minutes and then overfits.
ADAM = Run(
    experiment="nade_binarized_mnist",
    family="nade",
    model=nade.Config(
        shape=MODEL.shape, hidden=500, activation="relu", order="random", dropout=0.2
    ),
    data=Data(data="binarized_mnist"),
    optimizer=Optimizer(optimizer="adam", learning_rate=5e-4, schedule="linear"),
    train=Train(
        steps=45_000,  # 90 epochs of 50,000 images
        batch_size=100,
        ema=0.999,
        log_every=500,
        eval_every=2_500,
        sample_every=5_000,
        save_every=5_000,
    ),
    figure=FIGURE,
)

RECIPES = {"adam": ADAM}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
