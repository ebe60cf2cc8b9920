"""R3GAN on CIFAR-10 with labels: FID.

Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin, "The GAN is dead; long live the GAN!
A Modern GAN Baseline", NeurIPS 2024 (arXiv:2501.05441): relativistic loss, R1 and R2, networks
without norms; FID 1.96 with labels. Its schedules of gamma, rate and b2 are left out, and so are
its augmentations. Labels reach G as they are, where the authors embed them, and D by projection
(Miyato and Koyama 2018) beside an output that asks no label, where the authors have only the
product with an embedding.

The figure wants the standard network's file: `--fid-weights pt_inception-2015-12-05-6726825d.pth`.
"""

import sys

from genjax.core import Method, Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train
from genjax.train.cli import main
from genjax.train.settings import TwoOptimizers

ADAM = Optimizer(learning_rate=1e-4, b1=0.0, b2=0.99)

RECIPES = {
    "fid": Run(
        experiment="r3gan_cifar10",
        family="dcgan",
        model=dcgan.Config(
            shape=(32, 32, 3),
            latent=64,
            noise="normal",
            network="normless",
            generator_widths=(768, 768, 768, 768),
            discriminator_norm="none",
            classes=10,
            method=Method(loss="relativistic", r1=0.05, r2=0.05),
        ),
        data=Data(data="cifar10", transform="symmetric"),
        optimizer=TwoOptimizers(generator=ADAM, discriminator=ADAM),
        train=Train(
            steps=200_000,
            batch_size=512,
            ema=0.9999,
            log_every=100,
            sample_every=10_000,
            save_every=5_000,
            instrument="fid",
        ),
        figure=Figure(
            paper=1.96,
            tag="memory",
            source="Huang et al. 2024: CIFAR-10 with labels, FID",
            difference="constant gamma, b2 and rate, 1e-4 (the authors' falls from 2e-4); no"
            " augmentation; labels enter otherwise; an average of one length, where"
            " theirs grows; 100 million images seen",
        ),
    )
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
