"""Semi-supervised data: some labels are kept per class, the others become unknown."""

import numpy as np

from genjax.data.data_config import Data
from genjax.data.dataset import Dataset

UNKNOWN_LABEL = -1


def limit_labels(dataset: Dataset, settings: Data) -> Dataset:
    """Keeps `labels_per_class` training labels of each class, and sets the others to -1.

    The choice depends on the labels and `labels_seed` alone, by ranks of raw Philox output. Other
    splits keep all labels, and the checksum stays that of the original data.

    Raises:
      ValueError: train is on disk, has no labels, or too few of a class.
    """
    count = settings.labels_per_class
    if not count:
        return dataset
    if "train" in dataset.streams:
        raise ValueError(
            f"labels_per_class is for a training split in memory, and {dataset.name} is streamed;"
            f" set --stream no."
        )
    train = dataset.splits["train"]
    if "label" not in train:
        raise ValueError(
            f"{dataset.name} has no labels; leave out labels_per_class, or use labelled data."
        )
    label = train["label"]
    # Beyond the streams of `Order`, one per epoch, and of static binarization.
    rank = np.random.Philox(key=[settings.labels_seed or 0, 2**32]).random_raw(len(label))
    kept = np.full_like(label, UNKNOWN_LABEL)
    for value in np.unique(label[label != UNKNOWN_LABEL]):
        rows = np.flatnonzero(label == value)
        if len(rows) < count:
            raise ValueError(
                f"class {value} of {dataset.name} has {len(rows)} training examples, fewer than"
                f" labels_per_class {count}; keep fewer, or set a higher limit."
            )
        kept[rows[np.argsort(rank[rows], kind="stable")[:count]]] = value
    return dataset.replace_arrays({"train": {**train, "label": kept}})
