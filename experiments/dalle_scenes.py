"""DALL-E on scenes: correct images of captions, counted by a parser, on a CPU.

Stage 2 of DALL-E (Ramesh et al. 2021, arXiv:2102.12092, section 2.2) on the tokens of
`dvae_scenes`. No data is downloaded: captions are made by rule, and a parser reads every drawn
image back. Captions of the training images, captions that were held out, and captions with a
binding that was held out (the red triangle) are drawn. Images are also re-ranked by
`joint_embedding_scenes`.

    python -m experiments.dalle_scenes
    python -m experiments.dalle_scenes --recipe dense

The runs of `dvae_scenes` and `joint_embedding_scenes` are trained first, if they are not finished.

* `cpu`: the paper's sparse attention in the order of its layers, with four layers; tokens of `vq`.
* `fsq`, `gumbel`: tokens of the other quantizers.
* `dense`: full causal attention.
* `equal_weights`: the loss weighs text and image tokens equally; the paper's weights are 1/8 and
  7/8.

The figure is the percentage of correct images of held-out captions. Chance is 1 of 1,104 scenes.
A tenth of the captions is replaced by the null caption in training, for guidance.

Expected: more images are correct of training captions than of held-out captions, and of these than
of held-out bindings; re-ranking helps until about 32 images; `dense` is about equal to sparse.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from experiments import dvae_scenes, joint_embedding_scenes, named
from experiments.dalle_folder import transformer, without_text
from genjax.cli.experiment import main
from genjax.train import Run


def scenes(quantizer: str = "vq", **model: Any) -> Run:
    """Returns a run on the tokens of a quantizer."""
    run = transformer(
        "dalle_scenes",
        dvae_scenes.RECIPES[quantizer].model,
        joint_embedding_scenes.WORDS,
        joint_embedding_scenes.VOCABULARY,
        parts_from=f"dvae_scenes:{quantizer}",
        ranker="joint_embedding_scenes:ranker",
        metric="caption_accuracy,token_nats,caption_retrieval",
        # Without dropout, the validation loss rises after 4,000 steps.
        dropout=0.1,
        **model,
    )
    figure = dataclasses.replace(run.figure, source="no paper has these images")
    return dataclasses.replace(run, figure=figure)


RECIPES = named(
    {
        "cpu": scenes(),
        "fsq": scenes("fsq"),
        "gumbel": scenes("gumbel"),
        "dense": scenes(attention="dense"),
        "equal_weights": scenes(text_weight=0.5),
    }
)
REQUIRES = {"*": "two CPU cores"}


def needs(run: Run) -> Sequence[Run]:
    """Returns the runs of the tokenizer and the ranker, on the run's data.

    Options of the tokenizer change the runs of `dvae_scenes` too.
    """
    images, chosen = without_text(run.data), run.model.image_tokenizer
    recipe = RECIPES[run.experiment.partition(":")[2]]
    tokenizers = [
        dataclasses.replace(
            other,
            data=images,
            model=other.model if chosen == recipe.model.image_tokenizer else chosen,
        )
        for other in dvae_scenes.RECIPES.values()
    ]
    ranker = joint_embedding_scenes.RECIPES["ranker"]
    model = dataclasses.replace(
        ranker.model,
        shape=run.model.shape,
        vocabulary=run.model.vocabulary,
        text_length=run.model.text_length,
    )
    data = dataclasses.replace(run.data, bpe_dropout=0.0)
    return [*tokenizers, dataclasses.replace(ranker, data=data, model=model)]


if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
