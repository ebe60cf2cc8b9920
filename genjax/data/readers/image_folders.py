"""Folders of pictures: flat, with one folder a class, or either in one folder a split."""

import pathlib
from collections.abc import Mapping

import numpy as np

from genjax.data.file_io import SPLIT_FOLDERS, list_folder, safe
from genjax.data.image_decoding import SUFFIXES, has_image_suffix
from genjax.data.readers.base import Field, ReadOptions, Source
from genjax.data.readers.columns import Columns, ImageFiles, LabelColumn, inspect_images

LAYOUT = (
    "pictures in the folder itself, in one folder a class, or either of both in folders train,"
    " validation (or valid, val) and test"
)


def read(path: pathlib.Path, reading: ReadOptions) -> Source:
    """Read a folder of pictures: `image`, and `label` where folders are classes.

    Raises:
      ValueError: one sentence; no picture, layouts mixed, classes that differ between splits.
    """
    folders = split_folders(path)
    found: dict[str, dict[str, list[str]]] = {}
    ignored: list[str] = []
    for split, folder in folders.items():
        found[split], rest = _classes(path, folder)
        ignored += rest
    if list(folders.values()) != [""]:
        files, others, rest = list_folder(path)
        loose = [name for name in files if has_image_suffix(name)]
        if loose:
            raise ValueError(
                f"{safe(path)} holds pictures ({safe(loose[0], 60)}) beside its split folders;"
                f" move them into one."
            )
        ignored += files + rest + [f"{o}/" for o in others if o not in folders.values()]
    classes = _common_classes(path, found)
    order = {split: sorted(n for c in v.values() for n in c) for split, v in found.items()}
    spec = inspect_images(path, (name for names in order.values() for name in names), reading)
    fields = {"image": spec.field()}
    if classes:
        fields["label"] = Field(kind="label", names=classes, classes=len(classes))
    splits = {}
    for split, names in order.items():
        columns: dict = {"image": ImageFiles(path, tuple(names), spec)}
        if classes:
            of = {name: classes.index(c) for c, members in found[split].items() for name in members}
            columns["label"] = LabelColumn(np.array([of[name] for name in names], np.int32))
        splits[split] = Columns(columns)
    return Source(
        name=str(path),
        format="images",
        fields=fields,
        splits=splits,
        ignored=tuple(sorted(ignored)),
    )


def split_folders(path: pathlib.Path) -> dict[str, str]:
    """The folders of a root that are splits, by split; `{"train": ""}` where there is none.

    Raises:
      ValueError: two folders mean one split.
    """
    found: dict[str, str] = {}
    for name in list_folder(path)[1]:
        split = SPLIT_FOLDERS.get(name.lower())
        if split in found:
            raise ValueError(
                f"{safe(path)} has folders {found[split]} and {name} for one split; keep one."
            )
        if split:
            found[split] = name
    return {s: found[s] for s in ("train", "validation", "test") if s in found} or {"train": ""}


def images_in(root: pathlib.Path, folder: str) -> tuple[list[str], list[str], list[str]]:
    """Pictures right in `root/folder`, its folders, and the rest, as paths from the root."""
    files, folders, rest = list_folder(root / folder)
    start = f"{folder}/" if folder else ""
    images = [start + name for name in files if has_image_suffix(name)]
    rest = [start + name for name in files if not has_image_suffix(name)] + [
        start + n for n in rest
    ]
    return images, [start + name for name in folders], rest


def _classes(root: pathlib.Path, folder: str) -> tuple[dict[str, list[str]], list[str]]:
    """Pictures of one split by class, "" where there is none; and what is no part of it."""
    images, folders, ignored = images_in(root, folder)
    classes: dict[str, list[str]] = {}
    for sub in folders:
        members, deeper, rest = images_in(root, sub)
        if members:
            classes[sub.rpartition("/")[2]] = members
            ignored += [*rest, *(f"{d}/" for d in deeper)]
        else:
            ignored.append(f"{sub}/")
    where = safe(root / folder)
    if images and classes:
        raise ValueError(
            f"{where} holds both pictures ({safe(images[0].rpartition('/')[2], 60)}) and folders of"
            f" pictures ({safe(next(iter(classes)), 60)}); a data set is {LAYOUT}."
        )
    if not images and not classes:
        raise ValueError(
            f"{where} holds no picture ({', '.join(SUFFIXES)}); a data set is {LAYOUT}."
        )
    return classes or {"": images}, ignored


def _common_classes(
    root: pathlib.Path, found: Mapping[str, Mapping[str, object]]
) -> tuple[str, ...]:
    """Names of the classes, sorted, the same in every split; () where there is none."""
    sets = {split: frozenset(classes) for split, classes in found.items()}
    one, names = next(iter(sets.items()))
    for split, other in sets.items():
        if other != names:
            odd = sorted(other ^ names)[0]
            has, lacks = (split, one) if odd in other else (one, split)
            what = f"class folder {safe(odd, 60)}" if odd else "pictures without a class folder"
            raise ValueError(
                f"{safe(root)}: split {has} has {what} and split {lacks} has not; classes must be"
                f" the same in every split."
            )
    return () if names == {""} else tuple(sorted(names))
