"""GAN-INT-CLS on flowers (Oxford-102): an inception score of 2.66, measured by later papers.

Scott Reed et al., "Generative Adversarial Text to Image Synthesis", ICML 2016 (arXiv:1605.05396).

    python -m experiments.gan_cls_flowers --data FOLDER --fid-weights FILE      # a GPU

FOLDER has the flowers with captions.csv, ten captions each; train has 82 classes (7,034 images) and
test the other 20. See `experiments/gan_cls_cub.py`.
"""

import sys

from experiments.gan_cls_cub import needs, stages
from genjax.cli.experiment import main
from genjax.families import gan_cls
from genjax.train import Figure

FLOWERS = Figure(
    paper=2.66,
    tag="memory",
    source="Zhang et al. 2017 (StackGAN), inception score of GAN-INT-CLS on Oxford-102",
    difference="an Inception network that is not fine-tuned on flowers; a text encoder trained"
    " without GoogLeNet",
)
RECIPES = stages("gan_cls_flowers", "flowers", 109, FLOWERS, gan_cls.Config())
REQUIRES = {"*": "a GPU; images with captions of your own"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
