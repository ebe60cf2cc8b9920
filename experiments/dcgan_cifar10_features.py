"""DCGAN as a feature extractor: a linear SVM on its discriminator's maps, CIFAR-10, percent right.

Radford et al. 2016 (arXiv:1511.06434), section 5.1, table 1: 82.8 %, with max-pooled maps of all
convolutions under a linear SVM. The paper's network was trained on ImageNet, this one on CIFAR-10
without labels, so the paper's figure is of another task.

    python -m experiments.dcgan_cifar10_features    # a GPU

The record has `pixels` too, the same SVM on raw pixels.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train

ADAM = Optimizer(learning_rate=2e-4, b1=0.5)

PAPER = Run(
    experiment="dcgan_cifar10_features",
    family="dcgan",
    # D's maps, 16x16 to 4x4, pooled to 4x4: 16 (256 + 512 + 1024) = 28,672 features.
    model=dcgan.Config(
        shape=(32, 32, 3),
        generator_widths=(512, 256, 128),
        discriminator_widths=(256, 512, 1024),
    ),
    data=Data(data="cifar10", transform="scale(-1, 1)", validation=5_000),
    optimizer=dict(generator=ADAM, discriminator=ADAM),
    train=Train(
        steps=20_000,
        batch_size=128,
        log_every=100,
        sample_every=1_000,
        save_every=1_000,
        metric="svm",
    ),
    figure=Figure(
        paper=82.8,
        tag="seen-2nd",
        source="Radford et al. 2016, table 1: accuracy in percent, trained on ImageNet-1k",
        difference="trained on CIFAR-10 without labels, not on ImageNet; D of three strided 5x5"
        " convolutions, in the authors' code six of 3x3, every second strided; 100 dimensions of"
        " noise, there 256; the SVM is trained on 5,000 labelled images, not on 50,000",
    ),
)

RECIPES = named({"paper": PAPER})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
