"""DALL-E with 12 billion parameters, evaluated on MS-COCO without training on it: FID 27.5.

Aditya Ramesh et al., "Zero-Shot Text-to-Image Generation", ICML 2021 (arXiv:2102.12092). The paper
shows its results as plots; the FID of 30,000 samples is quoted by others. The 250 million training
pairs are not public.

    python -m experiments.dalle_coco --recipe dvae --data FOLDER --fid-weights FILE
    python -m experiments.dalle_coco --data FOLDER --fid-weights FILE --fsdp --tensor-parallel 2

FOLDER has images of at least 256x256 with captions, and the test split of MS-COCO; see
docs/data.md.

* `paper`: the transformer of 64 layers, 62 heads of 64, 256 text tokens of 16,384 (a tenth of the
  merges left out at random), 32x32 image tokens of 8,192. AdamW with b2 0.96 and a decay of 0.045,
  clipped at a norm of 4, rate 4.5e-4 after 5,000 steps of warm-up; the paper halves it five times
  when the loss stops falling, here at even intervals of the second half. Batches of 1,024, 430,000
  updates; the EMA of 0.99 every 25 updates is one of 0.9996 in each. bfloat16 in place of float16
  with scaled gradients, and no PowerSGD.
* `dvae`: 3,000,000 updates of batches of 512; AdamW with a decay of 1e-4, EMA 0.999, rate 1e-4 with
  a cosine schedule that ends at 1.25e-6 after 1,200,000 updates.
"""

import dataclasses
import sys
from collections.abc import Sequence

from experiments import named
from experiments.dalle_folder import without_text
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dalle, dvae
from genjax.train import Figure, Run, Train

UPDATES = 430_000
HALVED = tuple(UPDATES * (6 + i) // 12 for i in range(5))
IMAGES = Data(data="coco_captions", transform="resize(256)|center_crop(256)|scale(0, 1)")

DVAE = Run(
    experiment="dalle_coco",
    family="dvae",
    model=dvae.Config(),
    data=IMAGES,
    optimizer=Optimizer(
        learning_rate=1e-4,
        schedule="cosine",
        decay_steps=1_200_000,
        floor=1.25e-6,
        weight_decay=1e-4,
    ),
    train=Train(
        steps=3_000_000,
        batch_size=512,
        ema=0.999,
        eval_every=50_000,
        eval_batch=64,
        save_every=10_000,
        sample_every=50_000,
        metric="token_usage",
    ),
    figure=Figure(
        metric="token_usage", source="Ramesh et al. 2021 print no figure of the discrete VAE"
    ),
)
PAPER = Run(
    experiment="dalle_coco",
    family="dalle",
    model=dalle.Config(remat=True, dtype="bfloat16"),
    data=dataclasses.replace(
        IMAGES, tokenizer="bpe", text_length=256, vocabulary=16_384, bpe_dropout=0.1
    ),
    optimizer=Optimizer(
        learning_rate=4.5e-4,
        schedule="piecewise",
        boundaries=HALVED,
        factors=tuple(0.5 ** (i + 1) for i in range(len(HALVED))),
        warmup=5_000,
        b2=0.96,
        weight_decay=0.045,
        clip=4.0,
    ),
    train=Train(
        steps=UPDATES,
        batch_size=1_024,
        ema=0.9996,
        eval_every=10_000,
        eval_batch=64,
        save_every=1_000,
        sample_every=10_000,
        samples=16,
        parts_from=("dalle_coco:dvae",),
        metric="fid",
        metric_samples=30_000,
    ),
    figure=Figure(
        paper=27.5,
        metric="fid",
        tag="seen-2nd",
        source="Ramesh et al. 2021, FID of 30,000 samples on MS-COCO, quoted in the README of"
        " minDALL-E",
        difference="your own captioned images in place of 250 million pairs; without re-ranking",
    ),
)

RECIPES = named({"paper": PAPER, "dvae": DVAE})
REQUIRES = {"*": "a cluster for 12 billion parameters; captioned images of your own"}


def needs(run: Run) -> Sequence[Run]:
    """Returns the discrete VAE, on the run's images."""
    if run.family != "dalle":
        return ()
    data, model = without_text(run.data), run.model.image_tokenizer
    return (dataclasses.replace(RECIPES["dvae"], data=data, model=model),)


if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__, needs=needs))
