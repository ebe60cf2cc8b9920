"""GAN on MNIST: log-likelihood of a Parzen window of its samples, in nats.

Ian Goodfellow et al., "Generative Adversarial Nets", NIPS 2014 (arXiv:1406.2661), table 1: 225 +- 2
for real-valued images in [0, 1], higher is better. Protocol of the authors' parzen_ll.py: 10,000
samples; width chosen on training images 50,000 to 50,999; evaluated on all test images.

    python -m experiments.gan_mnist                  # 220.7 +- 2.3 in 70 minutes
    python -m experiments.gan_mnist --recipe paper   # 181.0 +- 2.3 in 80 minutes

* `paper`: settings of the authors' mnist.yaml: SGD whose momentum rises from 0.5 to 0.7 over 250
  epochs. Their code halves the loss that D minimises and updates both networks simultaneously. Here
  D is updated first and its loss is not halved: with half the loss, G collapses within 5,000 steps.
* `cpu`: the same run, sampled from averaged weights. Without averaging the figure still fluctuates
  by 30 nats at the end.

The figure says little about the quality of samples (Theis et al. 2016).
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import gan
from genjax.train import Figure, Run, Train

EPOCH = 500  # batches of 100
SGD = Optimizer(
    optimizer="sgd",
    learning_rate=0.1,
    schedule="exponential",
    decrease=4e-6,
    floor=1e-6,
    momentum=0.5,
    momentum_end=0.7,
    momentum_steps=250 * EPOCH,
)

PAPER = Run(
    experiment="gan_mnist",
    family="gan",
    model=gan.Config(),
    data=Data(data="mnist", transform="scale(0, 1)", validation=10_000),
    optimizer=dict(generator=SGD, discriminator=SGD),
    train=Train(
        steps=250 * EPOCH,
        batch_size=100,
        log_every=EPOCH,
        sample_every=10 * EPOCH,
        save_every=10 * EPOCH,
        metric="parzen",
    ),
    figure=Figure(
        paper=225.0,
        tag="seen",
        source="Goodfellow et al. 2014, table 1: MNIST, adversarial nets, 225 +- 2",
        difference="250 epochs, over which the momentum rises: the paper does not print the length;"
        " D is updated first in every step, by the sum of its two losses where the authors have"
        " the mean",
        data_checksum="07312661",
    ),
)

CPU = dataclasses.replace(
    PAPER,
    train=dataclasses.replace(PAPER.train, ema=0.9999),
    figure=dataclasses.replace(
        PAPER.figure, difference=f"averaged weights; {PAPER.figure.difference}"
    ),
)

RECIPES = named({"cpu": CPU, "paper": PAPER})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
