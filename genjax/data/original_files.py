"""MNIST, Fashion-MNIST, CIFAR and binarized MNIST from the files as they are published.

Neither TensorFlow nor TFDS is needed. Only the binary version of CIFAR is read: the Python version
is pickled, and unpickling can run any code.
"""

import difflib
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from genjax.data import readers
from genjax.data.file_io import list_folder, safe
from genjax.data.readers import ReadOptions, amat, cifar

FORMATS = ("idx", "cifar", "amat")
INSIDE = ("raw", "cifar-10-batches-bin", "cifar-100-binary")
"""Folders that archives and other libraries put the files into."""


class Published(NamedTuple):
    """Where the files of a data set are published, and which belong into its folder."""

    page: str
    files: str
    shape: tuple[int, ...] | None = None  # of one example, where the files do not have it


_IDX = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and" + (
    " t10k-labels-idx1-ubyte, each plain or .gz"
)
PUBLISHED = {
    "mnist": Published("http://yann.lecun.com/exdb/mnist/", _IDX),
    "fashion_mnist": Published("https://github.com/zalandoresearch/fashion-mnist", _IDX),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, of the binary"
        " version cifar-10-binary.tar.gz",
    ),
    "cifar100": Published(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "train.bin, test.bin and fine_label_names.txt, of the binary version"
        " cifar-100-binary.tar.gz",
    ),
    "binarized_mnist": Published(
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        "binarized_mnist_train.amat, binarized_mnist_valid.amat and binarized_mnist_test.amat",
        (28, 28, 1),
    ),
}


def data_root(data_dir: str | None) -> pathlib.Path:
    """Returns the folder of data sets by name: `data_dir`, TFDS_DATA_DIR, or TFDS's default."""
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    return pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser()


def original_folder(source: str, data_dir: str | None) -> pathlib.Path | None:
    """Returns the folder with published files that a source names; None if there is none.

    Args:
      source: a folder, or a name of `PUBLISHED`, which is a folder in `data_dir`.
      data_dir: as in `data_root`.

    Raises:
      ValueError: the folder holds the pickled version of CIFAR.
    """
    path = pathlib.Path(source).expanduser()
    if source in PUBLISHED and not path.exists():
        path = data_root(data_dir) / source
    candidates = [path, *(path / name for name in INSIDE)]
    for folder in filter(os.path.isdir, candidates):
        names, folders, _ = list_folder(folder)
        if "dataset_info.json" in names or {"trainA", "trainB"} & set(folders):
            return None
        if any(map(readers.idx.matches, names)) or cifar.matches(names):
            return folder
        if any(map(amat.matches, names)) and source in PUBLISHED:
            return folder
    for folder in (path, path / "cifar-10-batches-py"):
        pickled = cifar.pickled_file(list_folder(folder)[0]) if os.path.isdir(folder) else ""
        if pickled:
            cifar.raise_pickled(folder, pickled)
    return None


def read_original(
    folder: pathlib.Path, source: str
) -> tuple[dict[str, dict[str, np.ndarray]], int | None, dict[str, tuple[str, ...]]]:
    """Reads published files into memory.

    Args:
      folder: of the files.
      source: as it was given; of `binarized_mnist` it gives the shape of an example.

    Returns:
      the entries of each split, `x` and `label`; the levels; and the names of the classes.

    Raises:
      ValueError: a file is missing or damaged.
    """
    shape = PUBLISHED[source].shape if source in PUBLISHED else None
    found = readers.read(folder, ReadOptions(shape=shape))
    splits: dict[str, dict[str, np.ndarray]] = {}
    for split, examples in found.splits.items():
        images: Any = examples.column("image" if "image" in found.fields else "x")
        splits[split] = {"x": np.ascontiguousarray(getattr(images, "array", images))}
        if "label" in found.fields:
            splits[split]["label"] = np.asarray(examples.column("label"), np.int32)
    if "train" not in splits:
        raise ValueError(f"{safe(folder)} has no training files; add them.")
    names = found.fields["label"].names if "label" in found.fields else ()
    return splits, found.levels, {"label": names} if names else {}


def where_published(source: str, data_dir: str | None) -> str:
    """Returns where the files of a data set are published and where to put them; "" if unknown."""
    if source not in PUBLISHED:
        return ""
    folder, about = data_root(data_dir) / source, PUBLISHED[source]
    return f"put {about.files}, from {about.page}, into {safe(folder)}"


def unknown_name(source: str, root: pathlib.Path) -> str:
    """Returns the error message for what is neither a path nor a name of a data set.

    Args:
      source: as it was given.
      root: folder of data sets by name.
    """
    there = [name for name in (os.listdir(root) if os.path.isdir(root) else ()) if name[0] != "."]
    near = difflib.get_close_matches(source, ["digits", "glyphs", "scenes", *there, *PUBLISHED], 1)
    hint = f" did you mean {safe(near[0])}?" if near else ""
    return (
        f"there is no folder or file '{safe(source)}', and TFDS knows no data set '{safe(source)}',"
        f" nor is there one in {safe(root)};{hint} give a path that exists, a TFDS name, a .npz or"
        f" .csv file, or digits."
    )
