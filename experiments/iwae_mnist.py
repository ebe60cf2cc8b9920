"""VAE and IWAE on MNIST: importance-weighted bound of 5,000 samples on test, in nats.

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016
(arXiv:1509.00519), table 1. Training images are binarised again for every batch, test images once:

    k                                1       5      50
    1 stochastic layer, IWAE     86.76   85.54   84.78
    2 stochastic layers, IWAE    85.33   83.89   82.90
    2 stochastic layers, VAE     85.33   85.01   84.78

Appendix D, `fixed_*`, is the fixed binarisation: 88.71, 87.63 and 87.10 with one layer, 88.08,
86.17 and 85.32 with two.

    python -m experiments.iwae_mnist                       # k1_cpu: 86.65 in 45 minutes
    python -m experiments.iwae_mnist --recipe k50_cpu      # 85.35 in 90 minutes
    python -m experiments.iwae_mnist --recipe two_layers_k50    # a GPU

* The paper: Glorot's weights, tanh units, Adam with epsilon 1e-4, batches of 20, and for i = 0 .. 7
  a learning rate of 0.001 10^(-i/7) for 3^i epochs, 3,280 in all: ten million steps. The weights of
  the last step are tested.
* `*_cpu`: batches of 100 and a rate falling to 0 over 600 epochs (480 for k = 50). `k50_cpu`
  computes the bound of 50 samples and differentiates 4 of them, drawn by weight: the same gradient
  on average at 2.4 times the speed.
"""

import dataclasses
import sys
from typing import Any, Literal

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import hierarchical_vae, vae
from genjax.train import Figure, Run, Train

DYNAMIC = Data(data="mnist", transform="binarize('dynamic')")
FIXED = Data(data="binarized_mnist")
DRAWN = {DYNAMIC: "one draw of the test pixels; the authors' code holds 400 images out", FIXED: ""}
EPOCH = {DYNAMIC: 3000, FIXED: 2500}  # batches of 20
CHECKSUM = {DYNAMIC: "47a7b5c4", FIXED: "0277658a"}
LAYERS = {1: "one stochastic layer", 2: "two stochastic layers"}
TABLE = {DYNAMIC: "table 1", FIXED: "appendix D, fixed binarisation"}


def recipe(
    paper: float,
    k: int,
    data: Data = DYNAMIC,
    layers: int = 1,
    objective: Literal["elbo", "iwae"] = "iwae",
) -> Run:
    """Returns one row with the paper's settings."""
    each = EPOCH[data]
    ends = [each * (3**i - 1) // 2 for i in range(1, 9)]
    loss: Any = dict(objective=objective if k > 1 else "elbo", latent_samples=k)
    model: Any
    if layers == 1:
        model = vae.Config(latent=50, hidden=(200, 200), weights="glorot", data_bias=True, **loss)
    else:
        model = hierarchical_vae.Config(
            latent=(100, 50),
            hidden=(200, 100),
            depth=2,
            activation="tanh",
            data_bias=True,
            **loss,
        )
    kind = "IWAE" if objective == "iwae" else "VAE"
    return Run(
        experiment="iwae_mnist",
        family="vae" if layers == 1 else "hierarchical_vae",
        model=model,
        data=data,
        optimizer=Optimizer(
            optimizer="adam",
            learning_rate=1e-3,
            eps=1e-4,
            schedule="piecewise",
            boundaries=tuple(ends[:-1]),
            factors=tuple(10 ** (-i / 7) for i in range(1, 8)),
        ),
        train=Train(
            steps=ends[-1],
            batch_size=20,
            log_every=each,
            eval_samples=5000,
            sample_every=81 * each,
            save_every=50_000,
        ),
        figure=Figure(
            paper=paper,
            tag="seen",
            source=f"Burda et al. 2016, {TABLE[data]}: {LAYERS[layers]}, {kind}, k = {k}",
            difference=DRAWN[data],
            data_checksum=CHECKSUM[data],
        ),
    )


def cpu(paper: float, k: int, epochs: int = 600, differentiated: int = 0) -> Run:
    """Returns a row by a shorter schedule of larger batches.

    Args:
      paper: its figure.
      k: samples in training.
      epochs: length.
      differentiated: samples that the gradient goes through, in bfloat16; 0 is all, in float32.
    """
    run = recipe(paper, k)
    difference = f"{epochs} epochs in batches of 100, a rate falling from 0.002 to 0"
    if differentiated:
        difference += f"; gradient through {differentiated} of the samples, products in bfloat16"
    return dataclasses.replace(
        run,
        model=dataclasses.replace(
            run.model,
            gradient_samples=differentiated,
            dtype="bfloat16" if differentiated else "float32",
        ),
        optimizer=Optimizer(optimizer="adam", learning_rate=2e-3, eps=1e-4, schedule="linear"),
        train=dataclasses.replace(
            run.train,
            steps=epochs * 600,
            batch_size=100,
            log_every=600,
            sample_every=60_000,
            save_every=30_000,
        ),
        figure=dataclasses.replace(run.figure, difference=f"{difference}; {DRAWN[DYNAMIC]}"),
    )


RECIPES = named(
    {
        "k1_cpu": cpu(86.76, 1),
        "k1": recipe(86.76, 1),
        "k5_cpu": cpu(85.54, 5),
        "k5": recipe(85.54, 5),
        "k50_cpu": cpu(84.78, 50, epochs=480, differentiated=4),
        "k50": recipe(84.78, 50),
        "fixed_k1": recipe(88.71, 1, FIXED),
        "fixed_k5": recipe(87.63, 5, FIXED),
        "fixed_k50": recipe(87.10, 50, FIXED),
        "two_layers_k1": recipe(85.33, 1, layers=2),
        "two_layers_k5": recipe(83.89, 5, layers=2),
        "two_layers_k50": recipe(82.90, 50, layers=2),
        "two_layers_vae_k5": recipe(85.01, 5, layers=2, objective="elbo"),
        "two_layers_vae_k50": recipe(84.78, 50, layers=2, objective="elbo"),
        "two_layers_fixed_k1": recipe(88.08, 1, FIXED, layers=2),
        "two_layers_fixed_k5": recipe(86.17, 5, FIXED, layers=2),
        "two_layers_fixed_k50": recipe(85.32, 50, FIXED, layers=2),
    }
)
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
