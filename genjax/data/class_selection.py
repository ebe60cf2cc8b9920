"""Selection of classes by name or number, in memory and on disk."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genjax.data.data_config import Data
from genjax.data.dataset import row_crcs
from genjax.data.file_io import safe
from genjax.data.tfds_folder import PreparedSplit, renumbered

Crcs = Mapping[str, Mapping[str, np.ndarray]]


def select_classes(
    splits: Mapping[str, Any], names: tuple[str, ...], settings: Data
) -> tuple[dict[str, Any], tuple[str, ...], Callable[[], Crcs]]:
    """Keeps the examples of `settings.classes`, whose labels become 0, 1, ... in that order.

    A class is given by its name, or by its number where none has such a name. Examples without a
    label are left out. Of rows on disk, the labels alone are read.

    Args:
      splits: arrays or rows on disk by split.
      names: of the classes; () if they have none.
      settings: of the data.

    Returns:
      The splits; the names of the classes kept, or their former numbers; and a function of the
      `Dataset.crcs` of all examples, for the checksum.

    Raises:
      ValueError: a split has no labels, there is no such class, or no example of one is left.
    """
    where, labels = safe(settings.data), {}
    for split, part in splits.items():
        on_disk = isinstance(part, PreparedSplit)
        if "label" not in (part.entries() if on_disk else part):
            raise ValueError(
                f"`classes` selects from {where}, whose split {split} has no labels; leave it out,"
                f" or use labelled data."
            )
        labels[split] = part.labels() if on_disk else part["label"]
    numbers = _numbers(settings, names, labels["train"])
    kept = {split: np.flatnonzero(np.isin(label, numbers)) for split, label in labels.items()}
    for split in (split for split, rows in kept.items() if not len(rows)):
        raise ValueError(
            f"{split} of {where} has no example of the `classes` {', '.join(settings.classes)};"
            f" select others."
        )
    out: dict[str, Any] = {}
    for split, part in splits.items():
        if isinstance(part, PreparedSplit):
            rows = tuple(kept[split].tolist())
            changes: dict[str, Any] = {"rows": rows, "start": 0, "stop": len(rows)}
            out[split] = dataclasses.replace(part, classes=tuple(numbers), **changes)
        else:
            out[split] = {k: v[kept[split]] for k, v in part.items()}
            out[split]["label"] = renumbered(out[split]["label"], numbers)

    def crcs() -> Crcs:
        return {
            split: part.crcs()
            if isinstance(part, PreparedSplit)
            else {k: row_crcs(v) for k, v in part.items()}
            for split, part in splits.items()
        }

    return out, tuple(names[i] if names else str(i) for i in numbers), crcs


def _numbers(settings: Data, names: tuple[str, ...], train: np.ndarray) -> list[int]:
    """Returns the numbers of the classes in the data."""
    have = set(np.unique(train[train >= 0]).tolist())
    known = {str(i): i for i in have} | {name: i for i, name in enumerate(names) if i in have}
    numbers = []
    for name in settings.classes:
        if name not in known:
            shown = [n for n in names if n in known] or sorted(known, key=int)
            nameless = "" if names else "; its classes have no names"
            raise ValueError(
                f"train of {safe(settings.data)} has no class {safe(name)}, it has"
                f" {safe(', '.join(shown), 300)}{nameless}; correct `classes`."
            )
        numbers.append(known[name])
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            f"`classes` {', '.join(settings.classes)} has a class twice; give each of them once."
        )
    return numbers
