"""Progressive GAN on 64x64 faces, on a CPU.

Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved
Quality, Stability, and Variation", ICLR 2018 (arXiv:1710.10196). The paper's faces are of 128x128
(`progressive_ablation`) and 1024x1024 (`progressive_celebahq1024`). Here they grow from 4x4 to
64x64, with narrow networks.

    python -m experiments.progressive_celeba64 --data FOLDER            # an hour of one core

FOLDER holds 64x64 faces as `genjax prepare` or TFDS writes them.

The figure is the mean sliced Wasserstein distance over the levels 64, 32 and 16. `samples/` has the
same latents at every stage, and their growth as a film.
"""

import dataclasses
import sys

from experiments import named
from experiments.progressive_celebahq1024 import ADAM, BATCH, SWD, steps_for
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import progressive
from genjax.train import Figure, Run

MODEL = progressive.Config(
    shape=(64, 64, 3),
    latent=128,
    base=512,
    max_width=64,
    fade_images=20_000,
    stable_images=20_000,
)

CPU = Run(
    experiment="progressive_celeba64",
    family="progressive",
    model=MODEL,
    data=Data(data="celeb_a_64/1.0.0", transform="random_flip()|scale(-1, 1)"),
    optimizer=dict(discriminator=ADAM, generator=ADAM),
    train=dataclasses.replace(
        SWD.train,
        steps=steps_for(MODEL, 200_000),
        batch_size=BATCH,
        sample_every=500,
        samples=36,
        save_every=1_000,
        metric="swd,ms_ssim",
        metric_samples=8_192,
    ),
    figure=Figure(source="Karras et al. 2018: no figure at 64x64"),
)

RECIPES = named({"cpu": CPU})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
