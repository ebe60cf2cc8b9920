"""Modes that GANs find of eight Gaussians on a ring and of twenty-five on a grid.

The data of Srivastava et al. 2017, "VEEGAN", section 4.1, with the protocol of Lin et al. 2018,
"PacGAN" (arXiv:1712.04086), section 4.1: 2,500 samples; a mode counts as found if a sample lies
within three standard deviations of it. Three objectives on the same small networks, sampled from
averaged weights; the figure beside them is the number of modes of the data.

    python -m experiments.ring_modes --recipe grid_r3gan          # 25 of 25 in a minute
    python -m experiments.reproduce --only ring_modes             # all six, 9 minutes

* `*_gan`: the non-saturating GAN;
* `*_wgan_gp`: Gulrajani et al. 2017, with the rate and the penalty of the authors' code for toy
  data. A penalty of 10 covers all modes evenly and none precisely;
* `*_r3gan`: loss and penalties of Huang et al. 2024.

The record has the share of samples near a mode and the evenness over modes too.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import gan
from genjax.train import Figure, Run, Train

OBJECTIVES = {
    "gan": GanObjective(),
    "wgan_gp": GanObjective(loss="wasserstein", gradient_penalty=0.1, critic_steps=5),
    "r3gan": GanObjective(loss="relativistic", r1=0.1, r2=0.1),
}
MODES = {"ring": 8, "grid": 25}
CHECKSUMS = {"ring": "79e2d1a6", "grid": "f7565c26"}


def recipe(data: str, objective: str) -> Run:
    """Returns one objective on one data set."""
    if objective == "wgan_gp":
        each = Optimizer(learning_rate=1e-4, b1=0.5, b2=0.9)
    else:
        each = Optimizer(learning_rate=1e-3, schedule="linear", b1=0.5)
    return Run(
        experiment="ring_modes",
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
            objective=OBJECTIVES[objective],
        ),
        data=Data(data=data),
        optimizer=dict(generator=each, discriminator=each),
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
            source="number of modes of the data",
            difference="the figure is the most that a model can find, and no result of a paper;"
            " networks, length and averaged weights are our own",
            data_checksum=CHECKSUMS[data],
        ),
    )


RECIPES = named({f"{d}_{o}": recipe(d, o) for d in MODES for o in OBJECTIVES})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
