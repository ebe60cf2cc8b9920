"""Runs and weights of a gallery: what can be read and computed of each."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from genjax import checks
from genjax import data as genjax_data
from genjax.core import named_key, sample_images
from genjax.core.protocols import Growing, PuzzleSolver, Sampler, TextToImage, Translator
from genjax.report.run_reader import Shown, find_runs, named, read_run, read_samples
from genjax.train import sample_grids
from genjax.train.load_run import check_trained_on
from genjax.train.sample_drawing import sample_drawer
from genjax.train.solved_puzzles import solve_puzzles, write_puzzles
from genjax.train.trained_model import Pretrained, from_pretrained

SAMPLES = 36  # of weights, which have no grids


@dataclasses.dataclass
class Entry:
    """A run, or weights.

    Attributes:
      shown: what its folder has; of weights, samples are drawn.
      model: with its weights; None if there are none.
      dataset: of its data; None if they are not on this machine.
      source: folder, file or name, as it was given.
      notes: what is left out, and why.
    """

    shown: Shown
    model: Pretrained | None
    dataset: genjax_data.Dataset | None
    source: str
    notes: list[str]


def read_entries(
    sources: Sequence[str], scratch: pathlib.Path, data: Sequence[str] = ()
) -> list[Entry]:
    """Returns the entries of runs, folders of runs, weights files and names.

    Args:
      sources: as given.
      scratch: folder for samples of weights.
      data: further data, for runs whose own have moved and for weights of data in a file.

    Raises:
      ValueError: a source holds no run.
    """
    found: dict[pathlib.Path, tuple[pathlib.Path, str, str]] = {}
    for source in sources:
        root = pathlib.Path(source)
        for path in find_runs(root):
            name = path.stem if path.is_file() else path.absolute().name
            whole = source if path.is_file() or path == root else str(path)
            found.setdefault(path.resolve(), (path, name, whole))
    runs = named([read_run(path, name) for path, name, _ in found.values()])
    given = [source for _, _, source in found.values()]
    return [
        read_entry(run, source, scratch / str(i), data)
        for i, (run, source) in enumerate(zip(runs, given, strict=True))
    ]


def read_entry(run: Shown, source: str, scratch: pathlib.Path, data: Sequence[str]) -> Entry:
    """Loads weights and data of a run, and draws what its folder has not."""
    notes: list[str] = []
    try:
        model = from_pretrained(run.folder)
    except checks.USER_ERRORS as error:
        run.notes.append(f"No weights: figures that need them are left out. {_words(error)}")
        return Entry(run, None, None, source, notes)
    dataset, why = None, ""
    for candidate in (model.run.data.data, *data):
        found = dataclasses.replace(model.run.data, data=candidate, stream="no")
        try:
            loaded = genjax_data.load(found)
            check_trained_on(loaded, run.folder)
        except checks.USER_ERRORS as error:
            why = why or _words(error)
            continue
        dataset = loaded
        break
    if dataset is None:
        notes.append(f"Its data cannot be read. {why}")
    if run.folder.is_file():
        run.notes.clear()  # its samples are drawn below
    if not run.frames:
        draw_samples(run, model, dataset, scratch, notes)
    return Entry(run, model, dataset, source, notes)


def _words(error: Exception) -> str:
    text = checks.error_message(error, "the batch size")
    return text[:1].upper() + text[1:]


def draw_samples(
    run: Shown, model: Pretrained, dataset: Any, folder: pathlib.Path, notes: list[str]
) -> None:
    """Draws the grid of a run without one, and solves puzzles; adds both to `run`."""
    family, settings = model.family, model.run
    settings = dataclasses.replace(
        settings, train=dataclasses.replace(settings.train, samples=SAMPLES, ema=0.0)
    )
    path = folder / f"step_{int(model.record.get('steps') or 0):08d}.png"
    key = named_key(jax.random.key(settings.seed), 0, "samples")
    needs_data = isinstance(family, (Translator, PuzzleSolver, TextToImage))
    if needs_data and dataset is None:
        notes.append("Its samples need its data, and are left out.")
        return
    if not (needs_data or isinstance(family, Sampler)):
        notes.append(f"{settings.family} draws no images.")
        return
    stage: dict[str, Any] = {}
    if isinstance(family, Growing):
        side = family.side(model.variables)
        stage = {"stage": f"{side}x{side}"}
    if dataset is not None:
        drawer = sample_drawer(settings, family, dataset)
        drawer.save(path, np.asarray(drawer.draw(model.variables, key)), **stage)
        drawer.save_real(folder)
    else:
        n = SAMPLES
        if len(model.config.shape) == 3:
            n = sample_grids.fitting(n, model.config.shape)
        draw = functools.partial(sample_images, family, model.config, n=n)
        limits = family.traits(model.config).sample_range
        sample_grids.save_grid(path, np.asarray(jax.jit(draw)(model.variables, key=key)), *limits)
    if isinstance(family, PuzzleSolver):
        write_puzzles(folder, *solve_puzzles(settings, family, dataset, model.variables))
    read_samples(run, folder)
