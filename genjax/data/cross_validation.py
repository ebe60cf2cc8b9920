"""Real-valued tables in one array: folds, the papers' column filter, standardisation."""

import dataclasses
import pathlib

import numpy as np

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset, row_crcs
from genjax.data.order import Order
from genjax.data.tfds_folder import check_examples


def load_table(settings: Data) -> tuple[dict[str, dict[str, np.ndarray]], int] | None:
    """The splits of one fold of a .npz with a single array `data` `[N, D]`; None for another .npz.

    One permutation, the same for every fold, is cut into `folds` parts. Part `fold` is the test
    split, the last tenth of the rest validation, and what is left train. Columns are chosen by
    `select_columns` from all rows, so that every fold has the same.

    Raises:
      ValueError: the array is no table of numbers, or the settings ask for what is not there.
    """
    path = pathlib.Path(settings.data)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            data = file["data"] if set(file.files) == {"data"} else None
    except Exception:  # missing or damaged: the reader of other .npz files says so
        return None
    if not isinstance(data, np.ndarray):
        return None
    if data.ndim != 2:
        raise ValueError(f"{path}: data must be a table [N, D], got {list(data.shape)}.")
    x = check_examples(path, "data", np.asarray(data, np.float64))
    if not settings.folds:
        raise ValueError(f"{path} is one table without splits; set --folds 10.")
    if settings.folds > len(x) // 2:
        raise ValueError(f"{path} has {len(x)} rows, too few for {settings.folds} folds.")
    x = x[:, select_columns(x, settings.drop_correlated, settings.drop_discrete)]
    parts = np.array_split(Order(len(x), 0).epoch(0), settings.folds)
    fold = settings.fold or 0
    rest = np.concatenate([p for i, p in enumerate(parts) if i != fold])
    cut = len(rest) - max(1, len(rest) // 10)
    rows = {"train": rest[:cut], "validation": rest[cut:], "test": parts[fold]}
    return {split: {"x": x[i]} for split, i in rows.items()}, 0


def select_columns(x: np.ndarray, correlated: float, discrete: int) -> np.ndarray:
    """Numbers of the columns that pass the papers' filter.

    Of a pair whose Pearson correlation is above `correlated` in absolute value the second goes; a
    column with fewer than `discrete` distinct values goes. 0 switches either off.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 4.1, with 0.98.
    """
    kept: list[int] = []
    for j in range(x.shape[1]):
        if discrete and len(np.unique(x[:, j])) < discrete:
            continue
        if correlated:
            with np.errstate(invalid="ignore"):  # a constant column correlates with none
                same = [abs(np.corrcoef(x[:, i], x[:, j])[0, 1]) > correlated for i in kept]
            if any(same):
                continue
        kept.append(j)
    if not kept:
        raise ValueError("no column is left; raise drop_correlated or lower drop_discrete.")
    return np.array(kept)


def standardize(dataset: Dataset, settings: Data, cut: bool) -> Dataset:
    """Each column less its mean, over its standard deviation, both of the training split.

    What was read keeps its checksum. `cut` says that `load_table` made the splits.

    Raises:
      ValueError: settings for tables are set and the data is none.
    """
    asked = settings.folds or settings.drop_correlated or settings.drop_discrete
    if asked and not cut:
        raise ValueError(
            f"folds, drop_correlated and drop_discrete are for tables of real numbers in a .npz"
            f" with one array data, and {dataset.name} is none; leave them out."
        )
    if not settings.standardize:
        return dataset
    if dataset.levels or dataset.streams:
        raise ValueError(
            f"standardize is for real numbers in memory, and {dataset.name} holds"
            f" {'integers' if dataset.levels else 'a stream'}; leave it out."
        )
    crcs = {s: {k: row_crcs(a) for k, a in v.items()} for s, v in dataset.splits.items()}
    train = dataset.splits["train"]["x"].astype(np.float64)
    mean, std = train.mean(axis=0), train.std(axis=0)
    if not std.all():
        raise ValueError(f"{dataset.name} has a constant column, which has no scale; drop it.")
    splits = {
        s: {**v, "x": ((v["x"].astype(np.float64) - mean) / std).astype(np.float32)}
        for s, v in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits, crcs=crcs)
