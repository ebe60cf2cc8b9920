"""CycleGAN on horse2zebra: FID of translated test horses to test zebras.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation
using Cycle-Consistent Adversarial Networks", ICCV 2017 (arXiv:1703.10593), which has pictures only.
Later papers measure the authors' models: 77.2 (Park et al. 2020, "Contrastive Learning for Unpaired
Image-to-Image Translation", arXiv:2007.15651), and 62.1 with the identity loss, which the authors'
code has by default (MMGeneration's table). Lower is better.

    python -m experiments.cyclegan_horse2zebra --fid-weights pt_inception-2015-12-05-6726825d.pth
    python -m experiments.cyclegan_horse2zebra --recipe no_identity --data FOLDER \\
        --fid-weights pt_inception-2015-12-05-6726825d.pth

FOLDER is made by `genjax prepare` from trainA (horses), trainB (zebras), testA and testB; without
`--data` the data are TFDS's `cycle_gan/horse2zebra`. 256x256, nine residual blocks, 200 epochs of
1,334 steps with one image of each domain: a GPU. With 120 and 140 test images FID is biased
upwards, for the papers as here.
"""

import dataclasses
import sys

from experiments import named
from experiments.cyclegan_maps import PAPER as MAPS
from experiments.cyclegan_maps import RESIZE, adam, transform
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import cyclegan
from genjax.train import Figure, Run

EPOCH = 1_334  # the larger domain, one image per step
STEPS = 200 * EPOCH

IDENTITY = Run(
    experiment="cyclegan_horse2zebra",
    family="cyclegan",
    model=cyclegan.Config(shape=(256, 256, 3)),
    data=Data(
        data="cycle_gan/horse2zebra",
        transform=transform(RESIZE, 256, separate=True),
    ),
    optimizer=dict(generators=adam(STEPS), discriminators=adam(STEPS)),
    train=dataclasses.replace(MAPS.train, steps=STEPS, metric="fid"),
    figure=Figure(
        paper=62.1,
        tag="seen-2nd",
        source="FID of the authors' model with the identity loss, as MMGeneration quotes it",
        difference="a test image is the middle 256x256 of 286x286, theirs the whole; each domain"
        " has permutations of its own, theirs draws zebras at random",
    ),
)

NO_IDENTITY = dataclasses.replace(
    IDENTITY,
    model=dataclasses.replace(IDENTITY.model, identity=0.0),
    figure=dataclasses.replace(
        IDENTITY.figure,
        paper=77.2,
        source="FID of the authors' model, as Park et al. 2020 and MMGeneration quote it",
    ),
)

RECIPES = named({"identity": IDENTITY, "no_identity": NO_IDENTITY})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
