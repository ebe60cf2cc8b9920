"""Binary versions of CIFAR-10 and CIFAR-100; pickled versions are rejected unread."""

import pathlib
import re

import numpy as np

from genjax.data.file_io import (
    file_size,
    list_folder,
    natural_sort_key,
    read_bytes,
    read_text,
    safe,
)
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageArray, array_image_spec

LAYOUT = (
    "data_batch_1.bin to data_batch_5.bin and test_batch.bin (CIFAR-10), or train.bin and test.bin"
    " (CIFAR-100)"
)
_IMAGE_BYTES = 3 * 32 * 32
_PICKLED = re.compile(r"data_batch(_[0-9]+)?|test_batch|batches\.meta|.*\.(pkl|pickle)")
_BATCH = re.compile(r"data_batch(_[0-9]+)?\.bin")


def pickled_file(names: list[str]) -> str:
    """Returns the first of these names that is a pickled file of CIFAR, or ""."""
    fine = {"train", "test", "meta"} <= set(names)
    return "meta" if fine else next((name for name in names if _PICKLED.fullmatch(name)), "")


def matches(names: list[str]) -> bool:
    """Returns whether file names are those of the binary version."""
    return any(
        _BATCH.fullmatch(n) or n in ("test_batch.bin", "train.bin", "test.bin") for n in names
    )


def raise_pickled(path: pathlib.Path, name: str) -> None:
    """Raises the error for a pickled file."""
    raise ValueError(
        f"{safe(path / name if path.is_dir() else path)} is pickled, and unpickling can run any"
        f" code; use the binary version of CIFAR, {LAYOUT}."
    )


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads a folder, or one .bin file as train: `image` and `label`.

    CIFAR-100 has `label` of 100 classes and `coarse_label` of 20.

    Raises:
      ValueError: a file is pickled or truncated, or has a label out of range.
    """
    if path.is_dir():
        names = list_folder(path)[0]
        files = _split_files(names)
        if not files and pickled_file(names):
            raise_pickled(path, pickled_file(names))
        if not files:
            raise ValueError(f"{safe(path)} has no binary file of CIFAR; use {LAYOUT}.")
        fine = "train.bin" in names or "test.bin" in names
        if fine and any(_BATCH.fullmatch(n) or n == "test_batch.bin" for n in names):
            raise ValueError(
                f"{safe(path)} holds both CIFAR-10 and CIFAR-100; move one into its own folder."
            )
        paths = {split: [path / name for name in names] for split, names in files.items()}
    else:
        if pickled_file([path.name]):
            raise_pickled(path, path.name)
        paths, fine = {"train": [path]}, _is_cifar100(path)
    records = {s: np.concatenate([_read_records(p, fine) for p in ps]) for s, ps in paths.items()}
    where = path if path.is_dir() else path.parent
    kinds = {"coarse_label": 20, "label": 100} if fine else {"label": 10}
    tables = ["coarse_label_names.txt", "fine_label_names.txt"] if fine else ["batches.meta.txt"]
    fields = {}
    for (name, classes), table in zip(kinds.items(), tables, strict=True):
        known = _class_names(where / table, classes)
        fields[name] = Field(kind="label", classes=classes, names=known)
    images = {
        s: r[:, len(kinds) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for s, r in records.items()
    }
    spec = array_image_spec(next(iter(images.values())), reading, path)
    columns: dict[str, dict] = {s: {"image": ImageArray(x, spec)} for s, x in images.items()}
    for split, record in records.items():
        columns[split] |= {name: record[:, k].tolist() for k, name in enumerate(kinds)}
    used = tables + [file.name for files in paths.values() for file in files]
    return Contents({"image": spec.field(), **fields}, columns, used)


def _split_files(names: list[str]) -> dict[str, list[str]]:
    train = sorted(
        (n for n in names if _BATCH.fullmatch(n) or n == "train.bin"), key=natural_sort_key
    )
    test = [n for n in names if n in ("test_batch.bin", "test.bin")]
    return {s: n for s, n in (("train", train), ("test", test)) if n}


def _is_cifar100(path: pathlib.Path) -> bool:
    """Returns whether a file has the two labels of CIFAR-100, by its size, then by its name."""
    bytes_ = file_size(path)
    if bytes_ % (_IMAGE_BYTES + 1) and bytes_ % (_IMAGE_BYTES + 2) == 0:
        return True
    return bytes_ % (_IMAGE_BYTES + 2) == 0 and path.name in ("train.bin", "test.bin")


def _read_records(path: pathlib.Path, fine: bool) -> np.ndarray:
    """Returns records uint8 `[N, 1 or 2 labels + 3072]`."""
    width = _IMAGE_BYTES + (2 if fine else 1)
    bytes_ = file_size(path)
    if not bytes_ or bytes_ % width:
        raise ValueError(
            f"{safe(path)} has {bytes_} bytes, not a multiple of {width}"
            f" (CIFAR-{100 if fine else 10}); download it again."
        )
    record = np.frombuffer(read_bytes(path, bytes_), np.uint8).reshape(-1, width)
    for k, classes in enumerate((20, 100) if fine else (10,)):
        if record[:, k].max() >= classes:
            i = int(record[:, k].argmax())
            raise ValueError(
                f"{safe(path)} has label {record[i, k]} in record {i}, above {classes - 1}; it is"
                f" damaged or not CIFAR-{100 if fine else 10}; download it again."
            )
    return record


def _class_names(path: pathlib.Path, classes: int) -> tuple[str, ...]:
    """Returns the names of the classes, () if there is no such file."""
    if not path.is_file():
        return ()
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len(names) != classes:
        raise ValueError(
            f"{safe(path)} has {len(names)} names for {classes} classes; download it again."
        )
    return names
