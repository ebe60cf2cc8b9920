"""GAN-INT-CLS on scenes: the four rows GAN, GAN-CLS, GAN-INT and GAN-INT-CLS, on a CPU.

Reed et al. 2016, "Generative Adversarial Text to Image Synthesis" (arXiv:1605.05396), at 32x32 with
half of the paper's width, and noise of 16 numbers. A parser reads every drawn image back. The text
encoder is that of `joint_embedding_scenes:characters`, which is trained first if its run is not
finished.

    python -m experiments.gan_cls_scenes
    python -m experiments.gan_cls_scenes --recipe gan

The figure is the percentage of correct images of captions that were held out; chance is 1 of 1,104
scenes. The paper prints no figures.

Expected: rows whose discriminator sees right texts of wrong images (CLS) are more often correct
than the others, since it learns from mismatched pairs too.
"""

import dataclasses
import sys
from collections.abc import Sequence

from experiments import in_unit_range, joint_embedding_scenes, named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.families import gan_cls
from genjax.train import Figure, Run, Train

EMBEDDING = joint_embedding_scenes.RECIPES["characters"]


def scenes(matching_aware: bool, interpolation: float) -> Run:
    """Returns a row: with wrong images in the discriminator's loss, and with midpoints of texts."""
    return Run(
        experiment="gan_cls_scenes",
        family="gan_cls",
        model=gan_cls.Config(
            shape=(32, 32, 3),
            width=64,
            discriminator_width=32,
            latent=16,
            matching_aware=matching_aware,
            interpolation=interpolation,
            captions=2,
            embedding=EMBEDDING.model,
        ),
        data=dataclasses.replace(EMBEDDING.data, transform="scale(-1, 1)"),
        optimizer=dict(
            discriminator=Optimizer(learning_rate=5e-4, b1=0.5, schedule="linear"),
            generator=Optimizer(learning_rate=5e-4, b1=0.5, schedule="linear"),
        ),
        train=Train(
            steps=3_000,
            batch_size=64,
            ema=0.998,
            log_every=100,
            sample_every=500,
            save_every=500,
            samples=16,
            parts_from=("joint_embedding_scenes:characters",),
            ranker="joint_embedding_scenes:words",
            metric="caption_accuracy",
        ),
        figure=Figure(source="the paper prints no figures"),
    )


RECIPES = named(
    {
        "gan_int_cls": scenes(True, 1.0),
        "gan_cls": scenes(True, 0.0),
        "gan_int": scenes(False, 1.0),
        "gan": scenes(False, 0.0),
    }
)
REQUIRES = {"*": "two CPU cores"}


def needs(run: Run) -> Sequence[Run]:
    """Returns the runs of the text encoder and the ranker, on the run's data."""
    transform = in_unit_range(run.data.transform)
    words, characters = (joint_embedding_scenes.RECIPES[name] for name in ("words", "characters"))
    own = {name: getattr(words.data, name) for name in ("tokenizer", "text_length", "vocabulary")}
    model = dataclasses.replace(words.model, shape=run.model.shape)
    data = dataclasses.replace(run.data, transform=transform)
    return [
        dataclasses.replace(words, data=dataclasses.replace(data, **own), model=model),
        dataclasses.replace(characters, data=data, model=run.model.embedding),
    ]


if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
