# %% [markdown]
# # A model of your own photos
#
# Four steps: prepare a folder of photos, train a small VAE, look at what it has learned, and go
# further. Run the cells in order, with the editor's kernel started in the repository's folder, or
# run the file as a program. Without photos it makes a folder of landscapes by rule.

# %%
"""A model of your own photos: prepares a folder, trains a small VAE, draws and reconstructs.

Writes samples.png, reconstructions.png and the prepared data to OUT, prints figures on photos that
were held out, and the commands to go further. Without --photos it makes pictures by rule.

    python -m experiments.examples.own_photos --photos ~/Pictures
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.examples.lecture.training import examples, nats, sample, train
from genjax import checks
from genjax.cli.options import run_command, set_up_process
from genjax.core import Optimizer
from genjax.data import Data
from genjax.data.image_grid import image_grid
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions
from genjax.families import vae
from genjax.train import Run, Train

SIDE = 32  # pixels; photos are scaled and cut to squares of this side
STEPS = 3000
FEWEST = 10  # photos, of which a tenth is held out

# %% [markdown]
# ## 1. Photos
#
# Any folder of PNG, JPEG, WebP or GIF files does, of any sizes, also with a subfolder per class.
# A few hundred photos of one kind, such as faces or flowers, work better than a mixture.


# %%
def make_landscapes(folder: pathlib.Path, count: int = 400) -> None:
    """Writes pictures by rule, 48x36 pixels: a sky, a sun and a hill, in various light."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:36, :48] / 48
    for i in range(count):
        light, hue, phase, at, height = rng.uniform(size=5)
        shade = (1 - y)[..., None] * np.array([60, 110, 160])
        picture = shade + 60 * light + np.array([70, 0, -40]) * hue
        sun = (x - 0.1 - 0.8 * at) ** 2 + (y - 0.1 - 0.25 * height) ** 2 < 0.006
        picture[sun] = (255, 230, 120)
        hill = y > 0.5 + 0.1 * np.sin(6 * (x + phase))
        picture[hill] = np.array([40, 90, 40]) + 60 * light
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.png")


def prepare_photos(photos: pathlib.Path, out: pathlib.Path, name: str = "photos") -> str:
    """Scales and cuts photos to squares, holds out a tenth as test, and returns the data's folder.

    Raises:
      ValueError: the folder does not exist, or holds too few images.
    """
    if not photos.is_dir():
        raise ValueError(f"{photos} is no folder; give the folder of your photos to --photos.")
    found = sum(1 for path in photos.rglob("*") if path.is_file())
    if found < FEWEST:
        raise ValueError(
            f"{photos} has {found} files, which are too few; give a folder of {FEWEST} photos or"
            f" more."
        )
    reading = ReadOptions(format="images", size=(SIDE, SIDE), fit="crop", mode="rgb")
    writing = WriteOptions(name=name, test=max(2, found // 10))
    done = prepare(str(photos), out, writing, reading)
    for line in done.describe():
        print(line)
    return str(done.folder)


# %% [markdown]
# ## 2. Training
#
# A VAE explains each photo by 32 numbers z. The pixels are integers from 0 to 255, with a
# discretised logistic distribution given z. Flipping photos left to right doubles the data. The
# loop is that of the lecture: a state, and one compiled step per batch.


# %%
def settings(data: str, steps: int) -> Run:
    """Returns the settings of the model and of its training."""
    return Run(
        experiment="own_photos",
        family="vae",
        model=vae.Config(
            shape=(SIDE, SIDE, 3), latent=32, hidden=(256,), likelihood="discretized_logistic"
        ),
        data=Data(data=data, transform="random_flip()", stream="no"),
        optimizer=Optimizer(learning_rate=1e-3, schedule="cosine", warmup=1, clip=100.0),
        train=Train(steps=steps, batch_size=32),
    )


# %% [markdown]
# ## 3. Samples and reconstructions
#
# Figures are of photos that were held out. Bits per value are the bound on -log2 p(x), of 8 bits
# without a model. Reconstructions show what 32 numbers keep; samples are decoded random numbers.


# %%
def look(run: Run, variables: Any, out: pathlib.Path) -> dict[str, float]:
    """Writes the pictures and returns measured figures by name."""
    test = examples(run, "test")
    mean = examples(run, "train").mean(axis=0)
    decode = jax.jit(lambda v, x: vae.likelihood(run.model, v, vae.encode(run.model, v, x)).mean())
    shown = test[:32]
    again = np.asarray(decode(variables, shown))
    pairs = np.stack([shown, again], axis=1).reshape(-1, SIDE, SIDE, 3)  # each beside its own
    for name, images in (("samples", sample(run, variables, 64)), ("reconstructions", pairs)):
        Image.fromarray(image_grid(images, 0, 255)).save(out / f"{name}.png")
    values = SIDE * SIDE * 3
    return {
        "bits per value": float(nats(run, variables, test).mean() / np.log(2) / values),
        "reconstruction error": float(np.abs(again - shown).mean()),
        "error of the mean photo": float(np.abs(mean - shown).mean()),
    }


# %% [markdown]
# ## 4. Further
#
# The prepared folder is data for every family: the printed commands train a larger VAE and a GAN
# with checkpoints, write samples during training, and make a report. Larger photos need another
# SIDE. `docs/data.md` has further layouts of folders; `docs/training.md` all settings.


# %%
def further(data: str) -> list[str]:
    """Returns commands to continue with."""
    shape = f"--data {data} --shape {SIDE} {SIDE} 3"
    return [
        f"genjax train vae {shape} --likelihood discretized_logistic --encoder resnet --decoder"
        f" resnet --latent 128 --steps 50000",
        f"genjax train dcgan {shape} --transform 'scale(-1, 1)|random_flip()' --steps 50000",
        "genjax report runs",
    ]


def main(argv: list[str] | None = None) -> int:
    """Runs the four steps and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.own_photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=pathlib.Path, help="folder of photos")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/own_photos"))
    parser.add_argument("--steps", type=int, default=STEPS, help=f"updates ({STEPS})")
    options = parser.parse_args(argv)
    set_up_process()

    def run_steps() -> None:
        checks.positive(steps=options.steps)
        start = time.monotonic()
        if options.photos is None:
            make_landscapes(options.out / "pictures")
            data = prepare_photos(options.out / "pictures", options.out / "data", "landscapes")
        else:
            data = prepare_photos(options.photos.expanduser(), options.out / "data")
        run = settings(data, options.steps)
        for name, value in look(run, train(run, options.steps).variables, options.out).items():
            print(f"{name}: {value:.2f}")
        print(f"{time.monotonic() - start:.0f} seconds; pictures: {options.out}")
        print("To go further:", *further(data), sep="\n  ")

    return run_command(run_steps, "--steps")


# %%
if __name__ == "__main__":
    in_editor = "ipykernel" in sys.modules
    status = main([] if in_editor else None)
    if not in_editor:
        sys.exit(status)
