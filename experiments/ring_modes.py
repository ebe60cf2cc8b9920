"""Modes that GANs find: eight Gaussians on a ring, twenty-five on a grid.

The data of Srivastava et al. 2017, "VEEGAN", section 4.1, as Lin et al. 2018, "PacGAN"
(arXiv:1712.04086), section 4.1, state them: 2,500 samples, of which a mode is found that has one
within three standard deviations. Three methods on the same small networks: the non-saturating GAN,
WGAN-GP (Gulrajani et al. 2017; rates and the small lambda of its authors' code for toys; with 10
it is even over the modes and finds the middle of none) and R3GAN's loss and penalties (Huang et
al. 2024). The first and the last have a rate of 1e-3 that falls to 0, WGAN-GP 1e-4 throughout;
samples are of averaged weights.

The record's `final_metrics` has the share of samples near a mode and how evenly modes are met.
"""

import sys

from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import gan
from genjax.train import Figure, Run, Train
from genjax.train.run_config import TwoOptimizers

METHODS = {
    "gan": GanObjective(),
    "wgan_gp": GanObjective(loss="wasserstein", gradient_penalty=0.1, critic_steps=5),
    "r3gan": GanObjective(loss="relativistic", r1=0.1, r2=0.1),
}
MODES = {"ring": 8, "grid": 25}
CHECKSUMS = {"ring": "79e2d1a6", "grid": "f7565c26"}


def recipe(data: str, method: str) -> Run:
    """One method on one arrangement."""
    if method == "wgan_gp":
        each = Optimizer(learning_rate=1e-4, b1=0.5, b2=0.9)
    else:
        each = Optimizer(learning_rate=1e-3, schedule="linear", b1=0.5)
    return Run(
        experiment=f"ring_modes:{data}_{method}",
        family="gan",
        model=gan.Config(
            shape=(2,),
            latent=16,
            noise="normal",
            output="linear",
            generator_hidden=(128, 128, 128),
            discriminator_hidden=(128, 128, 128),
            activation="relu",
            input_dropout=0.0,
            hidden_dropout=0.0,
            generator_range=0.0,
            discriminator_range=0.0,
            marginals=False,
            method=METHODS[method],
        ),
        data=Data(data=data),
        optimizer=TwoOptimizers(generator=each, discriminator=each),
        train=Train(
            steps=20_000,
            batch_size=256,
            ema=0.999,
            log_every=500,
            sample_every=1_000,
            save_every=2_000,
            samples=1024,
            metric="gaussian_modes",
        ),
        figure=Figure(
            paper=MODES[data],
            tag="calc",
            source="the modes there are",
            data_checksum=CHECKSUMS[data],
        ),
    )


RECIPES = {f"{d}_{m}": recipe(d, m) for d in MODES for m in METHODS}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
