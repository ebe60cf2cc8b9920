"""IWAE with two stochastic layers on MNIST: test likelihood by 5,000 samples, in nats.

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016
(arXiv:1509.00519), table 1, 2 stochastic layers: 85.33 with k = 1, 83.89 with k = 5 and 82.90 with
k = 50 samples in training, pixels drawn anew for every batch; a VAE with as many samples 85.01 and
84.78. Appendix D, on the fixed binarisation: 88.08, 86.17 and 85.32.

The paper's schedule: batches of 20, Adam with eps 1e-4, 3^i passes at a learning rate of 0.001
10^(-i / 7) for i = 0 .. 7. That is 3,280 passes, nearly ten million small steps: hours of a GPU.

The weights of the last step are tested: the validation split of the fixed binarisation is looked at
once, at the end. A one-sample ELBO could not choose weights of k = 50, whose q is fitted to another
bound.
"""

import sys
from typing import Literal

from experiments.iwae_mnist import schedule
from genjax.cli.experiment import main
from genjax.data import Data
from genjax.families import hierarchical_vae
from genjax.train import Figure, Run, Train

Objective = Literal["elbo", "iwae"]

BATCH = 20


def recipe(
    name: str, data: Data, examples: int, figure: Figure, objective: Objective, k: int
) -> Run:
    """One cell of the paper's table."""
    optimizer, steps = schedule(examples // BATCH)
    return Run(
        experiment=f"iwae_mnist_two_layers{name}",
        family="hierarchical_vae",
        model=hierarchical_vae.Config(
            latent=(100, 50),
            hidden=(200, 100),
            depth=2,
            activation="tanh",
            data_bias=True,
            objective=objective,
            latent_samples=k,
        ),
        data=data,
        optimizer=optimizer,
        train=Train(
            steps=steps,
            batch_size=BATCH,
            log_every=examples // BATCH,
            eval_samples=5000,
            sample_every=steps // 20,
            save_every=50_000,
        ),
        figure=figure,
    )


DYNAMIC = Data(data="mnist", transform="binarize('dynamic')")
FIXED = Data(data="binarized_mnist")


def dynamic(name: str, paper: float, objective: Objective, k: int) -> Run:
    """Pixels drawn anew for every batch: table 1."""
    kind = {"elbo": "VAE", "iwae": "IWAE"}[objective]
    figure = Figure(
        paper=paper,
        tag="seen",
        source=f"Burda et al. 2016, table 1: MNIST, 2 stochastic layers, {kind}, k = {k}",
        difference="one draw of the test pixels; the authors' code holds 400 images out",
        data_checksum="47a7b5c4",
    )
    return recipe(name, DYNAMIC, 60_000, figure, objective, k)


def fixed(name: str, paper: float, objective: Objective, k: int) -> Run:
    """The fixed binarisation: appendix D."""
    kind = {"elbo": "VAE", "iwae": "IWAE"}[objective]
    figure = Figure(
        paper=paper,
        tag="seen",
        source=f"Burda et al. 2016, appendix D: fixed binarisation, 2 layers, {kind}, k = {k}",
        data_checksum="0277658a",
    )
    return recipe(name, FIXED, 50_000, figure, objective, k)


RECIPES = {
    "k50": dynamic("", 82.90, "iwae", 50),
    "k5": dynamic(":k5", 83.89, "iwae", 5),
    "k1": dynamic(":k1", 85.33, "elbo", 1),
    "vae_k5": dynamic(":vae_k5", 85.01, "elbo", 5),
    "vae_k50": dynamic(":vae_k50", 84.78, "elbo", 50),
    "fixed_k50": fixed(":fixed_k50", 85.32, "iwae", 50),
    "fixed_k5": fixed(":fixed_k5", 86.17, "iwae", 5),
    "fixed_k1": fixed(":fixed_k1", 88.08, "elbo", 1),
}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
