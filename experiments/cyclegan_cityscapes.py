"""CycleGAN's ablation on Cityscapes, between label maps and photographs.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation
using Cycle-Consistent Adversarial Networks", ICCV 2017 (arXiv:1703.10593), tables 4 and 5.

    python -m experiments.cyclegan_cityscapes --data FOLDER                       # a GPU
    python -m experiments.cyclegan_cityscapes --recipe gan_alone --data FOLDER

FOLDER is made by `genjax prepare --paired` from your own copy: trainA and testA are coloured label
maps, trainB and testB the photographs of the same names. The recipes remove the pairs in training.

The paper's figures are of an FCN for Cityscapes on translated photographs, and of the colours of
translated label maps: per-pixel accuracy, per-class accuracy, class IoU.

| recipe | labels to photographs (table 4) | photographs to labels (table 5) |
|---|---|---|
| `cycle_alone` | .22 .07 .02 | .10 .05 .02 |
| `gan_alone` | .51 .11 .08 | .53 .11 .07 |
| `gan_forward` | .55 .18 .12 | .49 .11 .07 |
| `gan_backward` | .39 .14 .06 | .01 .06 .01 |
| `cyclegan` | .52 .17 .11 | .58 .22 .16 |
| `pix2pix` (tables 2 and 3) | .71 .25 .18 | .85 .40 .32 |

genjax has no FCN: the record has the distances to the true partners, and `genjax translate RUN
testA OUT` writes the images for your own network. 128x128, six residual blocks, 200 epochs of 2,975
steps. No identity loss.
"""

import dataclasses
import sys

from experiments import named
from experiments.cyclegan_maps import PAPER as MAPS
from experiments.cyclegan_maps import adam, transform
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import cyclegan, pix2pix
from genjax.train import Figure, Run

EPOCH = 2_975
STEPS = 200 * EPOCH
RESIZE = "resize(143, method='cubic')"
FCN = Figure(source="Zhu et al. 2017, tables 2 to 5: FCN scores; no distance to the true partner")

CYCLEGAN = Run(
    experiment="cyclegan_cityscapes",
    family="cyclegan",
    model=cyclegan.Config(shape=(128, 128, 3), blocks=6, identity=0.0),
    data=Data(data="cityscapes", unpaired=True, transform=transform(RESIZE, 128, separate=True)),
    optimizer=dict(generators=adam(STEPS), discriminators=adam(STEPS)),
    train=dataclasses.replace(MAPS.train, steps=STEPS),
    figure=FCN,
)

PIX2PIX = dataclasses.replace(
    CYCLEGAN,
    family="pix2pix",
    model=pix2pix.Config(shape=(128, 128, 3), downs=7),
    data=Data(data="cityscapes", transform=transform(RESIZE, 128, separate=False)),
    optimizer=dict(discriminator=adam(STEPS), generator=adam(STEPS)),
)


def ablations(run: Run) -> dict[str, Run]:
    """Returns CycleGAN and its ablations, by the losses that are left."""
    weights: dict[str, dict[str, float]] = {
        "cyclegan": {},
        "cycle_alone": {"adversarial": 0.0},
        "gan_alone": {"cycle_a": 0.0, "cycle_b": 0.0},
        "gan_forward": {"cycle_b": 0.0},
        "gan_backward": {"cycle_a": 0.0},
    }
    return {
        name: dataclasses.replace(run, model=dataclasses.replace(run.model, **changed))
        for name, changed in weights.items()
    }


RECIPES = named(ablations(CYCLEGAN) | {"pix2pix": PIX2PIX})
REQUIRES = {
    "*": "a GPU; a copy of Cityscapes of your own at 128x128; for FCN scores, a network of your own"
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
