"""Examples of a split as a family takes them: for evaluation and for initialisation."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from genjax import data as genjax_data
from genjax import families
from genjax.core import captions_per_image, named_key
from genjax.train.run_config import Run


def batch_transform(
    run: Run, dataset: genjax_data.Dataset, *, training: bool = True
) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
    """Returns `function(batch, key) -> batch` that makes what the family of a run takes.

    Args:
      run: settings.
      dataset: its data.
      training: with augmentation, and with texts that are drawn from those of each image.
    """
    return genjax_data.make_transform(
        run.data.transform,
        dataset.levels,
        training=training,
        unpaired=dataset.unpaired,
        captions=captions_per_image(families.get(run.family), run.model),
    )


def evaluation_key(run: Run, split: str) -> jax.Array:
    """Returns the key of the noise in which a split is evaluated, the same at every step and in
    every command, so that a figure can be computed again."""
    return named_key(jax.random.key(run.seed), 0, f"evaluate {split}")


def evaluation_data(run: Run, dataset: genjax_data.Dataset, split: str) -> np.ndarray:
    """Returns the transformed `x` of a split, `[N, *shape]`; dynamic binarisation drawn once."""
    return _evaluation_entries(run, dataset, split, ("x",))["x"]


def evaluation_conditions(
    run: Run, family: Any, dataset: genjax_data.Dataset, split: str
) -> dict[str, np.ndarray]:
    """Returns the other entries of a split that the family uses, transformed, such as its label."""
    names = set(family.batch_spec(run.model, 1)) - {"x"}
    return _evaluation_entries(run, dataset, split, tuple(sorted(names)))


def _evaluation_entries(
    run: Run, dataset: genjax_data.Dataset, split: str, names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    transform = batch_transform(run, dataset, training=False)
    key = named_key(jax.random.key(run.data.binarize_seed), 0, f"binarize {split}")
    found: dict[str, Any] = transform({name: dataset.splits[split][name] for name in names}, key)
    return {name: np.asarray(value) for name, value in found.items()}


def init_batch(run: Run, family: Any, dataset: genjax_data.Dataset) -> dict[str, Any] | None:
    """Returns the transformed training examples that a family's `init` needs, or None.

    They are the first in the run's order: a random sample, the same on every process.
    """
    count = family.traits(run.model).init_examples
    if not count:
        return None
    found: dict[str, Any] = {}
    for domain, names in dataset.domains(family.batch_spec(run.model, 1)).items():
        n = dataset.length("train", names[0])
        rows = genjax_data.Order(n, run.seed, domain).take(0, min(count, n))
        found |= dataset.read("train", rows, names)
    transform = batch_transform(run, dataset)
    key = named_key(jax.random.key(run.seed), 0, "init examples")
    return jax.tree.map(np.asarray, transform(found, key))
