"""GAN-INT-CLS on MS-COCO: an inception score of 7.88, measured by later papers.

Scott Reed et al., "Generative Adversarial Text to Image Synthesis", ICML 2016 (arXiv:1605.05396).

    python -m experiments.gan_cls_coco --data FOLDER --fid-weights FILE      # a GPU

FOLDER has the images of MS-COCO (82,783 for training) with captions.csv, five captions each, or is
TFDS's `coco_captions`. Both networks have a width of 196. See `experiments/gan_cls_cub.py`.
"""

import sys

from experiments.gan_cls_cub import needs, stages
from genjax.cli.experiment import main
from genjax.families import gan_cls
from genjax.train import Figure

COCO = Figure(
    paper=7.88,
    tag="seen-2nd",
    source="Xu et al. 2018 (AttnGAN), inception score of GAN-INT-CLS on COCO",
    difference="a text encoder trained without GoogLeNet",
)
RECIPES = stages(
    "gan_cls_coco",
    "coco_captions",
    1_293,
    COCO,
    gan_cls.Config(width=196, discriminator_width=196),
)
REQUIRES = {"*": "a GPU; images with captions of your own"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
