"""SNGAN on CIFAR-10 without labels: hinge loss, spectral normalisation, residual networks.

Takeru Miyato, Toshiki Kataoka, Masanori Koyama, Yuichi Yoshida, "Spectral Normalization for
Generative Adversarial Networks", ICLR 2018 (arXiv:1802.05957): Inception score 8.22 +- 0.05, FID
21.7. Adam 2e-4, b1 0, b2 0.9, five updates of D for one of G; 50,000 of G, as in the authors' code.

    python -m experiments.sngan_cifar10 --fid-weights pt_inception-2015-12-05-6726825d.pth

`score` is the Inception score, `fid` the FID of the same run.
"""

import dataclasses
import sys

from experiments import named
from experiments.wgan_gp_cifar10 import SCORE as WGAN_GP
from genjax.cli.experiment import main
from genjax.core import GanObjective

SCORE = dataclasses.replace(
    WGAN_GP,
    experiment="sngan_cifar10",
    model=dataclasses.replace(
        WGAN_GP.model,
        generator_widths=(256, 256, 256),
        discriminator_norm="spectral",
        objective=GanObjective(loss="hinge", critic_steps=5),
    ),
    train=dataclasses.replace(WGAN_GP.train, steps=50_000),
    figure=dataclasses.replace(
        WGAN_GP.figure,
        paper=8.22,
        tag="seen-2nd",
        source="Miyato et al. 2018: unsupervised ResNet, Inception score 8.22 +- 0.05, as Song and"
        " Ermon 2019, table 1, quote it",
        difference="G sees batches of 64, not 128; no noise is added to the levels; D's last layer"
        " has a bias",
    ),
)

FID = dataclasses.replace(
    SCORE,
    train=dataclasses.replace(SCORE.train, metric="fid", metric_samples=5_000),
    figure=dataclasses.replace(
        SCORE.figure,
        paper=21.7,
        source="Miyato et al. 2018: unsupervised ResNet, FID 21.7, as Song and Ermon 2019, table 1,"
        " quote it",
        difference=f"{SCORE.figure.difference}; 5,000 samples as in the paper, against all 50,000"
        " training images, where the paper has 10,000",
    ),
)

RECIPES = named({"score": SCORE, "fid": FID})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
