"""StarGAN on CelebA: hair colour, gender and age of faces.

Yunjey Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-
Image Translation", CVPR 2018 (arXiv:1711.09020), section 5.4, whose tables 1 and 2 are studies with
people: the share of votes for StarGAN against three other models is 66.2 % for hair colour, 39.1 %
for gender and 70.6 % for age (from memory). The figure here is the attribute error, in percent: how
often a classifier trained on real images does not find the target attributes in a translated test
image. Its error on real images and the L1 of reconstructions are in the record.

    python -m experiments.stargan_celeba --data FOLDER              # 32x32, a CPU
    python -m experiments.stargan_celeba --recipe paper --data FOLDER    # 128x128, a GPU

FOLDER holds faces and their attributes, as TFDS (`celeb_a`) or `genjax prepare` writes them.

* `cpu`: 32x32, narrower networks with one halving, 2,000 steps of one critic update by the
  non-saturating loss with R1, as StarGAN v2 (Choi et al. 2020, arXiv:1912.01865);
* `paper`: the authors' code: the middle 178x178 resized to 128x128, 200,000 critic updates in
  batches of 16, five per update of the generator; Adam 1e-4 with b1 0.5, constant for the first
  half and then linear to 0.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import stargan
from genjax.train import Figure, Run, Train

CRITIC_STEPS = 5


def adam(updates: int, learning_rate: float = 1e-4) -> Optimizer:
    """Returns Adam at a rate that is constant for half of the updates, then linear to 0."""
    return Optimizer(
        learning_rate=learning_rate,
        b1=0.5,
        schedule="constant_linear",
        constant_steps=updates // 2,
    )


def optimizers(steps: int) -> dict[str, Optimizer]:
    """Returns the optimizers for so many updates of the generator."""
    return dict(discriminator=adam(steps * CRITIC_STEPS), generator=adam(steps))


MODEL = stargan.Config(shape=(128, 128, 3))

PAPER = Run(
    experiment="stargan_celeba",
    family="stargan",
    model=MODEL,
    data=Data(
        data="celeb_a",
        attributes=MODEL.attributes,
        transform="center_crop(178)|resize(128)|random_flip()|scale(-1, 1)",
    ),
    optimizer=optimizers(40_000),
    train=Train(
        steps=40_000,
        batch_size=16,
        log_every=50,
        sample_every=1_000,
        samples=16,
        save_every=1_000,
        metric="attribute_translation",
    ),
    figure=Figure(
        source="Choi et al. 2018, tables 1 and 2: studies with people; no attribute error",
        difference="TFDS's splits, the authors hold out 1,999 images",
    ),
)

CPU_STEPS = 2_000
CPU = dataclasses.replace(
    PAPER,
    model=dataclasses.replace(
        MODEL,
        shape=(32, 32, 3),
        width=32,
        blocks=3,
        downs=1,
        discriminator_width=32,
        discriminator_layers=4,
        objective=GanObjective(loss="non_saturating", r1=1.0),
    ),
    data=dataclasses.replace(
        PAPER.data,
        data="celeb_a_64/1.0.0",
        transform="resize(32)|random_flip()|scale(-1, 1)",
    ),
    optimizer=dict(discriminator=adam(CPU_STEPS, 3e-4), generator=adam(CPU_STEPS, 3e-4)),
    train=dataclasses.replace(
        PAPER.train, steps=CPU_STEPS, sample_every=500, samples=66, save_every=500
    ),
)

RECIPES = named({"cpu": CPU, "paper": PAPER})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
