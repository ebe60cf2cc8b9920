"""FVSBN on the fixed binarised MNIST: exact test likelihood, in nats.

Hugo Larochelle, Iain Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011,
section 6.2: 97.45 nats, on one random order, trained by SGD without regularisation and stopped
early.

A logistic regression for every pixel: 307,720 parameters, minutes on a CPU.
"""

import sys

from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import fvsbn
from genjax.train import Figure, Run, Train

RECIPES = {
    # Chosen on validation (random order; batches of 100; a rate falling linearly to 0): SGD at 0.5
    # with weight decay 2e-4 has 98.45 there; 0.3 with 1e-4 has 98.47, with 5e-4 98.61, without any
    # 98.54; 1.0 has 98.45; with biases decayed too 98.64, since those of rare pixels lie far from
    # 0. Adam is worse: it makes rare pixels learn as fast as frequent ones, and its best, 98.74,
    # asked for weight decay and 12 epochs.
    "sgd": Run(
        experiment="fvsbn_binarized_mnist",
        family="fvsbn",
        model=fvsbn.Config(order="random"),
        data=Data(data="binarized_mnist"),
        optimizer=Optimizer(
            optimizer="sgd",
            learning_rate=0.5,
            schedule="linear",
            weight_decay=2e-4,
            decay_biases=False,
        ),
        train=Train(
            steps=40_000,  # 80 epochs of 50,000 images
            batch_size=100,
            ema=0.99,
            log_every=1_000,
            eval_every=4_000,
            sample_every=10_000,
            save_every=10_000,
        ),
        figure=Figure(
            paper=97.45,
            tag="seen",
            source="Larochelle and Murray 2011, section 6.2: FVSBN",
            difference="weight decay, a rate falling to 0 and averaged weights; the paper has SGD"
            " stopped early",
            data_checksum="0277658a",
        ),
    ),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
