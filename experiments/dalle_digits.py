"""DALL-E on pairs of MNIST digits: "a three above a seven", on a CPU.

32x32 images of two digits of 16x16, one of which is above, below, left of or right of the other. A
classifier of single digits, trained apart, reads the drawn images; its own error is in the record.

    python -m experiments.dalle_digits

The discrete VAE and the ranker of the file are trained first, if their runs are not finished; see
`experiments/dalle_folder.py`. The figure is the percentage of correct images of captions that were
held out; 400 captions describe 200 pairs, so chance is 1 of 200.
"""

import sys

from experiments.dalle_folder import needs, stages
from genjax.cli.experiment import main
from genjax.data import Data

RECIPES = stages(
    "dalle_digits",
    Data(
        data="captioned_digits",
        transform="scale(0, 1)",
        tokenizer="words",
        text_length=6,
        vocabulary=18,
    ),
    side=32,
    channels=1,
    vocabulary=18,
    metric="caption_accuracy,token_nats,caption_retrieval",
)
REQUIRES = {"*": "two to four hours of a CPU core"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
