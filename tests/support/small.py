"""Small whole runs of every family, for tests of the loop and for the programs they start."""

import pathlib
from typing import Any

import numpy as np

from genjax import families
from genjax.core import Optimizer, network_names
from genjax.data import Data, Dataset, save_npz
from genjax.train import Run, Train


def write_data(folder: pathlib.Path, n: int = 240, *, labels: bool = True) -> str:
    """3x3 binary images in a .npz: a bar in one of three rows, their label, with noise."""
    rng = np.random.default_rng(0)
    x = np.zeros((n + 160, 3, 3, 1), np.uint8)
    row = rng.integers(0, 3, len(x))
    x[np.arange(len(x)), row] = 1
    x ^= (rng.random(x.shape) < 0.1).astype(np.uint8)
    cuts = {"train": (0, n), "validation": (n, n + 80), "test": (n + 80, len(x))}
    splits = {s: {"x": x[a:b], "label": row[a:b].astype(np.int32)} for s, (a, b) in cuts.items()}
    if not labels:
        splits = {s: {"x": split["x"]} for s, split in splits.items()}
    path = folder / "bars.npz"
    save_npz(Dataset("bars", splits, 2), path)
    return str(path)


def small_run(name: str, data: str, **train: Any) -> Run:
    """A family's tiny Config with every part of the loop switched on."""
    family = families.get(name)
    config = family.tiny()
    optimizer: Any = Optimizer(learning_rate=1e-2, schedule="linear", decay_steps=40, clip=5.0)
    if network_names(family):
        optimizer = {name: optimizer for name in network_names(family)}
    if family.traits(config).fit != "gradient":
        optimizer = None
    images = "scale({:g}, {:g})".format(*family.traits(config).sample_range)
    transform: Any = {"images": images, "real": "dequantize()"}.get(family.traits(config).data, "")
    settings = dict(steps=10, batch_size=16, ema=0.9, log_every=3, eval_every=4, eval_batch=64)
    settings |= dict(save_every=4, sample_every=5, samples=4, steps_per_call=1, keep=3)
    return Run(
        experiment=f"small_{name}",
        family=name,
        model=config,
        data=Data(data=data, transform=transform),
        optimizer=optimizer,
        train=Train(**(settings | train)),
    )
