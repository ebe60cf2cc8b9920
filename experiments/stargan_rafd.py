"""StarGAN on RaFD: classification error of eight synthesised facial expressions, in percent.

Yunjey Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-
Image Translation", CVPR 2018 (arXiv:1711.09020), table 3: 2.12 %, of a ResNet-18 trained on real
images, whose error on real images is 0.45 %. With the authors' code others obtain 8.1 % and 0.45 %
(stargan issue 123).

    python -m experiments.stargan_rafd --data FOLDER      # a GPU

FOLDER is made by `genjax prepare` from your own copy of RaFD: faces cropped to 256x256, and a file
list_attr_celeba.txt in the layout of CelebA with one column per expression, of which one is 1.
128x128; a softmax over the expressions; 200,000 critic updates in batches of 16, five per update of
the generator; Adam 1e-4 with b1 0.5, constant for the first half and then linear to 0.
"""

import sys

from experiments import named
from experiments.stargan_celeba import PAPER as CELEBA
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import stargan
from genjax.train import Figure, Run

EXPRESSIONS = (
    *("angry", "contemptuous", "disgusted", "fearful"),
    *("happy", "neutral", "sad", "surprised"),
)


PAPER = Run(
    experiment="stargan_rafd",
    family="stargan",
    model=stargan.Config(
        shape=(128, 128, 3),
        attributes=EXPRESSIONS,
        exclusive=(),
        classification="softmax",
    ),
    data=Data(
        data="rafd",
        attributes=EXPRESSIONS,
        transform="resize(128)|random_flip()|scale(-1, 1)",
    ),
    optimizer=CELEBA.optimizer,
    train=CELEBA.train,
    figure=Figure(
        paper=2.12,
        tag="seen-2nd",
        source="Choi et al. 2018, table 3: classification error of StarGAN on RaFD, as quoted",
        difference="a smaller classifier than ResNet-18; the length is that of the authors' code,"
        " the paper trains for 200 epochs",
    ),
)

RECIPES = named({"paper": PAPER})
REQUIRES = {"*": "a GPU; a copy of RaFD of your own"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
