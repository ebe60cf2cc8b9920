"""RNADE on red wine: exact test log-density, in nats, over ten folds.

Benigno Uria, Iain Murray, Hugo Larochelle, "A Deep and Tractable Density Estimator", ICML 2014
(arXiv:1310.1757), table 3, row "RNADE (fixed order)": log-likelihood -9.36, 9.36 nats here. The
model is "RNADE: The real-valued neural autoregressive density-estimator", NIPS 2013.

The data are a .npz with one array `data` [1599, 12], as UCI has it. The papers' filter, one of each
pair of columns correlated above 0.98 and every discrete column, leaves 11. Each fold tests on a
tenth, standardised by its training rows. A seed is a fold:

    python -m experiments.reproduce --only rnade_red_wine --seeds 0 1 2 3 4 5 6 7 8 9 \\
        --data red_wine.npz=DIR/red_wine.npz    # 8.80 +- 0.17, half a minute per fold

The paper prints grids and not the settings chosen. Those here were chosen on validation of folds 0
and 4; wide networks need strong dropout. The validation rows of folds 0 to 8 are among those that
fold 9 tests on, so its figure, 8.71, is not independent of the choice.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import rnade
from genjax.train import Figure, Run, Train

FOLDS = (  # checksums of the ten
    "7b6f5a0e 33886f99 072906ca a7c8d00a 894f9323 75f0296e df94cba6 a73370b5 6e07a5df 57a0cc7f"
)

CPU = Run(
    experiment="rnade_red_wine",
    family="rnade",
    model=rnade.Config(
        shape=(11,), hidden=100, components=20, kind="gaussian", order="raster", dropout=0.5
    ),
    data=Data(
        data="red_wine.npz",
        folds=10,
        standardize=True,
        drop_correlated=0.98,
        drop_discrete=10,
    ),
    optimizer=Optimizer(optimizer="adam", learning_rate=1e-2, schedule="linear"),
    train=Train(
        steps=2_000,  # 154 epochs of 1,296 rows
        batch_size=100,
        ema=0.99,
        log_every=500,
        eval_every=250,
        save_every=1_000,
    ),
    figure=Figure(
        paper=9.36,
        tag="seen",
        source="Uria, Murray and Larochelle 2014, table 3: RNADE fixed order, Red wine",
        difference="the file's order of columns, not a random one; Adam falling to 0, dropout"
        " and averaged weights; the paper has 50 units, weight decay. Settings were chosen on"
        " rows that fold 9 tests on",
        data_checksum=FOLDS,
    ),
)

RECIPES = named({"cpu": CPU})

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
