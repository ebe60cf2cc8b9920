"""Selection of attributes by name."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.file_io import safe


def select_attributes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Returns a data set with only some attributes, in the order of `names`; () keeps all.

    The checksum stays that of the original data. `render` takes the selected attributes, and keeps
    the others of each row, which are in its entry `all_attributes`.

    Raises:
      ValueError: the data has no attributes, none of such a name, or no names for them.
    """
    if not names:
        return dataset
    known = dataset.names.get("attributes", ())
    if not known:
        has = "attributes" in dataset.entries("train")
        problem = "its attributes have no names" if has else "it has no attributes"
        fix = "add an array attribute_names to the file" if has else "use other data"
        raise ValueError(
            f"`attributes` selects from {safe(dataset.name)}, but {problem}; leave it out, or"
            f" {fix}."
        )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{safe(dataset.name)} has no attribute {safe(unknown[0])}, it has {', '.join(known)};"
            f" correct `attributes`."
        )
    columns = tuple(known.index(name) for name in names)
    splits = {}
    for split, entries in dataset.splits.items():
        if "attributes" in entries:
            splits[split] = {**entries, "attributes": entries["attributes"][:, list(columns)]}
            if dataset.render is not None:
                splits[split]["all_attributes"] = entries["attributes"]
    streams: dict[str, Any] = {
        split: dataclasses.replace(rows, attributes=columns)  # type: ignore[type-var]
        for split, rows in dataset.streams.items()
    }
    render = dataset.render

    def render_selected(rows: Mapping[str, np.ndarray], attributes: np.ndarray) -> np.ndarray:
        assert render is not None
        every = rows["all_attributes"].copy()
        every[:, list(columns)] = attributes
        return render(rows, every)

    return dataset.replace_arrays(
        splits,
        streams=streams,
        names={**dataset.names, "attributes": tuple(names)},
        render=None if render is None else render_selected,
    )
