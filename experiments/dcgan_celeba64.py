"""DCGAN on 64x64 faces: distance of samples to real faces.

Alec Radford, Luke Metz, Soumith Chintala, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks", ICLR 2016 (arXiv:1511.06434), section 4.2: faces
collected from the web, and no figure. Here CelebA, Adam 2e-4 with b1 0.5, batches of 128.

    python -m experiments.dcgan_celeba64 --data FOLDER \\
        --fid-weights pt_inception-2015-12-05-6726825d.pth               # a GPU
    python -m experiments.dcgan_celeba64 --recipe swd --data FOLDER

FOLDER holds 64x64 faces as `genjax prepare` or TFDS writes them.

* `kid`: KID of 10,000 samples, with the weights of the standard Inception network;
* `swd`: sliced Wasserstein distance (Karras et al. 2018), which needs no file.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train

ADAM = Optimizer(learning_rate=2e-4, b1=0.5)

KID = Run(
    experiment="dcgan_celeba64",
    family="dcgan",
    model=dcgan.Config(),
    data=Data(data="celeb_a_64/1.0.0", transform="scale(-1, 1)", stream="no"),
    optimizer=dict(generator=ADAM, discriminator=ADAM),
    train=Train(
        steps=25_000,
        batch_size=128,
        ema=0.999,
        log_every=100,
        sample_every=1_000,
        save_every=1_000,
        metric="kid",
    ),
    figure=Figure(
        source="Radford et al. 2016, section 4.2: pictures only",
        difference="averaged weights; the authors' code for faces also has an L2 term of"
        " 1e-5, batch normalisation scales initialised from N(1, 0.02), and other images for each"
        " network",
    ),
)

SWD = dataclasses.replace(
    KID, train=dataclasses.replace(KID.train, metric="swd", metric_samples=8192)
)

RECIPES = named({"kid": KID, "swd": SWD})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
