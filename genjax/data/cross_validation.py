"""Tables of numbers in one array: folds, selection of columns, standardization."""

import numpy as np

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset
from genjax.data.order import Order
from genjax.data.tfds_folder import check_examples


def table_splits(data: np.ndarray, settings: Data) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Returns the splits of one fold of a table `[N, D]`, and its levels.

    A table of nothing but 0 and 1 is binary, with two levels; others hold real numbers, 0 levels.

    One permutation, the same for every fold, is cut into `folds` parts. Part `fold` is test, the
    last tenth of the rest validation, and the remainder train. `select_columns` uses all rows, so
    that every fold has the same columns.

    Raises:
      ValueError: the array is not a table of numbers, or the settings do not fit it.
    """
    path = settings.data
    if data.ndim != 2:
        raise ValueError(
            f"{path}: data must be a table [N, D], got {list(data.shape)}; reshape it."
        )
    if data.dtype.kind not in "biuf":
        raise ValueError(f"{path}: data must hold real numbers, got {data.dtype}; cast it.")
    with np.errstate(invalid="ignore"):  # of signaling NaN
        x = np.asarray(data, np.float64)
    x = check_examples(path, "data", x)
    if not settings.folds:
        raise ValueError(f"{path} is one table without splits; set --folds 10.")
    if settings.folds > len(x) // 2:
        raise ValueError(
            f"{path} has {len(x)} rows, too few for {settings.folds} folds; set fewer."
        )
    x = x[:, select_columns(x, settings.drop_correlated, settings.drop_discrete)]
    parts = np.array_split(Order(len(x), 0).epoch(0), settings.folds)
    fold = settings.fold or 0
    rest = np.concatenate([p for i, p in enumerate(parts) if i != fold])
    boundary = len(rest) - max(1, len(rest) // 10)
    rows = {"train": rest[:boundary], "validation": rest[boundary:], "test": parts[fold]}
    binary = bool(np.isin(x, (0, 1)).all())
    if binary:
        x = x.astype(np.uint8)
    return {split: {"x": x[i]} for split, i in rows.items()}, 2 if binary else 0


def select_columns(x: np.ndarray, correlated: float, discrete: int) -> np.ndarray:
    """Returns the indices of the columns to keep.

    Drops the second of two columns whose absolute Pearson correlation is above `correlated`, and
    columns with fewer than `discrete` distinct values. 0 disables either.

    Source: Uria, Murray and Larochelle 2013, "RNADE: The real-valued neural autoregressive
    density-estimator", section 4.1, with 0.98.
    """
    kept: list[int] = []
    for j in range(x.shape[1]):
        if discrete and len(np.unique(x[:, j])) < discrete:
            continue
        if correlated:
            with np.errstate(invalid="ignore"):  # constant columns
                same = [abs(np.corrcoef(x[:, i], x[:, j])[0, 1]) > correlated for i in kept]
            if any(same):
                continue
        kept.append(j)
    if not kept:
        raise ValueError("no column is left; raise drop_correlated or lower drop_discrete.")
    return np.array(kept)


def standardize(dataset: Dataset, settings: Data, is_table: bool) -> Dataset:
    """Standardizes each column by mean and standard deviation of the training split, on request.

    The checksum stays that of the original data. `is_table`: it is from `table_splits`.

    Raises:
      ValueError: the settings are for tables and the data is not a table.
    """
    if not is_table and (settings.folds or settings.drop_correlated or settings.drop_discrete):
        raise ValueError(
            f"folds, drop_correlated and drop_discrete are for a .csv, or a .npz with one table"
            f" data, which {dataset.name} is not; leave them out."
        )
    if not settings.standardize:
        return dataset
    if dataset.levels or dataset.streams:
        raise ValueError(
            f"standardize is for real numbers in memory, and {dataset.name} holds"
            f" {'integers' if dataset.levels else 'a stream'}; leave it out."
        )
    train = dataset.splits["train"]["x"].astype(np.float64)
    mean, std = train.mean(axis=0), train.std(axis=0)
    if not std.all():
        raise ValueError(
            f"{dataset.name} has a constant column, which cannot be scaled; set --drop-discrete 2."
        )
    splits = {
        s: {**v, "x": ((v["x"].astype(np.float64) - mean) / std).astype(np.float32)}
        for s, v in dataset.splits.items()
    }
    return dataset.replace_arrays(splits)
