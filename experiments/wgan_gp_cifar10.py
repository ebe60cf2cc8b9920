"""WGAN-GP on CIFAR-10 without labels: Inception score and FID.

Ishaan Gulrajani et al., "Improved Training of Wasserstein GANs", NIPS 2017 (arXiv:1704.00028),
table 3: 7.86 +- 0.07, and appendix F: residual networks of 128 channels, Adam 2e-4 falling to 0
over 100,000 updates of G, b1 0, b2 0.9, five critic updates each, lambda 10.

    python -m experiments.wgan_gp_cifar10 --fid-weights pt_inception-2015-12-05-6726825d.pth

`score` is the Inception score, `fid` the FID of the same run.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train

ADAM = Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9, schedule="linear")

SCORE = Run(
    experiment="wgan_gp_cifar10",
    family="dcgan",
    model=dcgan.Config(
        shape=(32, 32, 3),
        latent=128,
        noise="normal",
        network="residual",
        generator_widths=(128, 128, 128),
        discriminator_widths=(128, 128, 128, 128),
        discriminator_norm="none",
        objective=GanObjective(loss="wasserstein", gradient_penalty=10.0, critic_steps=5),
    ),
    data=Data(data="cifar10", transform="scale(-1, 1)"),
    optimizer=dict(generator=ADAM, discriminator=ADAM),
    train=Train(
        steps=100_000,
        batch_size=64,
        log_every=100,
        sample_every=5_000,
        save_every=5_000,
        metric="inception_score",
    ),
    figure=Figure(
        paper=7.86,
        tag="seen",
        source="Gulrajani et al. 2017, table 3: unsupervised ResNet, Inception score 7.86 +- 0.07",
        difference="G sees batches of 64, not 128; no noise is added to the levels; samples are"
        " computed under running statistics, the authors' under those of their batch of 100",
    ),
)

FID = dataclasses.replace(
    SCORE,
    train=dataclasses.replace(SCORE.train, metric="fid"),
    figure=dataclasses.replace(
        SCORE.figure,
        paper=36.4,
        tag="seen-2nd",
        source="FID of the unsupervised ResNet, as Song and Ermon 2019, table 1, quote it",
    ),
)

RECIPES = named({"score": SCORE, "fid": FID})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
