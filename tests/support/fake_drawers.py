"""A text-to-image family without a network: a caption names a colour, and images have it.

Samples are of the colour with probability `skill`, which is the one parameter, and of the next
colour otherwise, with noise in the lower half. The brightness of a sample is uniform. Captions are
scored by colour and brightness.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import families
from genjax.core import Optimizer, Traits
from genjax.core.protocols import TextSpec
from genjax.data import Data, Dataset
from genjax.data.dataset import CaptionCheck
from genjax.train import Run, Train

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
WORDS = ("", *COLOURS)
TABLE = np.array([(0, 0, 0), *COLOURS.values()], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    shape: tuple[int, ...] = (8, 8, 3)
    length: int = 4
    vocabulary: int = 16
    skill: float = 1.0
    """Initial value of the parameter."""


class Painter:
    """Implements `TextToImage`; the loss is (1 - skill)^2."""

    __name__ = "genjax.families.painter"
    Config = Config

    def traits(self, config):
        return Traits(data="images", density="none", sample_range=(-1.0, 1.0))

    def tiny(self):
        return Config()

    def text_spec(self, config):
        return TextSpec(config.length, config.vocabulary)

    def batch_spec(self, config, batch_size):
        return {
            "x": jax.ShapeDtypeStruct((batch_size, *config.shape), jnp.float32),
            "text": jax.ShapeDtypeStruct((batch_size, config.length), jnp.int32),
        }

    def init(self, config, key, batch=None):
        return {"params": {"skill": jnp.asarray(config.skill, jnp.float32)}}

    def loss(self, config, variables, batch, key):
        return jnp.full(len(batch["x"]), (1 - variables["params"]["skill"]) ** 2), {}

    def sampling_options(self, config):
        return {"temperature": 1.0}

    def sample(self, config, variables, key, n=None, *, text, temperature=1.0):
        keys = jax.random.split(key, 3)
        right = jax.random.uniform(keys[0], (n,)) < variables["params"]["skill"]
        colour = jnp.where(right, text[:, 0], text[:, 0] % len(COLOURS) + 1)
        light = jax.random.uniform(keys[1], (n, 1, 1, 1), minval=0.5)
        x = light * jnp.asarray(TABLE)[colour][:, None, None] * jnp.ones((n, *config.shape))
        noise = temperature * 0.1 * jax.random.uniform(keys[2], (n, *config.shape))
        lower = jnp.arange(config.shape[0])[:, None, None] >= config.shape[0] // 2
        return 2 * jnp.where(lower, 0.9 * x + noise, x) - 1


class ScoringPainter(Painter):
    """Implements `CaptionScores` too: minus the squared distance to the colour at full light."""

    __name__ = "genjax.families.scoring_painter"

    def caption_scores(self, config, variables, images, text):
        wanted = jnp.asarray(TABLE)[text[:, 0]][:, None, None]
        return -jnp.mean(((images + 1) / 2 - wanted) ** 2, axis=(1, 2, 3))


class DarkRanker(ScoringPainter):
    """Takes images in [0, 1], and prefers dark ones."""

    __name__ = "genjax.families.dark_ranker"

    def traits(self, config):
        return Traits(data="images", density="none", sample_range=(0.0, 1.0))

    def caption_scores(self, config, variables, images, text):
        return -jnp.mean(images, axis=(1, 2, 3))


DRAWERS = {
    "painter": Painter(),
    "scoring_painter": ScoringPainter(),
    "dark_ranker": DarkRanker(),
}


def register(monkeypatch: Any) -> None:
    """Adds them to the registry of families for a test."""
    for name, family in DRAWERS.items():
        monkeypatch.setitem(sys.modules, f"support.{name}", family)
        monkeypatch.setitem(families.FAMILIES, name, f"support.{name}")


def matches(images, captions, classify=None):
    """Whether the strongest channel of images in 0 .. 255 is the one of the captions."""
    strongest = np.asarray(images).reshape(len(images), -1, 3).mean(1).argmax(-1)
    pairs = zip(strongest, captions, strict=True)
    return np.array([list(COLOURS)[i] == caption.split()[0] for i, caption in pairs])


def painted(n: int = 9, **options: Any) -> Dataset:
    """Images of colours in turn, with captions and tokens."""
    names = np.resize(list(COLOURS), n)
    colours = (255 * TABLE[np.resize([1, 2, 3], n)]).astype(np.uint8)
    x = colours[:, None, None].repeat(8, axis=1).repeat(8, axis=2)
    captions = np.stack([names, np.char.add("all ", names)], axis=1)
    text = np.zeros((n, 2, 4), np.int32)
    text[:, 0, 0] = np.resize([1, 2, 3], n)
    entries = {"x": x, "caption": captions, "text": text}
    splits = {name: dict(entries) for name in ("train", "validation", "test")}
    options = {"caption_check": CaptionCheck(matches, 1 / 3)} | options
    return Dataset("painted", splits, 256, **options)


def drawer_run(name: str, folder: pathlib.Path, **train: Any) -> Run:
    """A run of a registered family on the data in a folder."""
    settings: dict[str, Any] = dict(steps=2, batch_size=4, samples=16)
    return Run(
        experiment=name,
        family=name,
        model=Config(),
        data=Data(
            data=str(folder / "painted.npz"),
            transform="scale(-1, 1)",
            tokenizer="words",
            text_length=4,
        ),
        optimizer=Optimizer(learning_rate=0.1),
        train=Train(**settings | train),
    )
