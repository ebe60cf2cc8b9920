"""CycleGAN's ablation on glyphs, where the true translation of every test image is known.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation
using Cycle-Consistent Adversarial Networks", ICCV 2017 (arXiv:1703.10593), section 5.1.4, and the
paired pix2pix (Isola et al. 2017, arXiv:1611.07004) as the ceiling. The glyphs are those of
DejaVu, 32x32: domain a is Sans, domain b Serif bold slanted, and the two have no character in
common in training. The figure is top-1 retrieval: how often the true partner of a test image is,
of all test images of the other domain, the nearest to its translation.

    python -m experiments.cyclegan_glyphs                       # all losses; no download
    python -m experiments.cyclegan_glyphs --recipe gan_alone

The paper's rows on Cityscapes, labels to photographs, in per-pixel accuracy (table 4):

* `cycle_alone`: no adversarial loss (.22);
* `gan_alone`: no cycle loss (.51);
* `gan_forward`, `gan_backward`: the cycle a -> b -> a alone (.55), or b -> a -> b (.39);
* `cyclegan`: all (.52);
* `pix2pix`: trained on pairs (.71), all characters of both halves.

The paper's GAN alone is close to CycleGAN there, since labels and photograph are aligned: each
pixel can be translated by itself. Here strokes move, and nothing but the cycle loss ties a
translation to its input. Expected: `cyclegan` above `gan_alone` and `cycle_alone`, `pix2pix` best;
the record has L1, ink IoU and the floors too.

The identity loss is off, as in the paper's ablation. Adam 2e-4 with b1 0.5, constant for the first
half of the run and then linear to 0, as in the paper; upsampling by resize-convolution.
"""

import dataclasses
import sys

from experiments import named
from experiments.cyclegan_cityscapes import ablations
from experiments.cyclegan_maps import adam
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import cyclegan, pix2pix
from genjax.train import Figure, Run, Train

STEPS = 4_000
ADAM = adam(STEPS)
SHAPE = (32, 32, 1)
TABLE = "Zhu et al. 2017, tables 4 and 5 are the same ablation on Cityscapes; none on glyphs"

CYCLEGAN = Run(
    experiment="cyclegan_glyphs",
    family="cyclegan",
    model=cyclegan.Config(
        shape=SHAPE,
        width=16,
        blocks=3,
        upsampling="resize",
        discriminator_width=16,
        discriminator_layers=2,
        identity=0.0,
    ),
    data=Data(data="glyphs", transform="scale(-1, 1)"),
    optimizer=dict(generators=ADAM, discriminators=ADAM),
    train=Train(
        steps=STEPS,
        batch_size=8,
        log_every=100,
        sample_every=500,
        samples=16,
        save_every=1_000,
        metric="translation",
    ),
    figure=Figure(source=TABLE),
)

PIX2PIX = dataclasses.replace(
    CYCLEGAN,
    family="pix2pix",
    model=pix2pix.Config(
        shape=SHAPE, width=16, downs=5, discriminator_width=16, discriminator_layers=2
    ),
    data=dataclasses.replace(CYCLEGAN.data, data="glyphs_paired"),
    optimizer=dict(discriminator=ADAM, generator=ADAM),
)


RECIPES = named(ablations(CYCLEGAN) | {"pix2pix": PIX2PIX})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
