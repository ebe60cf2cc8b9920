"""Images of a panel, made from weights: samples, completions, translations, puzzles, captions."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data as genjax_data
from genjax import evals
from genjax.core import named_key, sample_images
from genjax.evals.caption_reading import caption_splits, distinct_captions
from genjax.evals.caption_texts import encoded
from genjax.train.load_run import check_trained_on
from genjax.train.puzzle_sheets import puzzle_sheet
from genjax.train.sheets import Sheet
from genjax.train.splits import evaluation_conditions, evaluation_data
from genjax.train.trained_model import Pretrained
from genjax.train.translation_sheets import translation_sheet

KNOWN, DRAWN = (255, 255, 255), (255, 176, 64)
"""Colours of a white pixel that was given, and of one that the model drew."""
BORDER = (96, 144, 255)
"""Colour of the lines between shuffled pieces."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """Images in rows.

    Attributes:
      images: uint8 `[N, H, W, 3]`, row by row.
      columns: images per row.
      titles: of the columns, if each one shows something else.
      sets: examples in each row, each of which has the same number of columns.
      captions: of the images, if they have any.
    """

    images: np.ndarray
    columns: int
    titles: tuple[str, ...] = ()
    sets: int = 1
    captions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights by name, and their data, which are loaded when they are used."""

    name: str
    model: Pretrained

    @functools.cached_property
    def dataset(self) -> genjax_data.Dataset:
        """The data of training.

        Raises:
          ValueError: they are not on this machine, or are others.
        """
        dataset = genjax_data.load(dataclasses.replace(self.model.run.data, stream="no"))
        check_trained_on(dataset, self.name)
        return dataset

    @property
    def key(self) -> jax.Array:
        """Key of the noise."""
        return named_key(jax.random.key(0), 0, "strip")

    def levels(self, images: Any) -> np.ndarray:
        """Returns images `[N, H, W, C]` in the range of the family as uint8 `[N, H, W, 3]`."""
        low, high = self.model.family.traits(self.model.config).sample_range
        x = np.clip((np.asarray(images, np.float32) - low) / (high - low), 0, 1)
        x = np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x
        return (x * 255 + 0.5).astype(np.uint8)


def sampled(source: Source, columns: int, rows: int) -> Picture:
    """Returns samples."""
    model = source.model
    draw = functools.partial(sample_images, model.family, model.config, n=columns * rows)
    return Picture(source.levels(jax.jit(draw)(model.variables, key=source.key)), columns)


def completed(source: Source, columns: int, rows: int) -> Picture:
    """Returns test images of which the upper half is given, completions, and the whole images."""
    model, draws = source.model, columns - 2
    family, config = model.family, model.config
    x = _spaced(evaluation_data(model.run, source.dataset, "test"), rows)
    arrays = evaluation_conditions(model.run, family, source.dataset, "test")
    conditions = {name: np.repeat(_spaced(a, rows), draws, 0) for name, a in arrays.items()}
    known = np.zeros(config.shape, bool)
    known[: config.shape[0] // 2] = True

    @jax.jit
    def draw(variables: Any, x: jax.Array, conditions: Any) -> jax.Array:
        return evals.complete(family, config, variables, source.key, x, known, **conditions)

    drawn = draw(model.variables, jnp.asarray(np.repeat(x, draws, 0)), conditions)
    whole = source.levels(x)
    grey = source.levels(drawn)
    # Pixels that were drawn have another colour than those that were given.
    colour = np.where(known, np.asarray(KNOWN), np.asarray(DRAWN)) / 255
    tinted = (grey * colour + 0.5).astype(np.uint8).reshape(rows, draws, *whole.shape[1:])
    given = np.where(known, whole, np.uint8(96))
    images = np.concatenate([given[:, None], tinted, whole[:, None]], axis=1)
    titles = ["given", *[""] * draws, "truth"]
    titles[1 + (draws - 1) // 2] = "drawn"
    return Picture(images.reshape(-1, *whole.shape[1:]), columns, tuple(titles))


def between(source: Source, columns: int, rows: int) -> Picture:
    """Returns reconstructions of two test images at the ends of each row, and images of the latents
    between theirs."""
    model = source.model
    x = _spaced(evaluation_data(model.run, source.dataset, "test"), 2 * rows)

    @jax.jit
    def means(variables: Any, x: jax.Array) -> jax.Array:
        return model.family.posterior(model.config, variables, x).mean()

    @jax.jit
    def decoded(variables: Any, z: jax.Array) -> jax.Array:
        return model.family.likelihood(model.config, variables, z).mean()

    ends = np.asarray(means(model.variables, jnp.asarray(x)))
    path = evals.interpolation(ends[:rows], ends[rows:], columns, spherical=False)
    return Picture(source.levels(decoded(model.variables, jnp.asarray(path, jnp.float32))), columns)


def translated(source: Source, columns: int, rows: int) -> Picture:
    """Returns images of one domain, their translations, and the true images."""
    titles = ("given", "drawn", "truth")
    return _columns_of(source, translation_sheet, (0, 1, 2), titles, rows, columns // 3)


def attributes(source: Source, columns: int, rows: int) -> Picture:
    """Returns images and their translations by a change of each attribute, without the truths."""
    model = source.model
    names = model.family.attribute_names(model.config)
    step = 2 if source.dataset.render is not None else 1
    which = (0, *(1 + step * i for i in range(len(names))))
    return _columns_of(source, translation_sheet, which, ("given", *names), rows, 1)


def solved(source: Source, columns: int, rows: int) -> Picture:
    """Returns shuffled pieces beside the solution, in which wrong pieces are framed."""
    picture = _columns_of(source, puzzle_sheet, (0, 1), ("pieces", "solved"), rows, columns // 2)
    images = picture.images.copy()
    pieces = images[::2]
    grid = source.model.family.grid(source.model.config)
    for axis, n in zip((1, 2), grid, strict=True):
        for edge in (pieces.shape[axis] * i // n for i in range(1, n)):
            pieces.swapaxes(0, axis)[edge - 1 : edge + 1] = BORDER
    return dataclasses.replace(picture, images=images)


def drawn(source: Source, columns: int, rows: int) -> Picture:
    """Returns an image of each of some captions, held out from training where the data have such.

    Every caption is drawn once; wrong images stay.
    """
    model = source.model
    splits = caption_splits(source.dataset)
    split = "unseen" if "unseen" in splits else splits[0]
    captions = distinct_captions(source.dataset, split, columns * rows)
    text = jnp.asarray(encoded(model.family, model.config, model.tokenizer, captions))

    @jax.jit
    def draw(variables: Any, text: jax.Array) -> jax.Array:
        return model.family.sample(model.config, variables, source.key, len(text), text=text)

    images = source.levels(draw(model.variables, text))
    return Picture(images, columns, captions=tuple(captions.tolist()))


def _spaced(values: np.ndarray, n: int) -> np.ndarray:
    """Returns n evenly spaced rows, `[n, ...]`."""
    return np.asarray(values)[np.linspace(0, len(values) - 1, n).round().astype(int)]


def _columns_of(
    source: Source, make: Any, which: tuple[int, ...], titles: tuple[str, ...], rows: int, sets: int
) -> Picture:
    """Returns some columns of a sheet, `sets` examples in each row."""
    model, count = source.model, rows * sets
    width = len(_sheet(make, source, 1).titles)
    sheet = _sheet(make, source, count * width)
    images = source.levels(jax.jit(sheet.draw)(model.variables, sheet.batch))
    images = images.reshape(-1, width, *images.shape[1:])[:count, list(which)]
    if len(images) < count:
        raise ValueError(f"the data of {source.name} have {len(images)} examples, not {count}.")
    return Picture(images.reshape(-1, *images.shape[2:]), len(which) * sets, titles * sets, sets)


def _sheet(make: Any, source: Source, images: int) -> Sheet:
    """Returns the sheet of a run with so many images."""
    run = source.model.run
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, samples=images))
    return make(run, source.model.family, source.dataset)
