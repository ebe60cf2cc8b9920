"""Images that show two numbers, their captions, and families that draw them with a known skill."""

import dataclasses
import itertools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Traits
from genjax.core.protocols import TextSpec
from genjax.data import Dataset
from genjax.data.dataset import CaptionCheck

WORDS = ("zero", "one", "two", "three")
STEP = 60  # levels between two numbers
HELD_OUT = {(0, 1), (1, 2), (2, 0)}
BINDING = (3, 3)
SHAPE = (2, 2, 1)


@dataclasses.dataclass(frozen=True)
class Config:
    shape: tuple[int, ...] = SHAPE
    vocabulary: int = 6
    sample_range: tuple[float, float] = (0.0, 1.0)


class Words:
    """A tokenizer whose numbers of words are in a given order."""

    def __init__(self, words=(*WORDS, "with")):
        self.numbers = {word: i + 1 for i, word in enumerate(words)}

    @property
    def size(self):
        return len(self.numbers) + 1

    def encode(self, captions, length):
        ids = np.zeros((len(captions), length), np.int32)
        for row, caption in zip(ids, captions, strict=True):
            own = [self.numbers[word] for word in caption.split()]
            row[: len(own)] = own
        return ids


def captions_of(pairs):
    """Two captions of each pair, the second one in reversed order; `[N, 2]`."""
    return np.array([(f"{WORDS[a]} {WORDS[b]}", f"{WORDS[b]} with {WORDS[a]}") for a, b in pairs])


def parse(caption):
    words = caption.split()
    pair = [WORDS.index(word) for word in words if word != "with"]
    return tuple(pair[::-1] if "with" in words else pair)


def matches(images, captions, classify=None):
    """Whether the first row of pixels shows the numbers; by a classifier of pixels, if there is
    one."""
    pixels = np.asarray(images)[:, 0, :, 0]
    if classify is None:
        shown = np.rint(pixels / STEP)
    else:
        shown = classify(np.asarray(images)[:, 0].reshape(-1, 1, 1, 1)).reshape(-1, 2)
    wanted = np.array([parse(caption) for caption in captions.tolist()])
    return (shown == wanted).all(axis=1)


def render(pairs, rng):
    x = rng.integers(0, 256, (len(pairs), *SHAPE))
    x[:, 0, :, 0] = np.array(pairs) * STEP
    return x.astype(np.uint8)


def dataset(n=60, parts=None, **changes: Any) -> Dataset:
    rng = np.random.default_rng(0)
    pairs = list(itertools.product(range(4), repeat=2))
    seen = [p for p in pairs if p not in HELD_OUT and p != BINDING]
    groups = {"train": seen, "validation": seen, "test": seen}
    groups |= {"unseen": sorted(HELD_OUT), "bindings": [BINDING]}
    splits = {}
    for name, own in groups.items():
        chosen = [own[i % len(own)] for i in range(n)]
        splits[name] = {"x": render(chosen, rng), "caption": captions_of(chosen)}
    settings = {
        "caption_check": CaptionCheck(matches, 1 / 16, parts),
        "tokenizer": Words(),
        **changes,
    }
    return Dataset("numbers", splits, 256, **settings)


def shown(text, numbers=None):
    """The numbers that texts `[B, 3]` of `Words(numbers)` ask for, `[B, 2]`."""
    words = Words() if numbers is None else Words(numbers)
    value = np.zeros(words.size, np.int32)
    for word, number in words.numbers.items():
        value[number] = WORDS.index(word) if word != "with" else -1
    value = jnp.asarray(value)[text]
    swapped = value[:, 1] == -1
    pair = jnp.where(swapped[:, None], value[:, ::-2], value[:, :2])
    return pair


def drawer(options=None, **exports):
    """Draws the right numbers with probability `variables`, times the guidance, and others else."""

    def sample(config, variables, key, n, *, text, guidance=1.0):
        coin, other, rest = jax.random.split(key, 3)
        wanted = shown(text)
        wrong = (wanted + jax.random.randint(other, (n, 2), 1, 4)) % 4
        right = jax.random.bernoulli(coin, jnp.clip(variables * guidance, 0, 1), (n, 1))
        pair = jnp.where(right, wanted, wrong)
        noise = jax.random.uniform(rest, (n, 1, 2, 1)) * 255
        low, high = config.sample_range
        levels = jnp.concatenate([pair[:, None, :, None] * STEP, noise], axis=1)
        return levels / 255 * (high - low) + low

    return fake("drawer", sample=sample, sampling_options=lambda config: options or {}, **exports)


def fake(name, **exports):
    return types.SimpleNamespace(
        __name__=f"families.{name}",
        Config=Config,
        traits=lambda config: Traits(
            data="images",
            density=exports.get("density", "none"),
            sample_range=config.sample_range,
        ),
        tiny=Config,
        batch_spec=lambda config, size: {"x": None, "text": None},
        init=lambda config, key, batch=None: {},
        text_spec=lambda config: TextSpec(3, config.vocabulary),
        **exports,
    )


def true_scores(config, variables, images, text):
    """Minus the difference between the numbers that images and texts show."""
    low, high = config.sample_range
    pixels = (images[:, 0, :, 0] - low) / (high - low) * 255
    return -jnp.abs(pixels - STEP * shown(text, getattr(config, "words", None))).sum(axis=1)


SCORER = fake("scorer", caption_scores=true_scores)
