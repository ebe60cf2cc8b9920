"""A small DCGAN on MNIST, whose weights come with the package.

Alec Radford, Luke Metz, Soumith Chintala, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks", ICLR 2016 (arXiv:1511.06434), on smaller images and
with 0.14 million parameters.

    python -m experiments.dcgan_mnist    # 169.6 +- 1.4 nats in 21 minutes

The discriminator has the gradient penalty R1 (Mescheder et al. 2018, arXiv:1801.04406) instead of
batch normalisation, and samples are of averaged weights. The figure is the log-likelihood of a
Parzen window, as of `gan_mnist`; the record also has the classifier-Frechet distance.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train

ADAM = Optimizer(learning_rate=1e-3, b1=0.5)

SMALL = Run(
    experiment="dcgan_mnist",
    family="dcgan",
    model=dcgan.Config(
        shape=(28, 28, 1),
        latent=32,
        noise="normal",
        generator_widths=(48, 24),
        discriminator_widths=(24, 48),
        discriminator_norm="none",
        objective=GanObjective(r1=1.0, penalty_interval=4),
    ),
    data=Data(data="mnist", transform="scale(-1, 1)", validation=10_000),
    optimizer=dict(generator=ADAM, discriminator=ADAM),
    train=Train(
        steps=15_000,
        batch_size=64,
        ema=0.999,
        log_every=250,
        sample_every=2_500,
        save_every=2_500,
        metric="parzen,classifier_frechet",
    ),
    figure=Figure(
        source="no paper has this network",
    ),
)

RECIPES = named({"small": SMALL})
REQUIRES = {"*": "half an hour of a CPU core"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
