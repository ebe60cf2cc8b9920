"""PuzzleGAN: handwritten digits from four parts, and what changes with one of them.

Mahla Abbasi et al., "Face Images as Jigsaw Puzzles: Compositional Perception of Human Faces for
Machines Using Generative Adversarial Networks", 2021 (arXiv:2103.06331). The quadrants of the
generator's first maps have noise of their own. The images are MNIST's, with a border of two pixels
32x32.

    python -m experiments.puzzle_gan_digits                       # 40 minutes of one core
    python -m experiments.puzzle_gan_digits --recipe plain_cpu    # without parts
    python -m experiments.puzzle_gan_digits --recipe paper        # a GPU

* `paper`: the authors' settings for digits: first maps of 16x16, 10 million images. They mirror
  images, which makes other characters of digits; here images are not mirrored.
* `cpu`: narrow networks, first maps of 8x8. After 16x16 only three convolutions follow, which see
  four pixels beyond a quadrant, so that quadrants can hardly agree on a digit.
* `plain_cpu`: a progressive GAN of the same sizes and schedule, whose first layer has no parts.

The figure is `part_changes`: the noise of one part is drawn again, and the share of the absolute
change within the part is measured. Its area is 25 %. The noise of `plain_cpu` is divided into four
parts, compared with the quadrants. The record also has the classifier-Frechet distance.
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
    smallest=8,
    start=8,
    latent=128,
    base=512,
    max_width=32,
    fade_images=15_000,
    stable_images=15_000,
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


SHORT: dict[str, Any] = dict(sample_every=500, save_every=1_000)
RECIPES = named(
    {
        "cpu": row("puzzle_gan", CPU, 150_000, **SHORT),
        "plain_cpu": row("progressive", progressive.Config(**PLAIN), 150_000, **SHORT),
        "paper": row("puzzle_gan", PAPER, 10_000_000),
    }
)

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
