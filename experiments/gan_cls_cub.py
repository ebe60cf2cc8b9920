"""GAN-INT-CLS on birds (CUB): an inception score of 2.88, measured by later papers.

Scott Reed et al., "Generative Adversarial Text to Image Synthesis", ICML 2016 (arXiv:1605.05396).
The paper prints no figures; AttnGAN's table has 2.88 +- .04 for it, by an Inception network
fine-tuned on birds.

    python -m experiments.gan_cls_cub --data FOLDER --fid-weights FILE      # a GPU

FOLDER has the birds with captions.csv, ten captions each; train has 150 classes and test the other
50. The recipe `embedding` trains the text encoder first, if its run is not finished: the character
CNN-RNN with an image encoder that begins at random weights, where the authors have features of
GoogLeNet.

64x64 pixels, random crops of 76 and flips; Adam 2e-4 with b1 0.5, halved every 100 of 600 epochs of
138 steps of 64 images.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from experiments import in_unit_range, named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import gan_cls
from genjax.train import Figure, Run, Train

CROP = "resize(76)|random_crop(64)|random_flip()"


def stages(
    experiment: str, data: str, epoch: int, figure: Figure, model: gan_cls.Config
) -> dict[str, Run]:
    """Returns the recipes `paper` and `embedding` of a data set.

    Args:
      experiment: its name.
      data: its data set.
      epoch: steps of an epoch.
      figure: of the paper.
      model: networks.
    """
    text: Any = dict(data=data, tokenizer="characters", text_length=201)
    adam = Optimizer(
        learning_rate=2e-4,
        schedule="piecewise",
        boundaries=tuple(100 * epoch * i for i in range(1, 6)),
        factors=tuple(0.5**i for i in range(1, 6)),
        b1=0.5,
    )
    paper = Run(
        experiment=experiment,
        family="gan_cls",
        model=model,
        data=Data(transform=f"{CROP}|scale(-1, 1)", **text),
        optimizer=dict(discriminator=adam, generator=adam),
        train=Train(
            steps=600 * epoch,
            batch_size=64,
            sample_every=10 * epoch,
            save_every=10 * epoch,
            samples=32,
            parts_from=(f"{experiment}:embedding",),
            metric="inception_score",
            metric_samples=30_000,
        ),
        figure=figure,
    )
    embedding = Run(
        experiment=experiment,
        family="joint_embedding",
        model=model.embedding,
        data=Data(transform=f"{CROP}|scale(0, 1)", **text),
        optimizer=Optimizer(learning_rate=7e-4, schedule="linear"),
        train=Train(
            steps=200 * epoch,
            batch_size=64,
            eval_every=10 * epoch,
            save_every=10 * epoch,
            metric="caption_retrieval",
        ),
        figure=Figure(source="no paper trains this image encoder from random weights"),
    )
    return named({"paper": paper, "embedding": embedding})


REQUIRES = {"*": "a GPU; images with captions of your own"}


def needs(run: Run) -> Sequence[Run]:
    """Returns the text encoder of a run of GAN-INT-CLS, on its data."""
    if run.family != "gan_cls":
        return ()
    experiment, epoch = run.experiment.partition(":")[0], max(1, run.train.steps // 600)
    made = stages(experiment, run.data.data, epoch, run.figure, run.model)["embedding"]
    data = dataclasses.replace(run.data, transform=in_unit_range(run.data.transform))
    return (dataclasses.replace(made, data=data),)


CUB = Figure(
    paper=2.88,
    tag="seen-2nd",
    source="Xu et al. 2018 (AttnGAN), inception score of GAN-INT-CLS on CUB",
    difference="an Inception network that is not fine-tuned on birds; a text encoder trained"
    " without GoogLeNet",
)
RECIPES = stages("gan_cls_cub", "cub", 138, CUB, gan_cls.Config())

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
