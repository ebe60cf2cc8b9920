"""Examples of a split as a family takes them: for evaluation and for initialisation."""

from typing import Any

import jax
import numpy as np

from genjax import data as data_room
from genjax.core import named_key
from genjax.train.run_config import Run


def evaluation_data(run: Run, dataset: data_room.Dataset, split: str) -> np.ndarray:
    """A split as a family takes it, `[N, *shape]`; dynamic binarisation drawn once."""
    transform = data_room.make_transform(run.data.transform, dataset.levels)
    key = named_key(jax.random.key(run.data.binarize_seed), 0, f"binarize {split}")
    return np.asarray(transform({"x": dataset.splits[split]["x"]}, key)["x"])


def evaluation_conditions(
    run: Run, family: Any, dataset: data_room.Dataset, split: str
) -> dict[str, np.ndarray]:
    """What a family is given with each example of a split beside `x`, such as its label."""
    names = set(family.batch_spec(run.model, 1)) - {"x"}
    return {name: dataset.splits[split][name] for name in sorted(names)}


def init_batch(run: Run, family: Any, dataset: data_room.Dataset) -> dict[str, Any] | None:
    """Training examples that a family's `init` wants to see, as a step takes them; else None.

    The first of the run's own order: a fair draw, and the same on every process.
    """
    wanted = family.traits(run.model).init_examples
    if not wanted:
        return None
    names, n = tuple(family.batch_spec(run.model, 1)), dataset.counts()["train"]
    rows = data_room.Order(n, run.seed).take(0, min(wanted, n))
    if "train" in dataset.streams:
        found = dataset.streams["train"].read(rows, names)
    else:
        found = {name: dataset.splits["train"][name][rows] for name in names}
    transform = data_room.make_transform(run.data.transform, dataset.levels)
    key = named_key(jax.random.key(run.seed), 0, "init examples")
    return jax.tree.map(np.asarray, transform(found, key))
