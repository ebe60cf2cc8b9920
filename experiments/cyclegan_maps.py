"""CycleGAN and pix2pix between aerial photographs and maps, measured on the test pairs.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation
using Cycle-Consistent Adversarial Networks", ICCV 2017 (arXiv:1703.10593). Its table 1 is a study
with people (26.8 % of photographs and 23.2 % of maps labelled real). Later papers compare with the
test pairs (Fu et al. 2019, "Geometry-Consistent Generative Adversarial Networks for One-Sided
Unsupervised Domain Mapping", arXiv:1809.05852): RMSE in levels, and the share of pixels within 5
and 10 levels of the truth. From memory, CycleGAN has 28.15, 41.8 % and 63.7 % there. The record of
a run has all three, and the figures of the identity map, of the mean image and of a regression.

    python -m experiments.cyclegan_maps --data FOLDER                      # 64x64, a CPU
    python -m experiments.cyclegan_maps --recipe paper --data FOLDER       # 256x256, a GPU

FOLDER holds pairs, photographs first, as `genjax prepare --paired` writes them from trainA, trainB,
testA and testB; CycleGAN's recipes remove the pairs in training.

* `cyclegan_64_cpu`, `pix2pix_64_cpu`: 64x64, networks of half the width, upsampling by
  resize-convolution, discriminators with a receptive field of 34 pixels;
* `paper`, `pix2pix`: 256x256, 200 epochs of the 1,096 pairs of the full data set.

Images are resized to 72x72, or 286x286, and cropped and mirrored at random, separately in each
domain or jointly in pairs; a test image is the middle of the resized one. The rate is constant for
half of the steps, then linear to 0. A regression may have the lowest RMSE: its images are blurred,
those of a GAN are not.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import cyclegan, pix2pix
from genjax.train import Figure, Run, Train

STEPS = 200 * 1_096  # 200 epochs, one pair per step
RESIZE, RESIZE_CPU = "resize(286, method='cubic')", "resize(72)"


def transform(resize: str, side: int, *, separate: bool) -> str:
    """Returns the augmentation of images: separate for each domain, or joint in pairs."""
    options = f"separate={separate}"
    cropped = f"random_crop({side}, {options})|random_flip({options})"
    return f"{resize}|{cropped}|scale(-1, 1)"


def adam(steps: int) -> Optimizer:
    """Returns Adam at a rate that is constant for half of the steps, then linear to 0."""
    return Optimizer(
        learning_rate=2e-4, b1=0.5, schedule="constant_linear", constant_steps=steps // 2
    )


PAPER = Run(
    experiment="cyclegan_maps",
    family="cyclegan",
    model=cyclegan.Config(shape=(256, 256, 3), identity=0.0),
    data=Data(
        data="maps_256/1.0.0", unpaired=True, transform=transform(RESIZE, 256, separate=True)
    ),
    optimizer=dict(generators=adam(STEPS), discriminators=adam(STEPS)),
    train=Train(
        steps=STEPS,
        batch_size=1,
        log_every=100,
        sample_every=5_000,
        samples=16,
        save_every=5_000,
        metric="translation",
    ),
    figure=Figure(
        source="Zhu et al. 2017, table 1: 26.8 % and 23.2 % labelled real by people; no distance to"
        " the truth"
    ),
)

PIX2PIX = dataclasses.replace(
    PAPER,
    family="pix2pix",
    model=pix2pix.Config(shape=(256, 256, 3)),
    data=Data(data="maps_256/1.0.0", transform=transform(RESIZE, 256, separate=False)),
    optimizer=dict(discriminator=adam(STEPS), generator=adam(STEPS)),
    figure=Figure(source="Isola et al. 2017 measure maps by a study with people alone"),
)

CPU_STEPS = 5_000
CPU_TRAIN = dataclasses.replace(PAPER.train, steps=CPU_STEPS, sample_every=500, save_every=1_000)

CYCLEGAN_CPU = dataclasses.replace(
    PAPER,
    model=cyclegan.Config(
        shape=(64, 64, 3),
        width=32,
        blocks=6,
        upsampling="resize",
        discriminator_width=32,
        discriminator_layers=2,
        identity=0.0,
    ),
    data=dataclasses.replace(PAPER.data, transform=transform(RESIZE_CPU, 64, separate=True)),
    optimizer=dict(generators=adam(CPU_STEPS), discriminators=adam(CPU_STEPS)),
    train=CPU_TRAIN,
)

PIX2PIX_CPU = dataclasses.replace(
    PIX2PIX,
    model=pix2pix.Config(
        shape=(64, 64, 3), width=32, downs=6, discriminator_width=32, discriminator_layers=2
    ),
    data=dataclasses.replace(PIX2PIX.data, transform=transform(RESIZE_CPU, 64, separate=False)),
    optimizer=dict(discriminator=adam(CPU_STEPS), generator=adam(CPU_STEPS)),
    train=CPU_TRAIN,
)

RECIPES = named(
    {
        "cyclegan_64_cpu": CYCLEGAN_CPU,
        "pix2pix_64_cpu": PIX2PIX_CPU,
        "paper": PAPER,
        "pix2pix": PIX2PIX,
    }
)
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
