"""Sheets of a translator's run: fixed images of a split beside their translations, row by row."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data as genjax_data
from genjax.train.run_config import Run
from genjax.train.sheets import (
    Sheet,
    row_by_row,
    sheet_images,
    sheet_rows,
    sheet_split,
    transformed,
)


def translation_sheet(run: Run, family: Any, dataset: genjax_data.Dataset) -> Sheet:
    """Returns the sheet of a run, of at most `train.samples` images but at least one row.

    The examples are evenly spaced over the validation split, else test, else train. Columns are the
    input and its translation; for two domains also the image of the other domain (the truth, where
    the split is paired), its translation, and both cycles. For attributes there is one column per
    changed attribute (flipped; of an exclusive one: set), and the truth beside it where it can be
    rendered.

    Args:
      run: settings.
      family: module that implements `Translator`.
      dataset: the run's data.
    """
    split = sheet_split(dataset)
    make = _domain_sheet if family.targets(run.model) else _attribute_sheet
    return make(run, family, dataset, split)


def single_changes(family: Any, config: Any, attributes: np.ndarray) -> np.ndarray:
    """Returns attributes `[N, A]` with each one changed, `[N, A, A]`: set if exclusive, or flipped.

    Entry `[n, i]` has a change of attribute i.
    """
    exclusive = {int(column) for group in family.exclusive_groups(config) for column in group}
    changed = []
    for i, name in enumerate(family.attribute_names(config)):
        new = family.target_attributes(config, attributes, {name: 1})
        if i not in exclusive:
            new[:, i] = 1 - attributes[:, i]
        changed.append(new)
    return np.stack(changed, axis=1)


def _domain_sheet(run: Run, family: Any, dataset: genjax_data.Dataset, split: str) -> Sheet:
    two_way = "a" in family.targets(run.model)
    has_y = "y" in dataset.entries(split)
    b = "b, true" if split in dataset.paired else "b"

    def columns(translate: Callable[..., Any], x: Any, y: Any = None) -> dict[str, Any]:
        shown = {"a": x, "a to b": translate(x, to="b")}
        if y is not None:
            shown[b] = y
        if two_way and y is not None:
            shown["b to a"] = translate(y, to="a")
        if two_way:
            shown["a to b to a"] = translate(shown["a to b"], to="a")
        if two_way and y is not None:
            shown["b to a to b"] = translate(shown["b to a"], to="b")
        return shown

    entries = ("x", "y") if has_y else ("x",)
    titles = tuple(columns(lambda images, to: images, *entries))
    batch = sheet_images(run, dataset, split, sheet_rows(run, dataset, split, entries, len(titles)))

    def draw(variables: Any, batch: Any) -> jax.Array:
        translate = functools.partial(family.translate, run.model, variables)
        return row_by_row(list(columns(translate, *(batch[name] for name in entries)).values()))

    return Sheet(titles, batch, draw)


def _attribute_sheet(run: Run, family: Any, dataset: genjax_data.Dataset, split: str) -> Sheet:
    names, render = family.attribute_names(run.model), dataset.render
    titles = ("input", *names)
    if render is not None:
        titles = ("input", *(title for name in names for title in (name, f"{name}, true")))
    rows = sheet_rows(run, dataset, split, ("x",), len(titles))["x"]
    found = dataset.read(split, rows)
    changed = single_changes(family, run.model, found["attributes"])  # [N, A, A]
    batch = {**sheet_images(run, dataset, split, {"x": rows}), "attributes": changed}
    if render is not None:
        each = np.concatenate([render(found, changed[:, i]) for i in range(len(names))])
        batch["true"] = transformed(run, dataset, split, {"x": each})["x"]  # [A * N, *shape]

    def draw(variables: Any, batch: Any) -> jax.Array:
        x, attributes = batch["x"], batch["attributes"].swapaxes(0, 1)  # [A, N, A]
        repeated = jnp.concatenate([x] * len(names))
        attributes = attributes.reshape(-1, len(names))
        translated = family.translate(run.model, variables, repeated, attributes=attributes)
        columns = [translated, batch["true"]] if "true" in batch else [translated]
        split_up = [column.reshape(len(names), *x.shape) for column in columns]
        return row_by_row([x, *(c[i] for i in range(len(names)) for c in split_up)])

    return Sheet(titles, batch, draw)
