"""The training loop of the lecture, and the data of its models.

Models and data are those of the tour (`experiments.examples.tour`), with few changes: GANs that are
compared have grey levels, those that grow, or have parts, R1 instead of WGAN-GP, and StarGAN draws
whole images, without a mask.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import genjax
from experiments.examples import tour
from genjax import data, evals, families
from genjax.core import (
    GanObjective,
    Optimizer,
    State,
    fading,
    grow_state,
    init_state,
    make_step,
    named_key,
    reset_optimizer,
    stages_of,
    with_ema,
)
from genjax.evals.classifier import Classifier
from genjax.train import Run, compile_step
from genjax.train.run_config import resolve
from genjax.train.splits import batch_transform, evaluation_data, init_batch

KEY = jax.random.key(0)
GREY = data.Data(data="digits", transform="scale(0, 1)")
R1 = GanObjective(loss="non_saturating", r1=1.0)


def changed(run: Run, **settings: Any) -> Run:
    """Returns the run with other settings of its Config."""
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **settings))


RUNS = tour.RUNS | {
    "gan": dataclasses.replace(tour.RUNS["gan"], data=GREY),
    "infogan": dataclasses.replace(tour.RUNS["infogan"], data=GREY),
    "puzzle_gan": changed(tour.RUNS["puzzle_gan"], start=8, objective=R1),
    "stargan": changed(tour.RUNS["stargan"], output="image"),
    "progressive": changed(
        tour.RUNS["progressive"], fade_images=9_600, stable_images=9_600, objective=R1
    ),
}
"""Settings of the models, by family."""
_FEWER: dict[str, dict[str, Any]] = {
    "pixelcnn": dict(layers=1),
    "dcgan": dict(generator_widths=(8,)),
    "infogan": dict(generator_widths=(8,), discriminator_widths=(8,)),
    "stargan": dict(blocks=1, objective=GanObjective()),
    "progressive": dict(fade_images=64, stable_images=64, objective=GanObjective()),
    "puzzle_gan": dict(objective=GanObjective()),
    "dvae": dict(groups=2),
    "dalle": dict(layers=1),
}
SMOKE_RUNS = {name: changed(run, **_FEWER.get(name, {})) for name, run in RUNS.items()}
"""The same with fewer layers and no gradient penalties, which take less time to compile."""


@functools.cache
def dataset(settings: data.Data) -> data.Dataset:
    """Loads a data set once."""
    return data.load(settings)


def examples(run: Run, split: str) -> np.ndarray:
    """Returns the images of a split as the model takes them, `[N, *shape]`."""
    return evaluation_data(run, dataset(run.data), split)


def labels(run: Run, split: str) -> np.ndarray:
    """Returns the labels of a split, `[N]`."""
    return dataset(run.data).splits[split]["label"]


def optimizer_of(run: Run, steps: int) -> Any:
    """Returns the Optax optimizer of a run of so many steps, or a dict of them by network."""
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps))
    settings = resolve(run, "cpu").optimizer
    if settings is None or isinstance(settings, Optimizer):
        return settings and settings.build()
    return {network: each.build() for network, each in settings.items()}


def batches(run: Run, rows: np.ndarray | None = None) -> Iterator[dict[str, Any]]:
    """Iterates endlessly over batches of the training split, in a new order in every epoch.

    Args:
      run: settings with data and batch size.
      rows: of the split, such as those of a class; None is all.

    Yields:
      Pixels as integer levels `[B, *shape]`, which the compiled step transforms, and conditions.
    """
    loaded, size = dataset(run.data), run.train.batch_size
    # Two domains without pairs have an order each.
    groups = loaded.domains(families.get(run.family).batch_spec(run.model, size))
    used = {
        domain: np.arange(loaded.length("train", names[0])) if rows is None else rows
        for domain, names in groups.items()
    }
    orders = {domain: data.Order(len(used[domain]), 0, domain) for domain in groups}
    for step in itertools.count():
        batch: dict[str, Any] = {}
        for domain, names in groups.items():
            chosen = used[domain][orders[domain].take(step * size, size)]
            batch |= loaded.read("train", chosen, names)
        yield batch


def train(run: Run, steps: int, parts: Mapping[str, Any] | None = None, ema: float = 0.0) -> State:
    """Trains a model and returns its state.

    Args:
      run: family, Config, data, optimizer and batch size.
      steps: number of updates.
      parts: variables of networks inside the model that are trained already, by name.
      ema: decay of an average of the parameters, which `State.eval_variables` has; 0 keeps none.
    """
    family, optimizer = families.get(run.family), optimizer_of(run, steps)
    first = init_batch(run, family, dataset(run.data))
    given = {"buffers": dict(parts)} if parts else None

    @jax.jit
    def begin(key: jax.Array, batch: Any, variables: Any) -> State:
        return init_state(
            family, run.model, optimizer, key, batch=batch, variables=variables, ema=ema > 0
        )

    state = begin(KEY, first, given)
    update = make_step(family, run.model, optimizer)
    update = with_ema(update, ema) if ema else update
    step = compile_step(update, transform=batch_transform(run, dataset(run.data)))
    for batch in itertools.islice(batches(run), steps):
        state, _ = step(state, batch)
    return state


def train_growing(run: Run, steps: int) -> Iterator[tuple[str, State]]:
    """Trains networks that grow; yields the name and the state of every stage, such as "8x8"."""
    family, optimizer = families.get(run.family), optimizer_of(run, steps)
    state = jax.jit(lambda key: init_state(family, run.model, optimizer, key))(KEY)
    source, transform = batches(run), batch_transform(run, dataset(run.data))
    for stage in stages_of(family, run.model, run.train.batch_size, steps):
        if stage.first:  # new layers with random weights; their share alpha begins at 0
            grow = functools.partial(grow_state, family, stage.config, optimizer, reset=stage.reset)
            state = jax.jit(grow)(state)
        update = make_step(family, stage.config, optimizer)
        step = compile_step(fading(update, stage), transform=transform)
        for number in range(stage.first, stage.end):
            if stage.resets(number):
                state = reset_optimizer(optimizer, state)
            state, _ = step(state, next(source))
        yield stage.name, state  # its memory is reused by the next stage


@functools.cache
def _counter(run: Run) -> tuple[Any, Any]:
    family = families.get(run.family)
    begin = jax.jit(lambda: init_state(family, run.model, None, KEY))
    return begin, genjax.jitted_step(run.family, run.model, None)


def count(run: Run, x: np.ndarray | None = None) -> Any:
    """Fits a table by counting images once, by default those of train; returns its variables."""
    begin, step = _counter(run)
    return step(begin(), {"x": examples(run, "train") if x is None else x})[0].variables


_TRAINED: dict[Any, dict[str, Any]] = {}


def trained(run: Run, steps: int) -> dict[str, Any]:
    """Returns the variables of a model trained so many steps; several lessons share them."""
    key = (run.family, run.model, steps)
    if key not in _TRAINED:
        _TRAINED[key] = train(run, steps).variables
    return _TRAINED[key]


@functools.cache
def _evaluator(family: str, config: Any, samples: int) -> Any:
    return evals.make_nll(families.get(family), config, num_samples=samples)


def nats(run: Run, variables: Any, x: Any = None, samples: int = 1) -> np.ndarray:
    """Returns -log p(x), or its bound of so many samples, of images `[N, *shape]`: `[N]` nats.

    The images are by default those of the test split.
    """
    x = examples(run, "test") if x is None else x
    return _evaluator(run.family, run.model, samples)(variables, x, KEY, 4096)


@functools.cache
def _sampler(family: str, config: Any, count: int) -> Any:
    return jax.jit(lambda v, key: families.get(family).sample(config, v, key, count))


def sample(run: Run, variables: Any, count: int = 20) -> np.ndarray:
    """Draws images, `[count, *shape]`."""
    draw = _sampler(run.family, run.model, count)
    return np.asarray(draw(variables, named_key(KEY, 0, "samples")))


def metric(name: str, run: Run, variables: Any, **settings: Any) -> Any:
    """Computes one of `genjax.evals.METRICS` of a model on its own data."""
    family, own = families.get(run.family), dataset(run.data)
    settings = {"transform": run.data.transform, **settings}
    return evals.compute_metric(name, family, run.model, variables, own, KEY, **settings)


@functools.cache
def digit_classifier(steps: int) -> Classifier:
    """Trains a classifier of 8x8 digits in [0, 1], which reads samples and has their features."""
    splits = dataset(GREY).splits
    x, label = splits["train"]["x"] / np.float32(16), splits["train"]["label"]
    return evals.train_classifier(x, label, steps=steps)
