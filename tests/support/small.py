"""Small whole runs of every family, for tests of the loop and for the programs they start."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from genjax import families
from genjax.core import Optimizer, network_names
from genjax.core.protocols import Growing, TextConditional, Translator
from genjax.data import Data, Dataset, save_npz
from genjax.train import Run, Train

TRANSLATIONS = "translations.npz"
SQUARES = "squares.npz"  # 8x8, for networks that grow and for puzzles
CAPTIONED = "captioned_{}.npz"  # with two captions of each image, by their side


def write_data(folder: pathlib.Path, n: int = 240, *, labels: bool = True) -> str:
    """3x3 binary images in a .npz: a bar in one of three rows, their label, with noise."""
    rng = np.random.default_rng(0)
    x = np.zeros((n + 160, 3, 3, 1), np.uint8)
    row = rng.integers(0, 3, len(x))
    x[np.arange(len(x)), row] = 1
    x ^= (rng.random(x.shape) < 0.1).astype(np.uint8)
    cuts = {"train": (0, n), "validation": (n, n + 80), "test": (n + 80, len(x))}
    splits: dict[str, dict[str, np.ndarray]]
    splits = {s: {"x": x[a:b], "label": row[a:b].astype(np.int32)} for s, (a, b) in cuts.items()}
    if not labels:
        splits = {s: {"x": split["x"]} for s, split in splits.items()}
    path = folder / "bars.npz"
    save_npz(Dataset("bars", splits, 2), path)
    write_translations(splits, folder / TRANSLATIONS)
    squares = {s: {**v, "x": v["x"].repeat(2, 1).repeat(2, 2)} for s, v in splits.items()}
    margin = ((0, 0), (1, 1), (1, 1), (0, 0))  # 8x8
    squares = {s: {**v, "x": np.pad(v["x"], margin)} for s, v in squares.items()}
    save_npz(Dataset("squares", squares, 2), folder / SQUARES)
    words = np.array(["one", "two", "three"])
    for images in (splits, squares):
        captioned = {}
        for name, (a, b) in cuts.items():
            texts = [[f"row {word}", f"{word} row"] for word in words[row[a:b]]]
            captioned[name] = {"x": images[name]["x"], "caption": np.array(texts)}
        side = captioned["train"]["x"].shape[1]
        save_npz(Dataset("captioned", captioned, 2), folder / CAPTIONED.format(side))
    return str(path)


def write_translations(splits: dict[str, dict[str, np.ndarray]], path: pathlib.Path) -> None:
    """The images with partners `y`, and with attributes of two sets, of which one is known."""
    config = families.get("stargan").tiny()
    out = {}
    for split, arrays in splits.items():
        x = arrays["x"]
        rng, rows = np.random.default_rng(len(x)), np.arange(len(x))
        known = rng.integers(0, 2, len(x))
        attributes = np.zeros((len(x), 5), np.uint8)
        attributes[rows, rng.integers(0, 2, len(x))] = 1  # thick or thin
        attributes[:, 2] = rng.integers(0, 2, len(x))
        attributes[rows, rng.integers(3, 5, len(x))] = 1  # light or dark
        if split == "train":
            attributes[known == 1, :3] = attributes[known == 0, 3:] = 0
        out[split] = {"x": x, "y": 1 - x, "attributes": attributes, "label": known.astype(np.int32)}
    names = {"attributes": config.attributes + config.second_attributes}
    save_npz(Dataset("translations", out, 2, names=names), path)


def small_run(name: str, data: str, **train: Any) -> Run:
    """A family's tiny Config with every part of the loop switched on."""
    family = families.get(name)
    config = family.tiny()
    optimizer: Any = Optimizer(learning_rate=1e-2, schedule="linear", decay_steps=40, clip=5.0)
    if network_names(family):
        optimizer = {name: optimizer for name in network_names(family)}
    if family.traits(config).fit != "gradient":
        optimizer = None
    if isinstance(family, Translator):
        decay = dict(schedule="constant_linear", constant_steps=2, decay_steps=40)
        optimizer = {k: dataclasses.replace(v, **decay) for k, v in optimizer.items()}
        data = str(pathlib.Path(data).with_name(TRANSLATIONS))
    if isinstance(family, Growing):
        constant = dict(schedule="constant", decay_steps=None)  # it is reset in every stage
        optimizer = {k: dataclasses.replace(v, **constant) for k, v in optimizer.items()}
    if tuple(config.shape) == (8, 8, 1):
        data = str(pathlib.Path(data).with_name(SQUARES))
    has_text = isinstance(family, TextConditional)
    if has_text:
        data = str(pathlib.Path(data).with_name(CAPTIONED.format(config.shape[0])))
    images = "scale({:g}, {:g})".format(*family.traits(config).sample_range)
    transform: Any = {"images": images, "real": "dequantize()"}.get(family.traits(config).data, "")
    settings = dict(steps=10, batch_size=16, ema=0.9, log_every=3, eval_every=4, eval_batch=64)
    settings |= dict(save_every=4, sample_every=5, samples=4, steps_per_call=1, keep=3)
    return Run(
        experiment=f"small_{name}",
        family=name,
        model=config,
        data=Data(data=data, transform=transform, tokenizer="words" if has_text else ""),
        optimizer=optimizer,
        train=Train(**(settings | train)),
    )
