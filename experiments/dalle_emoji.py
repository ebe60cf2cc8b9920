"""DALL-E on emoji and their Unicode names, on a CPU.

    python -m experiments.dalle_emoji --data FOLDER

FOLDER has emoji at 64x64 with their Unicode `name`, and a split test; 300 are held out for
validation. Names are encoded by at most 1,024 tokens of byte pairs; training of the transformer
leaves out a tenth of the merges at random, as the paper does. The recipes `dvae` and `ranker` are
trained first, if their runs are not finished; see `experiments/dalle_folder.py`.

There is no figure of correct images: the record has nats per token, and how often the name of an
emoji is found among 100.
"""

import sys

from experiments.dalle_folder import needs, stages
from genjax.cli.experiment import main
from genjax.data import Data

RECIPES = stages(
    "dalle_emoji",
    Data(
        data="emoji_noto_64/1.0.0",
        transform="scale(0, 1)",
        validation=300,
        tokenizer="bpe",
        text_length=24,
        vocabulary=1_024,
        bpe_dropout=0.1,
        caption="name",
    ),
    side=64,
    groups=4,
    vocabulary=1_024,
)
REQUIRES = {"*": "two to four hours of a CPU core"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
