"""Progressive GAN on CIFAR-10 without labels: Inception score and FID.

Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved
Quality, Stability, and Variation", ICLR 2018 (arXiv:1710.10196), section 6.5, and the authors'
code: networks of 128 features at every size, 128 latents, 400,000 images per size and per fade,
20,000,000 in all in batches of 16. The target norm of the gradient penalty is 750, and both
networks are updated from the same state (simultaneous updates).

    python -m experiments.progressive_cifar10 --fid-weights pt_inception-2015-12-05-6726825d.pth

The figure is the Inception score, 8.80 +- 0.05 of the paper's best run; the record also has FID.
"""

import sys

from experiments import named
from experiments.progressive_celebahq1024 import ADAM, BATCH, steps_for
from genjax.cli.experiment import main
from genjax.core import GanObjective
from genjax.data import Data
from genjax.families import progressive
from genjax.train import Figure, Run, Train

MODEL = progressive.Config(
    shape=(32, 32, 3),
    latent=128,
    base=4096,
    max_width=128,
    group=BATCH,
    fade_images=400_000,
    stable_images=400_000,
    objective=GanObjective(
        loss="wasserstein",
        gradient_penalty=10.0,
        penalty_target=750.0,
        drift=0.001,
        update="simultaneous",
    ),
)

PAPER = Run(
    experiment="progressive_cifar10",
    family="progressive",
    model=MODEL,
    data=Data(data="cifar10", transform="scale(-1, 1)"),
    optimizer=dict(discriminator=ADAM, generator=ADAM),
    train=Train(
        steps=steps_for(MODEL, 20_000_000),
        batch_size=BATCH,
        ema=0.999,
        log_every=100,
        sample_every=10_000,
        save_every=10_000,
        metric="inception_score,fid",
    ),
    figure=Figure(
        paper=8.80,
        tag="seen-2nd",
        source="Karras et al. 2018, section 6.5: unsupervised, Inception score 8.80 +- 0.05, the"
        " best run",
    ),
)

RECIPES = named({"paper": PAPER})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
