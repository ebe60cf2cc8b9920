"""DCGAN on 64x64 faces: distance of samples to real faces.

Alec Radford, Luke Metz, Soumith Chintala, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks", ICLR 2016 (arXiv:1511.06434), section 4.2: faces
scraped from the web, and no figure. Here it is CelebA, Adam 2e-4 with b1 0.5, batches of 128; and
samples are of averaged weights, which the paper has not.

* default: KID of 10,000 samples; wants the standard network's file,
  `--fid-weights pt_inception-2015-12-05-6726825d.pth`;
* `swd`: sliced Wasserstein distance (Karras et al. 2018), which needs no file.

`--data` is a folder that `genjax.cli.prepare` or TFDS made of 64x64 faces.
"""

import dataclasses
import sys

from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train
from genjax.train.run_config import TwoOptimizers

ADAM = Optimizer(learning_rate=2e-4, b1=0.5)

KID = Run(
    experiment="dcgan_celeba64",
    family="dcgan",
    model=dcgan.Config(),
    data=Data(data="celeb_a_64/1.0.0", transform="scale(-1, 1)", stream="no"),
    optimizer=TwoOptimizers(generator=ADAM, discriminator=ADAM),
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
        difference="averaged weights; the authors' code for faces also has an L2 term of 1e-5,"
        " gains of the batch normalisations that begin at N(1, 0.02), and other images for each"
        " player",
    ),
)

RECIPES = {
    "kid": KID,
    "swd": dataclasses.replace(
        KID,
        experiment="dcgan_celeba64:swd",
        train=dataclasses.replace(KID.train, metric="swd", metric_samples=8192),
    ),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
