"""Discrete VAEs of scenes: 32x32 images as 8x8 tokens, by three quantizers, on a CPU.

Stage 1 of DALL-E (Ramesh et al. 2021, arXiv:2102.12092, section 2.1) on `scenes`, images of two
objects with captions by rule. The networks have an eighth of the paper's width.

    python -m experiments.dvae_scenes                       # vq
    python -m experiments.dvae_scenes --recipe gumbel

* `vq`: nearest codes of a codebook of running averages, from k-means, with restarts of codes that
  are not used (van den Oord et al. 2017, Razavi et al. 2019).
* `vq_no_restart`: the codebook drawn from N(0, 1), without restarts.
* `fsq`: finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505), 5 x 5 x 5 codes.
* `gumbel`: the paper's relaxation by Gumbel-softmax. beta is 6.6 as in the paper, for a KL per
  token whose weight is beta / 48 at this size. The standard deviation of a pixel is 0.04; at
  sqrt(1/2), of the other quantizers, the KL outweighs the squared error and few codes are used.

The figure is the mean squared error of a pixel of test images, in [0, 1]. The record has the share
of reconstructions that a parser reads as their captions say, which bounds what a model of the
tokens can draw, the perplexity of the codebook and its unused codes.

Measured: `vq` has the smallest error and uses all codes, `gumbel` has the highest perplexity, and
`fsq` leaves a fifth of its codes unused. Expected: `vq_no_restart` uses the fewest.
"""

import sys
from typing import Any

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import dvae
from genjax.train import Figure, Run, Train

STEPS = 4_000


def scenes(**model: Any) -> Run:
    """Returns a run with these settings of the quantizer."""
    return Run(
        experiment="dvae_scenes",
        family="dvae",
        model=dvae.Config(
            shape=(32, 32, 3),
            hidden=32,
            groups=3,
            width=64,
            likelihood="normal",
            **model,
        ),
        data=Data(data="scenes", transform="scale(0, 1)"),
        optimizer=Optimizer(learning_rate=2e-3, schedule="cosine", warmup=100),
        train=Train(
            steps=STEPS,
            batch_size=64,
            ema=0.998,
            log_every=100,
            eval_every=1_000,
            sample_every=1_000,
            save_every=500,
            samples=64,
            metric="token_usage",
        ),
        figure=Figure(metric="token_usage", source="no paper has these images"),
    )


RECIPES = named(
    {
        "vq": scenes(quantizer="vq", codes=128, code_width=16),
        "vq_no_restart": scenes(
            quantizer="vq", codes=128, code_width=16, k_means=False, restart=0.0
        ),
        "fsq": scenes(quantizer="fsq", levels=(5, 5, 5)),
        "gumbel": scenes(
            quantizer="gumbel", codes=128, scale=0.04, beta_steps=500, temperature_steps=3_000
        ),
    }
)
REQUIRES = {"*": "two CPU cores"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
