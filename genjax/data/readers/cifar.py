"""The binary versions of CIFAR-10 and CIFAR-100; the pickled ones are refused unread."""

import pathlib
import re

import numpy as np

from genjax.data.file_io import listing, natural, show, size, slurp, text
from genjax.data.readers.base import Field, Reading, Source
from genjax.data.readers.columns import Labels, Pixels, Rows, look_of

LAYOUT = (
    "data_batch_1.bin to data_batch_5.bin and test_batch.bin (CIFAR-10), or train.bin and test.bin"
    " (CIFAR-100)"
)
_PIXELS = 3 * 32 * 32
_PICKLED = re.compile(r"data_batch(_[0-9]+)?|test_batch|batches\.meta|.*\.(pkl|pickle)")
_BATCH = re.compile(r"data_batch(_[0-9]+)?\.bin")


def pickled(names: list[str]) -> str:
    """The first of these names that is a pickled file of CIFAR, or ""."""
    fine = {"train", "test", "meta"} <= set(names)
    return "meta" if fine else next((name for name in names if _PICKLED.fullmatch(name)), "")


def matches(names: list[str]) -> bool:
    """Whether the files of a folder are called as the binary version's are."""
    return any(
        _BATCH.fullmatch(n) or n in ("test_batch.bin", "train.bin", "test.bin") for n in names
    )


def refuse_pickled(path: pathlib.Path, name: str) -> None:
    """Raise the sentence that a pickled file gets."""
    raise ValueError(
        f"{show(path / name if path.is_dir() else path)} is pickled, and unpickling runs whatever"
        f" is in it; take the binary version of CIFAR, {LAYOUT}."
    )


def read(path: pathlib.Path, reading: Reading) -> Source:
    """Read a folder, or one .bin file as train: `image` and `label`.

    CIFAR-100 has `label` of 100 classes and `coarse_label` of 20.

    Raises:
      ValueError: one sentence; a file is pickled, cut, or has a label out of range.
    """
    ignored: list[str] = []
    if path.is_dir():
        names, folders, rest = listing(path)
        files = _files(names)
        if not files and pickled(names):
            refuse_pickled(path, pickled(names))
        if not files:
            raise ValueError(f"{show(path)} has no binary file of CIFAR; they are {LAYOUT}.")
        fine = "train.bin" in names or "test.bin" in names
        if fine and any(_BATCH.fullmatch(n) or n == "test_batch.bin" for n in names):
            raise ValueError(
                f"{show(path)} holds both CIFAR-10 and CIFAR-100; move one into its own folder."
            )
        paths = {split: [path / name for name in names] for split, names in files.items()}
        used = {name for names in files.values() for name in names}
        used |= (
            {f"{k}_label_names.txt" for k in ("fine", "coarse")} if fine else {"batches.meta.txt"}
        )
        ignored = [n for n in names if n not in used] + rest + [f"{n}/" for n in folders]
    else:
        if pickled([path.name]):
            refuse_pickled(path, path.name)
        paths, fine = {"train": [path]}, _is_fine(path)
    records = {s: np.concatenate([_records(p, fine) for p in ps]) for s, ps in paths.items()}
    where = path if path.is_dir() else path.parent
    kinds = {"coarse_label": 20, "label": 100} if fine else {"label": 10}
    tables = {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"}
    fields = {}
    for name, classes in kinds.items():
        table = where / (tables[name] if fine else "batches.meta.txt")
        fields[name] = Field(kind="label", classes=classes, names=_names(table, classes))
    images = {
        s: r[:, len(kinds) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for s, r in records.items()
    }
    look = look_of(next(iter(images.values())), reading, path)
    splits = {}
    for split, record in records.items():
        columns: dict = {"image": Pixels(images[split], look)}
        for k, name in enumerate(kinds):
            columns[name] = Labels(record[:, k].copy())
        splits[split] = Rows(columns)
    return Source(
        name=str(path),
        format="cifar",
        fields={"image": look.field(), **fields},
        splits=splits,
        ignored=tuple(sorted(ignored)),
    )


def _files(names: list[str]) -> dict[str, list[str]]:
    train = sorted((n for n in names if _BATCH.fullmatch(n) or n == "train.bin"), key=natural)
    test = [n for n in names if n in ("test_batch.bin", "test.bin")]
    return {s: n for s, n in (("train", train), ("test", test)) if n}


def _is_fine(path: pathlib.Path) -> bool:
    """Whether one file has the two labels of CIFAR-100: by its size, by its name if both fit."""
    bytes_ = size(path)
    if bytes_ % (_PIXELS + 1) and bytes_ % (_PIXELS + 2) == 0:
        return True
    return bytes_ % (_PIXELS + 2) == 0 and path.name in ("train.bin", "test.bin")


def _records(path: pathlib.Path, fine: bool) -> np.ndarray:
    """uint8 `[N, 1 or 2 labels + 3072]`."""
    width = _PIXELS + (2 if fine else 1)
    bytes_ = size(path)
    if not bytes_ or bytes_ % width:
        raise ValueError(
            f"{show(path)} has {bytes_} bytes, no multiple of {width}"
            f" (CIFAR-{100 if fine else 10}); fetch it again."
        )
    record = np.frombuffer(slurp(path, bytes_), np.uint8).reshape(-1, width)
    for k, classes in enumerate((20, 100) if fine else (10,)):
        if record[:, k].max() >= classes:
            i = int(record[:, k].argmax())
            raise ValueError(
                f"{show(path)} has label {record[i, k]} in record {i}, above {classes - 1}; it is"
                f" damaged, or no CIFAR-{100 if fine else 10}."
            )
    return record


def _names(path: pathlib.Path, classes: int) -> tuple[str, ...]:
    """Names of the classes, () where there is no such file."""
    if not path.is_file():
        return ()
    names = tuple(line.strip() for line in text(path).splitlines() if line.strip())
    if len(names) != classes:
        raise ValueError(
            f"{show(path)} has {len(names)} names for {classes} classes; fetch it again."
        )
    return names
