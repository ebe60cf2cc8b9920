"""Progressive GAN on CelebA-HQ: faces of 1024x1024.

Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved
Quality, Stability, and Variation", ICLR 2018 (arXiv:1710.10196), section 6.3 and appendix A.1. The
networks start at 4x4 and grow to 1024x1024. Each size is trained on 800,000 images, and the next
fades in over another 800,000, 19,000,000 in all: 16 per step, 14 at 256x256, 6 at 512x512 and 3 at
1024x1024. Adam 0.001 with b1 0 and b2 0.99, one update of D per update of G, WGAN-GP with drift.

    python -m experiments.progressive_celebahq1024 --data FOLDER                  # a GPU, weeks
    python -m experiments.progressive_celebahq1024 --recipe fid --data FOLDER \\
        --fid-weights pt_inception-2015-12-05-6726825d.pth

FOLDER holds the 30,000 faces of CelebA-HQ, as TFDS (`celeb_a_hq/1024`) or `genjax prepare` writes
them. Before the first step the run prints what every stage takes; see docs/growing.md for memory
and own data.

* `swd`: sliced Wasserstein distance of 16,384 samples, times 10^3, mean over the levels 1024 to 16.
  The paper's levels are 7.48, 7.24, 6.08, 3.51, 3.55, 3.02 and 7.22. The images take more than
  600 GB of memory, with `--metric-samples 2048` an eighth of it;
* `fid`: FID of 50,000 samples, of the same run.
"""

import dataclasses
import math
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import progressive
from genjax.train import Figure, Run, Train

ADAM = Optimizer(learning_rate=1e-3, b1=0.0, b2=0.99)
BATCH = 16


def steps_for(model: progressive.Config, images: int, batch_size: int = BATCH) -> int:
    """Returns the steps after which the discriminator has been shown so many real images.

    Args:
      model: gives the stages, and their batch sizes and critic steps.
      images: number of images, from the first stage on.
      batch_size: of stages for which the model has none.
    """
    # A step shows an image or more, so the stages of `images` steps include those needed.
    stages = [s for s in progressive.stages(model, batch_size, images) if s.examples < images]
    last = stages[-1]
    return last.first + math.ceil((images - last.examples) / last.examples_per_step)


MODEL = progressive.Config(
    shape=(1024, 1024, 3),
    group=BATCH,
    fade_images=800_000,
    stable_images=800_000,
    batch_sizes=(16, 16, 16, 16, 16, 16, 14, 6, 3),
)

SWD = Run(
    experiment="progressive_celebahq1024",
    family="progressive",
    model=MODEL,
    data=Data(data="celeb_a_hq/1024", transform="random_flip()|scale(-1, 1)"),
    optimizer=dict(discriminator=ADAM, generator=ADAM),
    train=Train(
        steps=steps_for(MODEL, 19_000_000),
        batch_size=BATCH,
        ema=0.999,
        log_every=100,
        sample_every=10_000,
        samples=16,
        save_every=5_000,
        metric="swd",
    ),
    figure=Figure(
        paper=5.44,
        tag="seen-2nd",
        source="Karras et al. 2018, CelebA-HQ at 1024x1024: mean SWD of seven levels",
        difference="the authors' learning rate rises over the first 40,000 images",
    ),
)

FID = dataclasses.replace(
    SWD,
    train=dataclasses.replace(SWD.train, metric="fid"),
    figure=dataclasses.replace(
        SWD.figure, paper=7.30, source="Karras et al. 2018, CelebA-HQ at 1024x1024: FID"
    ),
)

RECIPES = named({"swd": SWD, "fid": FID})
REQUIRES = {"*": "a GPU for weeks"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
