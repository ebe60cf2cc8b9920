"""PuzzleGAN: handwritten digits from four parts, and what changes with one of them.

Mahla Abbasi et al., "Face Images as Jigsaw Puzzles: Compositional Perception of Human Faces for
Machines Using Generative Adversarial Networks", 2021 (arXiv:2103.06331). The quadrants of the
generator's first maps have noise of their own. The images are MNIST's, with a border of two pixels
32x32.

    python -m experiments.puzzle_gan_digits                       # half an hour of one core
    python -m experiments.puzzle_gan_digits --recipe plain_cpu    # without parts
    python -m experiments.puzzle_gan_digits --recipe paper        # a GPU

* `cpu`: the parts and sides of the paper in networks of 32 features, 320,000 images;
* `plain_cpu`: a progressive GAN of the same sizes and schedule, whose first layer has no parts;
* `paper`: the authors' settings for digits, 10 million images. They also mirror images, which makes
  other characters of digits; here no image is mirrored.

The figure is `part_changes`: the noise of one part is drawn again, and the share of the absolute
change within the part is measured. Its area is 25 %. The noise of `plain_cpu` is divided into four
parts for the four quadrants. The record also has the classifier-Frechet distance. Expected: a
higher share in `cpu`, and a higher distance, since only three convolutions follow the first maps:
the quadrants agree within a few pixels of their borders alone. First maps of 8x8 lower the share
(51 % after 30,000 images, and 72 % with 16x16).
"""

import dataclasses
import sys
from typing import Any

from experiments import named
from experiments.progressive_celebahq1024 import ADAM, BATCH, SWD, steps_for
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import progressive, puzzle_gan
from genjax.train import Figure, Run

PAPER = puzzle_gan.Config(fade_images=600_000, stable_images=600_000)
CPU = puzzle_gan.Config(
    latent=128, base=512, max_width=32, fade_images=40_000, stable_images=40_000
)
PLAIN = {f.name: getattr(CPU, f.name) for f in dataclasses.fields(progressive.Config)}


def row(family: str, model: progressive.Config, images: int, **train: Any) -> Run:
    """Returns a run of so many images; `train` has settings of its length and pictures."""
    return Run(
        experiment="puzzle_gan_digits",
        family=family,
        model=model,
        data=Data(data="mnist", transform="pad(32)|scale(-1, 1)"),
        optimizer=dict(discriminator=ADAM, generator=ADAM),
        train=dataclasses.replace(
            SWD.train,
            steps=steps_for(model, images),
            batch_size=BATCH,
            samples=64,
            metric="part_changes,classifier_frechet",
            metric_samples=10_000,
            **train,
        ),
        figure=Figure(source="Abbasi et al. 2021: no figure on digits"),
    )


SHORT: dict[str, Any] = dict(sample_every=1_000, save_every=2_000)
RECIPES = named(
    {
        "cpu": row("puzzle_gan", CPU, 320_000, **SHORT),
        "plain_cpu": row("progressive", progressive.Config(**PLAIN), 320_000, **SHORT),
        "paper": row("puzzle_gan", PAPER, 10_000_000),
    }
)
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
