"""DALL-E on your own captioned pictures, or on any TFDS set with text, on a CPU.

    python -m experiments.dalle_folder --data my_captions/1.0.0
    genjax draw runs/dalle_folder-cpu-seed0 "a caption" --n 16 --out grid.png

my_captions is a folder that `genjax prepare` has made of pictures and a captions.csv with the
columns file_name and caption, with hold-outs (see docs/data.md):

    genjax prepare pictures . --name my_captions --validation 100 --test 100

Pictures are cropped to 32x32.
Captions are encoded as bytes and joined to at most 512 tokens, so that any language can be written.

Three runs are trained one after another: a discrete VAE, which makes 8x8 tokens of a picture; a
joint embedding, which re-ranks; and the transformer (Ramesh et al. 2021, arXiv:2102.12092). Without
`--data` the captions are those of `scenes`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dalle, dvae, joint_embedding
from genjax.train import Figure, Run, Train

TRAIN = Train(
    steps=5_000, batch_size=64, ema=0.998, log_every=100, eval_every=1_000, save_every=500
)


def adam(warmup: int = 100, **settings: Any) -> Optimizer:
    """Returns Adam at a rate of 1e-3 with a cosine schedule."""
    values: Any = dict(learning_rate=1e-3, schedule="cosine", warmup=warmup) | settings
    return Optimizer(**values)


def without_text(data: Data) -> Data:
    """Returns the settings of the same images without captions."""
    return dataclasses.replace(data, tokenizer="", text_length=0, vocabulary=0, bpe_dropout=0.0)


def transformer(
    experiment: str,
    tokenizer: dvae.Config,
    data: Data,
    vocabulary: int,
    *,
    parts_from: str,
    ranker: str,
    metric: str,
    **model: Any,
) -> Run:
    """Returns a run of a transformer that a CPU can train, by the paper's AdamW.

    Args:
      experiment: its name.
      tokenizer: of the images.
      data: with captions, a tokenizer, and images in [0, 1].
      vocabulary: of the captions.
      parts_from: run of the tokenizer of the images.
      ranker: run of the ranker.
      metric: metrics, the figure first.
      model: further settings of the transformer.
    """
    return Run(
        experiment=experiment,
        family="dalle",
        model=dalle.Config(
            shape=tokenizer.shape,
            image_tokenizer=tokenizer,
            vocabulary=vocabulary,
            text_length=data.text_length,
            width=128,
            layers=4,
            heads=4,
            kernel=3,
            null_captions=0.1,
            **model,
        ),
        data=data,
        # The paper clips at a norm of 4.
        optimizer=adam(200, b2=0.96, weight_decay=0.045, decay_biases=False, clip=1.0),
        train=dataclasses.replace(
            TRAIN,
            sample_every=1_000,
            samples=16,
            parts_from=(parts_from,),
            ranker=ranker,
            metric=metric,
        ),
        figure=_figure(metric),
    )


def _figure(metrics: str) -> Figure:
    return Figure(metric=metrics.partition(",")[0], source="no paper has these settings")


def stages(
    experiment: str,
    data: Data,
    side: int,
    vocabulary: int,
    *,
    channels: int = 3,
    groups: int = 3,
    metric: str = "token_nats,caption_retrieval",
    tokens_metric: str = "token_usage",
) -> dict[str, Run]:
    """Returns the runs of an experiment: `cpu`, the transformer, then `dvae` and `ranker`.

    Args:
      experiment: its name.
      data: with captions, a tokenizer, and images in [0, 1].
      side: of the images, in pixels.
      vocabulary: of the captions.
      channels: of the images.
      groups: of the discrete VAE; `side / 2**(groups - 1)` tokens in a row.
      metric: metrics of the transformer.
      tokens_metric: metrics of the discrete VAE.
    """
    shape = (side, side, channels)
    pictures = without_text(data)
    tokenizer = Run(
        experiment=experiment,
        family="dvae",
        model=dvae.Config(
            shape=shape,
            quantizer="vq",
            codes=128,
            code_width=16,
            hidden=32,
            groups=groups,
            width=64,
            likelihood="normal",
        ),
        data=pictures,
        optimizer=adam(learning_rate=2e-3),
        train=dataclasses.replace(TRAIN, steps=4_000, metric=tokens_metric),
        figure=_figure(tokens_metric),
    )
    ranker = Run(
        experiment=experiment,
        family="joint_embedding",
        model=joint_embedding.Config(
            shape=shape,
            vocabulary=vocabulary,
            text_length=data.text_length,
            embedding=128,
            text_encoder="transformer",
            width=128,
            image_widths=(32, 64, 128),
            objective="contrastive",
        ),
        # Equal captions must have equal tokens: their images are no wrong ones of each other.
        data=dataclasses.replace(data, bpe_dropout=0.0),
        optimizer=adam(),
        train=dataclasses.replace(TRAIN, steps=4_000, ema=0.0, metric="caption_retrieval"),
        figure=_figure("caption_retrieval"),
    )
    drawer = transformer(
        experiment,
        tokenizer.model,
        data,
        vocabulary,
        parts_from=f"{experiment}:dvae",
        ranker=f"{experiment}:ranker",
        metric=metric,
    )
    return named({"cpu": drawer, "dvae": tokenizer, "ranker": ranker})


def needs(run: Run) -> Sequence[Run]:
    """Returns the discrete VAE and the ranker, on the run's data and for its shapes."""
    if run.family != "dalle":
        return ()
    experiment = run.experiment.partition(":")[0]
    height, _, channels = run.model.shape
    made = stages(experiment, run.data, height, run.model.vocabulary, channels=channels)
    model = dataclasses.replace(made["ranker"].model, shape=run.model.shape)
    return (
        dataclasses.replace(made["dvae"], model=run.model.image_tokenizer),
        dataclasses.replace(made["ranker"], model=model),
    )


RECIPES = stages(
    "dalle_folder",
    Data(
        data="scenes",
        transform="fit(32, mode='crop')|scale(0, 1)",
        tokenizer="bpe",
        text_length=32,
        vocabulary=512,
    ),
    side=32,
    vocabulary=512,
)
REQUIRES = {"*": "two to four hours of a CPU core"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
