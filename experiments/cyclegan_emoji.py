"""CycleGAN between two drawings of the same emoji, Noto and Twemoji, measured on held-out pairs.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation
using Cycle-Consistent Adversarial Networks", ICCV 2017 (arXiv:1703.10593); the paper has no such
data. The figure is top-1 retrieval of the true partner, in percent.

    python -m experiments.examples.emoji_pairs NOTO TWEMOJI emoji.npz
    python -m experiments.cyclegan_emoji                        # emoji.npz in this folder
    python -m experiments.cyclegan_emoji --recipe gan_alone

NOTO and TWEMOJI are prepared folders of images with a feature `codepoints`. Emoji that differ only
in skin tone, hair, gender or direction are in one split. 32x32; training pairs are removed.
Expected: `cyclegan` above `gan_alone`.
"""

import dataclasses
import sys

from experiments import named
from experiments.cyclegan_glyphs import CYCLEGAN as GLYPHS
from experiments.cyclegan_maps import adam
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import cyclegan
from genjax.train import Figure, Run

STEPS = 5_000
ADAM = adam(STEPS)

CYCLEGAN = Run(
    experiment="cyclegan_emoji",
    family="cyclegan",
    model=cyclegan.Config(
        shape=(32, 32, 3),
        width=32,
        blocks=4,
        upsampling="resize",
        discriminator_width=32,
        discriminator_layers=2,
        identity=0.0,
    ),
    data=Data(data="emoji.npz", unpaired=True, transform="resize(32)|scale(-1, 1)"),
    optimizer=dict(generators=ADAM, discriminators=ADAM),
    train=dataclasses.replace(GLYPHS.train, steps=STEPS),
    figure=Figure(source="Zhu et al. 2017 have no such data"),
)

GAN_ALONE = dataclasses.replace(
    CYCLEGAN, model=dataclasses.replace(CYCLEGAN.model, cycle_a=0.0, cycle_b=0.0)
)

RECIPES = named({"cyclegan": CYCLEGAN, "gan_alone": GAN_ALONE})
REQUIRES = {
    "*": "half an hour of two CPU cores; a file by `python -m experiments.examples.emoji_pairs`",
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
