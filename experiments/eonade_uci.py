"""EoNADE and orderless NADE on DNA and Mushrooms of the UCI repository: exact test NLL, in nats.

Benigno Uria, Iain Murray, Hugo Larochelle, "A Deep and Tractable Density Estimator", ICML 2014
(arXiv:1310.1757), table 1: EoNADE with one hidden layer and 16 orders (DNA 82.31, Mushrooms 9.68),
and orderless NADE with two layers as -log p of one order, averaged over ten (84.30, 10.05). 100,000
updates of 100 examples with Nesterov momentum 0.9; the rate is chosen from a grid on validation.

The data are .npz files with uint8 arrays train, validation and test, split as by Larochelle and
Murray 2011: DNA 1,400 / 600 / 1,186 of 180 variables, Mushrooms 2,000 / 500 / 5,624 of 112.

    python -m experiments.eonade_uci --data DIR/dna.npz                         # 82.09 in seconds
    python -m experiments.eonade_uci --recipe mushrooms_cpu --data DIR/mushrooms.npz    # 9.67

Validation uses the same ensemble as the test. `*_cpu` was chosen there; DNA has sigmoid units.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import orderless_nade
from genjax.train import Figure, Run, Train

SOURCE = "Uria, Murray and Larochelle 2014, table 1: "
GRID = "the learning rate is one of the paper's grid, not yet chosen on validation"
ADAM = (
    "Adam falling to 0 and averaged weights, where the paper has Nesterov momentum 0.9 and more"
    " updates"
)

DNA = Run(
    experiment="eonade_uci",
    family="orderless_nade",
    model=orderless_nade.Config(shape=(180,), hidden=(500,), orders=16, validation_orders=16),
    data=Data(data="dna.npz"),
    optimizer=Optimizer(
        optimizer="sgd", learning_rate=4e-3, schedule="linear", momentum=0.9, nesterov=True
    ),
    train=Train(steps=100_000, batch_size=100, log_every=500, eval_every=1_000, save_every=5_000),
    figure=Figure(
        paper=82.31,
        tag="seen",
        source=f"{SOURCE}EoNADE 1 hidden layer, 16 orders, DNA",
        difference=GRID,
        data_checksum="bddb51a0",
    ),
)
MUSHROOMS = dataclasses.replace(
    DNA,
    model=dataclasses.replace(DNA.model, shape=(112,)),
    data=Data(data="mushrooms.npz"),
    figure=dataclasses.replace(
        DNA.figure,
        paper=9.68,
        source=f"{SOURCE}EoNADE 1 hidden layer, 16 orders, Mushrooms",
        data_checksum="15d61bb8",
    ),
)


def one_order(run: Run, paper: float, data: str) -> Run:
    """Returns the row of two layers, with -log p averaged over ten orders."""
    return dataclasses.replace(
        run,
        model=dataclasses.replace(
            run.model, hidden=(500, 500), orders=10, validation_orders=10, report="mean"
        ),
        figure=dataclasses.replace(
            run.figure, paper=paper, source=f"{SOURCE}orderless NADE 2 hidden layers, {data}"
        ),
    )


RECIPES = named(
    {
        "dna_cpu": dataclasses.replace(
            DNA,
            model=dataclasses.replace(DNA.model, activation="sigmoid"),
            optimizer=Optimizer(optimizer="adam", learning_rate=3e-3, schedule="linear"),
            train=dataclasses.replace(DNA.train, steps=10_000, ema=0.999),
            figure=dataclasses.replace(DNA.figure, difference=f"sigmoid units; {ADAM}"),
        ),
        "dna": DNA,
        "mushrooms_cpu": dataclasses.replace(
            MUSHROOMS,
            optimizer=Optimizer(optimizer="adam", learning_rate=2e-3, schedule="linear"),
            train=dataclasses.replace(DNA.train, steps=40_000, ema=0.999, eval_every=4_000),
            figure=dataclasses.replace(MUSHROOMS.figure, difference=ADAM),
        ),
        "mushrooms": MUSHROOMS,
        "dna_2x500_1order": one_order(DNA, 84.30, "DNA"),
        "mushrooms_2x500_1order": one_order(MUSHROOMS, 10.05, "Mushrooms"),
    }
)
REQUIRES = {"*": "two CPU cores, after a choice of the rate"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
