"""StarGAN on coloured glyphs, where the true image under every attribute vector is known.

Yunjey Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-
Image Translation", CVPR 2018 (arXiv:1711.09020). Glyphs of DejaVu, 32x32, with three colours of
ink of which one applies (as hair colours in CelebA), bold, and slanted. The figure is the
attribute error: how often a classifier trained on real images does not find the target attributes
in a translation, in percent. The record also has L1 to the rendered truth, retrieval of the
character, and the errors for one and for several attributes, as the paper's tables 1 and 2, which
are studies with people.

    python -m experiments.stargan_glyphs                                 # no download
    python -m experiments.stargan_glyphs --recipe no_reconstruction

* `full`: all losses, with the non-saturating adversarial loss and R1 at one critic update per step,
  as StarGAN v2 (Choi et al. 2020, arXiv:1912.01865), which costs a third of the paper's;
* `no_reconstruction`: without the reconstruction loss; expected: the character is lost;
* `no_classification`: without the classification losses; expected: attributes do not change;
* `colour`, `bold`, `slanted`: networks for these attributes alone, which `full` is one of;
* `masked`: joint training with mask vectors (section 3.3); the colours of one half of the images
  are known, and bold and slanted of the other;
* `wgan_gp`: the paper's adversarial loss, five critic updates per step;
* `color_mask`: the generator's output is a colour image blended with the input by a mask.

Adam 3e-4 with b1 0.5, constant for half of the updates, then linear to 0. The reconstruction weight
is 50, since nine tenths of the pixels are background: with the paper's 10, and with two halvings in
the generator, reconstructions stayed at the background for the first 1,000 steps.
"""

import dataclasses
import sys

from experiments import named
from experiments.stargan_celeba import CRITIC_STEPS, adam
from genjax.cli.experiment import main
from genjax.core import GanObjective
from genjax.data import Data
from genjax.families import stargan
from genjax.train import Figure, Run, Train

COLOURS = ("red", "green", "blue")
FACES = ("bold", "slanted")
STEPS = 2_000
RATE = 3e-4


ADAM = adam(STEPS, RATE)

FULL = Run(
    experiment="stargan_glyphs",
    family="stargan",
    model=stargan.Config(
        shape=(32, 32, 3),
        attributes=COLOURS + FACES,
        exclusive=COLOURS,
        width=24,
        blocks=3,
        downs=1,
        discriminator_width=24,
        discriminator_layers=4,
        reconstruction=50.0,
        objective=GanObjective(loss="non_saturating", r1=1.0),
    ),
    data=Data(data="glyphs_attributes", attributes=COLOURS + FACES, transform="scale(-1, 1)"),
    optimizer=dict(discriminator=ADAM, generator=ADAM),
    train=Train(
        steps=STEPS,
        batch_size=16,
        log_every=50,
        sample_every=500,
        samples=88,
        save_every=500,
        metric="attribute_translation",
    ),
    figure=Figure(source="Choi et al. 2018 have studies with people, none on glyphs"),
)


def changed(run: Run = FULL, **settings: object) -> Run:
    """Returns a run with other settings of its Config."""
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **settings))


def alone(*attributes: str) -> Run:
    """Returns a run on some attributes only."""
    exclusive = attributes if attributes == COLOURS else ()
    run = changed(attributes=attributes, exclusive=exclusive)
    return dataclasses.replace(run, data=dataclasses.replace(run.data, attributes=attributes))


MASKED = dataclasses.replace(
    changed(attributes=COLOURS, second_attributes=FACES),
    data=dataclasses.replace(FULL.data, data="glyphs_masked"),
)

WGAN_GP = dataclasses.replace(
    changed(objective=stargan.Config().objective),
    optimizer=dict(discriminator=adam(STEPS * CRITIC_STEPS, RATE), generator=ADAM),
)

RECIPES = named(
    {
        "full": FULL,
        "no_reconstruction": changed(reconstruction=0.0),
        "no_classification": changed(classification_weight=0.0),
        "colour": alone(*COLOURS),
        "bold": alone("bold"),
        "slanted": alone("slanted"),
        "masked": MASKED,
        "wgan_gp": WGAN_GP,
        "color_mask": changed(output="color_mask"),
    }
)
REQUIRES = {"wgan_gp": "half an hour of two CPU cores", "*": "ten minutes of two CPU cores"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
