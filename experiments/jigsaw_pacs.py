"""Jigsaw puzzles of PACS: all permutations by assignment, and JigsawGAN's tables.

Ru Li, Shuaicheng Liu, Guangfu Wang, Guanghui Liu, Bing Zeng, "JigsawGAN: Auxiliary Learning for
Solving Jigsaw Puzzles with Generative Adversarial Networks", IEEE TIP 2021 (arXiv:2101.07555). The
images are those of four classes of PACS: house, person, guitar and elephant, as photographs,
paintings, cartoons and sketches. The figure is the percentage of test images that are reassembled
completely; the record has classes, gaps and missing pieces, chance and the classical solvers.

    python -m experiments.jigsaw_pacs --data FOLDER              # 3x3, all 362,880 permutations
    python -m experiments.jigsaw_pacs --recipe head_4x4 --data FOLDER

FOLDER holds PACS at 96x96 with the class as `label`, as TFDS or `genjax prepare` writes it; the
last 400 training images are held out. The paper trains with 2,483 unpublished images more, and
these rows on PACS alone.

* `head`, `head_2x2`, `head_4x4`: `jigsaw_assignment`, on pieces of 24, 32 and 16 pixels, with gaps
  of 0, 1 and 2 pixels and up to two missing pieces in training (2x2: up to one). The paper has 79.0
  % for 3x3 (table III), and for 2x2 and a list of "1000" permutations, of which there are 24, 83.2 %
  (table VII).

PACS is stored as JPEG, whose blocks of 8 pixels differ by 6 % more at their edges than inside.
Images are therefore cropped, so that no border between pieces of a test image is on such an edge,
and the sides of pieces are multiples of 8: the position of the blocks in a piece would otherwise
tell its position in the image.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import jigsaw_assignment
from genjax.train import Figure, Run, Train

CLASSES = ("house", "person", "guitar", "elephant")
PACS_ALONE = "PACS alone, the paper has 2,483 more unpublished images; trained at batch size 64"

# The centre of a test image begins at pixel 12 of 96; pieces of 24 begin in the middle of blocks.
CROP_72 = "random_crop(72)|random_flip()|scale(-1, 1)"
# It begins at 15, so that pieces of 16 and 32 begin at the last pixel of blocks.
CROP_64 = "center_crop(95)|random_crop(64)|random_flip()|scale(-1, 1)"


def head(side: int, grid: int, steps: int, missing: int, figure: Figure) -> Run:
    """Returns a run of the assignment head on a square grid of pieces."""
    return Run(
        experiment="jigsaw_pacs",
        family="jigsaw_assignment",
        model=jigsaw_assignment.Config(
            shape=(side, side, 3), grid=(grid, grid), gaps=(0, 1, 2), missing=missing
        ),
        data=Data(
            data="pacs_96/1.0.0",
            classes=CLASSES,
            validation=400,
            transform={72: CROP_72, 64: CROP_64}[side],
        ),
        optimizer=Optimizer(learning_rate=5e-4, schedule="cosine", warmup=200, clip=1.0),
        train=Train(
            steps=steps,
            batch_size=64,
            ema=0.999,
            log_every=100,
            eval_every=500,
            sample_every=1_000,
            save_every=500,
            samples=24,
            metric="puzzle",
        ),
        figure=figure,
    )
