"""Grown and not grown: a progressive GAN on Fashion-MNIST, on a CPU.

Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved
Quality, Stability, and Variation", ICLR 2018 (arXiv:1710.10196). Section 6.2 compares training with
and without growing: growing is better, and faster, since most images are shown to small networks.
The images are 28x28, with a border of two pixels 32x32.

    python -m experiments.progressive_fashion                         # grown; no file of weights
    python -m experiments.progressive_fashion --recipe not_grown

All rows have networks of at most 32 features, batches of 16, and Adam at 0.001, b1 0, b2 0.99:

* `grown`: 4x4 to 32x32, 20,000 images per size and per fade, 200,000 in all;
* `not_grown`: 32x32 from the start, the same number of images;
* `not_grown_equal_time`: 32x32 from the start, as long as `grown` takes;
* `skip_residual`: not grown, with the skip generator and the residual discriminator of StyleGAN2
  (Karras et al. 2020, arXiv:1912.04958, section 4.1), the same number of images;
* `r1`: grown, with the non-saturating loss and R1 in every 16th update of D (its section 3.1).

The figure is the sliced Wasserstein distance, mean over the levels 32 and 16; the record also has
the classifier-Frechet distance and MS-SSIM. Expected: `grown` better than `not_grown_equal_time`.
"""

import dataclasses
import sys
from typing import Any

from experiments import named
from experiments.progressive_celebahq1024 import ADAM, BATCH, SWD, steps_for
from genjax.cli.experiment import main
from genjax.core import GanObjective
from genjax.data import Data
from genjax.families import progressive
from genjax.train import Figure, Run

MODEL = progressive.Config(
    shape=(32, 32, 1),
    latent=128,
    base=512,
    max_width=32,
    fade_images=20_000,
    stable_images=20_000,
)
IMAGES = 200_000
EQUAL_TIME_IMAGES = 120_000  # grown takes as long as 112,000 images of 32x32; these are more


def row(images: int = IMAGES, **changes: Any) -> Run:
    """Returns a run of so many images; `changes` are of the model."""
    model = dataclasses.replace(MODEL, **changes)
    return Run(
        experiment="progressive_fashion",
        family="progressive",
        model=model,
        data=Data(data="fashion_mnist", transform="pad(32)|scale(-1, 1)"),
        optimizer=dict(discriminator=ADAM, generator=ADAM),
        train=dataclasses.replace(
            SWD.train,
            steps=steps_for(model, images),
            batch_size=BATCH,
            sample_every=500,
            samples=64,
            save_every=1_000,
            metric="swd,classifier_frechet,ms_ssim",
            metric_samples=10_000,
        ),
        figure=Figure(source="Karras et al. 2018, section 6.2: no figure on Fashion-MNIST"),
    )


RECIPES = named(
    {
        "grown": row(),
        "not_grown": row(start=32),
        "not_grown_equal_time": row(EQUAL_TIME_IMAGES, start=32),
        "skip_residual": row(start=32, architecture="skip_residual"),
        "r1": row(objective=GanObjective(loss="non_saturating", r1=1.0, penalty_interval=16)),
    }
)
REQUIRES = {"*": "half an hour of two CPU cores"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
