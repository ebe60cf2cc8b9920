"""PixelCNN on the fixed binarised MNIST: exact test NLL, in nats.

Aaron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML
2016 (arXiv:1601.06759), table 4: PixelCNN 81.30, by RMSProp in batches of 16. The paper prints
neither depth and width of that network nor its rate.

    python -m experiments.pixelcnn_mnist                   # 85.13 in 84 minutes of one core
    python -m experiments.pixelcnn_mnist --recipe gated    # a GPU

* `cpu`: eight epochs of ten layers of 32 by Muon, with a rate chosen on validation. A rate near
  0.01 is best over short runs; over long ones the weights grow and the loss stays at 92.6.
* `gated`: the network of arXiv:1606.05328, for which no paper prints a figure on this data set. It
  overfits without dropout.
"""

import dataclasses
import sys

from experiments import named
from genjax.cli.experiment import main
from genjax.core import Optimizer
from genjax.data import Data
from genjax.families import pixelcnn
from genjax.train import Figure, Run, Train

PAPER = Run(
    experiment="pixelcnn_mnist",
    family="pixelcnn",
    model=pixelcnn.Config(network="masked", layers=7, features=64),
    data=Data(data="binarized_mnist"),
    optimizer=Optimizer(optimizer="rmsprop", learning_rate=1e-3, b2=0.95),
    train=Train(
        steps=200_000,  # 64 epochs of 50,000 images
        batch_size=16,
        log_every=500,
        eval_every=2_000,
        eval_batch=500,
        sample_every=10_000,
        save_every=5_000,
    ),
    figure=Figure(
        paper=81.30,
        tag="seen",
        source="van den Oord et al. 2016, table 4: PixelCNN",
        difference="size, rate, length and RMSProp's decay are not printed; 7 layers of 64, 1e-3,"
        " 200,000 and 0.95 here, not yet chosen on validation",
        data_checksum="0277658a",
    ),
)

CPU = dataclasses.replace(
    PAPER,
    model=dataclasses.replace(PAPER.model, layers=10, features=32),
    optimizer=Optimizer(optimizer="muon", learning_rate=3e-3, schedule="linear", clip=1.0),
    train=dataclasses.replace(PAPER.train, steps=13_000, batch_size=32, ema=0.999),
    figure=dataclasses.replace(
        PAPER.figure,
        difference="8 epochs; Muon in batches of 32 with a rate falling to 0, gradients clipped and"
        " averaged weights, where the paper has RMSProp in batches of 16; 10 layers of 32: the"
        " paper does not print the network's size",
    ),
)

GATED = dataclasses.replace(
    PAPER,
    model=pixelcnn.Config(dropout=0.5),
    optimizer=Optimizer(learning_rate=1e-3, schedule="linear"),
    train=dataclasses.replace(
        PAPER.train, steps=60_000, batch_size=100, ema=0.999, eval_every=1_000
    ),
    figure=Figure(
        source="no paper prints a figure of the gated network on this data set",
        data_checksum="0277658a",
    ),
)

RECIPES = named({"cpu": CPU, "paper": PAPER, "gated": GATED})
REQUIRES = {"*": "a GPU"}

if __name__ == "__main__":
    sys.exit(main(RECIPES, __doc__))
