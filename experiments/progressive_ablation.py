"""Table 1 of progressive GAN: what each part contributes, on CelebA.

Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved
Quality, Stability, and Variation", ICLR 2018 (arXiv:1710.10196), section 6.1 and table 1, and the
authors' code for what it leaves open. Each row of the table changes the one before:

* `a`: Gulrajani et al. 2017 (9.28): not grown, five critic updates in batches of 64, batch norm and
  ReLU in G, layer norm in D, tanh, Adam 0.0001 with b2 0.9;
* `b`: with growing (4.28);
* `c`: in batches of 16 (46.23);
* `d`: one critic update, no norms, leaky ReLU, linear output, b2 0.99, drift (8.07);
* `e`: with the standard deviation of the minibatch (7.04); `e_star`: with minibatch discrimination
  of 100 kernels instead (9.84);
* `f`: `e` with equalised learning rate, 0.001 (4.39);
* `g`: with pixel norm (3.56).

The figure is the sliced Wasserstein distance of 16,384 samples, times 10^3, mean over the levels
128, 64, 32 and 16; the record also has each level, and MS-SSIM.

    python -m experiments.progressive_ablation --recipe g --data FOLDER            # a GPU
    python -m experiments.progressive_ablation --recipe g_cpu --data FOLDER_64     # 32x32, a CPU

FOLDER holds the aligned faces of CelebA, 178x218, and FOLDER_64 faces of 64x64, as TFDS
(`celeb_a`) or `genjax prepare` writes them. All rows show the discriminator the same number of
images: 10,000,000, of which 800,000 per size and per fade; at 32x32, 120,000 and 15,000. There rows
`a` to `e` have a learning rate of 0.0005, since they make an eightieth of the updates. Expected at
32x32: `b` better than `a`, `f` and `g` better than `d`, `c` worst.
"""

import dataclasses
import sys
from typing import Any

from experiments import named
from experiments.progressive_celebahq1024 import BATCH, SWD, steps_for
from genjax.cli.experiment import main
from genjax.core import GanObjective, Optimizer
from genjax.data import Data
from genjax.families import progressive
from genjax.train import Figure, Run

IMAGES, PHASE = 10_000_000, 800_000
CPU_IMAGES, CPU_PHASE = 120_000, 15_000
TABLE = {  # mean SWD on CelebA
    "a": 9.28,
    "b": 4.28,
    "c": 46.23,
    "d": 8.07,
    "e": 7.04,
    "e_star": 9.84,
    "f": 4.39,
    "g": 3.56,
}

# Row (g), the last one, and what the earlier rows have in its place.
G = progressive.Config(
    shape=(128, 128, 3), base=2048, group=BATCH, fade_images=PHASE, stable_images=PHASE
)
F: dict[str, Any] = dict(generator_norm="none")
E = F | dict(equalized=False)
E_STAR = E | dict(minibatch="discrimination")
D = E | dict(minibatch="none")
C = D | dict(
    latent=128,
    latent_norm=False,
    generator_norm="batch",
    discriminator_norm="layer",
    activation="relu",
    output="tanh",
    objective=GanObjective(loss="wasserstein", gradient_penalty=10.0, critic_steps=5),
)
ROWS = {"a": C, "b": C, "c": C, "d": D, "e": E, "e_star": E_STAR, "f": F, "g": {}}


def paper(name: str, images: int = IMAGES, rate: float = 1e-4, **changes: Any) -> Run:
    """Returns a row of the table.

    Args:
      name: of the row.
      images: shown to the discriminator in all.
      rate: learning rate of the rows without equalised learning rate.
      **changes: of the model.
    """
    model = dataclasses.replace(G, **ROWS[name], **changes)
    if name == "a":
        model = dataclasses.replace(model, start=model.shape[0])
    batch = 64 if name in "ab" else BATCH
    gulrajani = name in "abc"
    adam = Optimizer(
        learning_rate=1e-3 if model.equalized else rate, b1=0.0, b2=0.9 if gulrajani else 0.99
    )
    # The average is over as many images as in the other rows.
    updates = model.objective.critic_steps * batch // BATCH
    return Run(
        experiment="progressive_ablation",
        family="progressive",
        model=model,
        data=Data(data="celeb_a", transform="center_crop(128)|random_flip()|scale(-1, 1)"),
        optimizer=dict(discriminator=adam, generator=adam),
        train=dataclasses.replace(
            SWD.train,
            steps=steps_for(model, images, batch),
            batch_size=batch,
            ema=0.999**updates,
            samples=36,
            metric="swd,ms_ssim",
        ),
        figure=Figure(
            paper=TABLE[name],
            tag="seen",
            source=f"Karras et al. 2018, table 1, CelebA, row ({name.replace('_star', '*')})",
            difference="the middle 128x128 of a face, the authors' are 12 pixels lower; TFDS's"
            " training split, the authors use all 202,599 images",
        ),
    )


def cpu(name: str) -> Run:
    """Returns a row at 32x32, with narrow networks and an eightieth of the images."""
    run = paper(
        name,
        CPU_IMAGES,
        rate=5e-4,
        shape=(32, 32, 3),
        base=256,
        max_width=32,
        fade_images=CPU_PHASE,
        stable_images=CPU_PHASE,
    )
    return dataclasses.replace(
        run,
        data=Data(data="celeb_a_64/1.0.0", transform="resize(32)|random_flip()|scale(-1, 1)"),
        train=dataclasses.replace(
            run.train,
            log_every=run.train.steps // 125,
            sample_every=run.train.steps // 25,
            save_every=run.train.steps // 5,
            metric_samples=4_096,
        ),
        figure=Figure(
            source=f"{run.figure.source}: {TABLE[name]} at 128x128",
            difference=f"32x32 and {CPU_IMAGES:,} images through narrow networks, where the paper"
            f" has 128x128 and {IMAGES:,}",
        ),
    )


RECIPES = named(
    {name: paper(name) for name in TABLE} | {f"{name}_cpu": cpu(name) for name in TABLE}
)
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
