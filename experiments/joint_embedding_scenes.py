"""Texts and scenes in one space: the text encoder of GAN-INT-CLS, and a ranker of drawn images.

    python -m experiments.joint_embedding_scenes --recipe characters
    python -m experiments.joint_embedding_scenes --recipe words
    python -m experiments.joint_embedding_scenes --recipe ranker

* `characters`: the character CNN-RNN, trained with an image encoder by the structured joint
  embedding (Reed et al. 2016, arXiv:1605.05395). `gan_cls_scenes` takes its text encoder.
* `words`: a transformer, trained by contrastive cross-entropy (Radford et al. 2021,
  arXiv:2103.00020). `gan_cls_scenes` measures R-precision by it.
* `ranker`: `words` with three times as many steps. `dalle_scenes` re-ranks its images by it, as
  DALL-E by CLIP.

The figure is the share of test images whose caption is found among 100. All are trained with the
training captions alone.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import joint_embedding
from genjax.train import Figure, Run, Train

WORDS = Data(data="scenes", transform="scale(0, 1)", tokenizer="words", text_length=10)
CHARACTERS = Data(data="scenes", transform="scale(0, 1)", tokenizer="characters", text_length=56)
"""The longest caption has 56 letters."""
VOCABULARY = 16
"""15 words and the padding."""


TRANSFORMER = joint_embedding.Config(
    shape=(32, 32, 3),
    vocabulary=VOCABULARY,
    text_length=WORDS.text_length,
    embedding=128,
    text_encoder="transformer",
    width=128,
    layers=2,
    heads=4,
    image_widths=(32, 64, 128),
    objective="contrastive",
)


def scenes(data: Data, model: joint_embedding.Config, steps: int) -> Run:
    """Returns a run on captions as these tokens."""
    return Run(
        experiment="joint_embedding_scenes",
        family="joint_embedding",
        model=model,
        data=data,
        optimizer=Optimizer(learning_rate=1e-3, schedule="cosine", warmup=100),
        train=Train(
            steps=steps,
            batch_size=64,
            log_every=100,
            eval_every=500,
            save_every=500,
            metric="caption_retrieval",
        ),
        figure=Figure(source="no paper has these images"),
    )


RECIPES = named(
    {
        "words": scenes(WORDS, TRANSFORMER, steps=4_000),
        "ranker": scenes(WORDS, TRANSFORMER, steps=12_000),
        "characters": scenes(
            CHARACTERS,
            joint_embedding.Config(
                shape=(32, 32, 3),
                text_length=CHARACTERS.text_length,
                embedding=128,
                text_widths=(64, 128),
                image_widths=(32, 64, 128),
                objective="structured",
            ),
            steps=4_000,
        ),
    }
)
REQUIRES = {"*": "two CPU cores"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
