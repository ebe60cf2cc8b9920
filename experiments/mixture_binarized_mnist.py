"""Mixtures of Bernoullis on the fixed binarised MNIST: exact test NLL, in nats.

Hugo Larochelle, Iain Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011,
section 6.2: 168.95 with 10 components, 142.63 with 100 and 137.64 with 500, the baselines of its
table.

    python -m experiments.mixture_binarized_mnist                # k500: 128.42 in 8 minutes
    python -m experiments.mixture_binarized_mnist --recipe k10   # 167.18

EM on all 50,000 images at once, with the number of iterations by early stopping. The paper does not
print initial values, priors and iterations; those here are chosen on validation with k = 100.
"""

import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import mixture
from genjax.train import Figure, Run, Train


def recipe(components: int, paper: float, steps: int) -> Run:
    """Returns EM of at most `steps` iterations, evaluated every five."""
    return Run(
        experiment="mixture_binarized_mnist",
        family="mixture",
        model=mixture.Config(components=components, mean_prior=1e-2, weight_prior=1e-2, noise=0.1),
        data=Data(data="binarized_mnist"),
        optimizer=None,
        train=Train(steps=steps, batch_size=50_000, log_every=5, eval_every=5, patience=3),
        figure=Figure(
            paper=paper,
            tag="seen",
            source="Larochelle and Murray 2011, section 6.2",
            difference="initial values, priors and number of iterations are not printed",
            data_checksum="0277658a",
        ),
    )


RECIPES = named(
    {
        "k500": recipe(500, 137.64, 40),
        "k100": recipe(100, 142.63, 60),
        "k10": recipe(10, 168.95, 60),
    }
)

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
