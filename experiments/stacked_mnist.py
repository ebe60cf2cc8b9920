"""Stacked MNIST: how many of 1,000 modes three GANs find, with a random digit in each channel.

The data of Metz et al. 2017, "Unrolled Generative Adversarial Networks" (arXiv:1611.02163), section
3.3.1. A classifier of digits labels the three channels of 26,000 samples, as many as in Srivastava
et al. 2017, "VEEGAN", and Lin et al. 2018, "PacGAN". The record has `reverse_kl` too, the
unevenness over modes in nats.

    python -m experiments.stacked_mnist --recipe r3gan    # a GPU

Three objectives, sampled from averaged weights: the non-saturating GAN and WGAN-GP (Gulrajani et
al. 2017) on DCGAN's network at 28x28, and R3GAN's loss and penalties on its network without
normalisation (Huang et al. 2024, arXiv:2501.05441: all 1,000 modes, KL 0.029).
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import dcgan
from genjax.train import Figure, Run, Train

STRIDED = dcgan.Config(shape=(28, 28, 3), generator_widths=(256, 128))


def recipe(model: dcgan.Config, each: Optimizer, figure: Figure) -> Run:
    """Returns one objective on one network."""
    return Run(
        experiment="stacked_mnist",
        family="dcgan",
        model=model,
        data=Data(data="stacked_mnist", transform="scale(-1, 1)"),
        optimizer=dict(generator=each, discriminator=each),
        train=Train(
            steps=20_000,
            batch_size=128,
            ema=0.999,
            log_every=500,
            sample_every=1_000,
            save_every=1_000,
            metric="stacked_modes",
        ),
        figure=figure,
    )


RECIPES = named(
    {
        "gan": recipe(
            STRIDED,
            Optimizer(learning_rate=2e-4, b1=0.5),
            Figure(source="the data have 1,000 modes; the paper's networks are smaller"),
        ),
        "wgan_gp": recipe(
            dataclasses.replace(
                STRIDED,
                discriminator_norm="none",
                objective=GanObjective(loss="wasserstein", gradient_penalty=10.0, critic_steps=5),
            ),
            Optimizer(learning_rate=1e-4, b1=0.0, b2=0.9),
            Figure(source="the data have 1,000 modes; Metz et al. have no such row"),
        ),
        "r3gan": recipe(
            dcgan.Config(
                shape=(28, 28, 3),
                noise="normal",
                network="r3gan",
                generator_widths=(256, 256, 128),
                discriminator_norm="none",
                objective=GanObjective(loss="relativistic", r1=1.0, r2=1.0),
            ),
            Optimizer(learning_rate=2e-4, b1=0.0, b2=0.99),
            Figure(
                paper=1000.0,
                tag="seen",
                source="Huang et al. 2024: StackedMNIST, modes (KL 0.029)",
                difference="28x28, the authors 32x32; three stages of 256, 256 and 128 channels,"
                " theirs four of 768; 20,000 updates of 128 images, 2.6 million, theirs 10 million"
                " in batches of 512; gamma 1 and b2 0.99, theirs from 1 to 0.1 and from 0.9; 100"
                " dimensions of noise, theirs 64; a shorter average",
            ),
        ),
    }
)
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
