"""Folders of images: flat or with one folder per class, perhaps in one folder per split."""

import pathlib
from collections.abc import Mapping

from genjax.data.dataset import SPLITS
from genjax.data.file_io import SPLIT_FOLDERS, list_folder, safe
from genjax.data.image_decoding import SUFFIXES, has_image_suffix
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageFiles, inspect_images

LAYOUT = (
    "images in the folder itself or in one folder per class, or either of these in folders train,"
    " validation (or valid, val) and test"
)


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads a folder of images: `image`, and `label` if there are class folders.

    Raises:
      ValueError: there are no images, layouts are mixed, or splits have different classes.
    """
    folders = split_folders(path)
    by_class = {split: _classes(path, folder) for split, folder in folders.items()}
    loose = images_in(path, "")[0]
    if loose and list(folders.values()) != [""]:
        raise ValueError(
            f"{safe(path)} holds images ({safe(loose[0], 60)}) beside its split folders; move"
            f" them into one."
        )
    classes = _common_classes(path, by_class)
    order = {split: sorted(n for c in v.values() for n in c) for split, v in by_class.items()}
    spec = inspect_images(path, (name for names in order.values() for name in names), reading)
    fields = {"image": spec.field()}
    if classes:
        fields["label"] = Field(kind="label", names=classes, classes=len(classes))
    columns: dict[str, dict] = {
        s: {"image": ImageFiles(path, tuple(names), spec)} for s, names in order.items()
    }
    for split, members in by_class.items() if classes else ():
        of = {name: label for label, c in enumerate(classes) for name in members[c]}
        columns[split]["label"] = [of[name] for name in order[split]]
    return Contents(fields, columns, [name for names in order.values() for name in names])


def split_folders(path: pathlib.Path) -> dict[str, str]:
    """Returns the folder of each split; `{"train": ""}` if there are no split folders.

    Raises:
      ValueError: two folders are the same split.
    """
    by_split: dict[str, str] = {}
    for name in list_folder(path)[1]:
        split = SPLIT_FOLDERS.get(name.lower())
        if split in by_split:
            raise ValueError(
                f"{safe(path)} has folders {by_split[split]} and {name} for one split; keep one."
            )
        if split:
            by_split[split] = name
    return {s: by_split[s] for s in SPLITS if s in by_split} or {"train": ""}


def images_in(root: pathlib.Path, folder: str) -> tuple[list[str], list[str]]:
    """Returns the images in `root/folder` and its folders, relative to the root."""
    files, folders, _ = list_folder(root / folder)
    start = f"{folder}/" if folder else ""
    images = [start + name for name in files if has_image_suffix(name)]
    return images, [start + name for name in folders]


def _classes(root: pathlib.Path, folder: str) -> dict[str, list[str]]:
    """Returns the images of a split by class ("" without classes)."""
    images, folders = images_in(root, folder)
    by_folder = {sub.rpartition("/")[2]: images_in(root, sub)[0] for sub in folders}
    classes = {name: members for name, members in by_folder.items() if members}
    where = safe(root / folder)
    if images and classes:
        raise ValueError(
            f"{where} holds both images ({safe(images[0].rpartition('/')[2], 60)}) and folders of"
            f" images ({safe(next(iter(classes)), 60)}); use {LAYOUT}."
        )
    if not images and not classes:
        raise ValueError(f"{where} holds no images ({', '.join(SUFFIXES)}); use {LAYOUT}.")
    return classes or {"": images}


def _common_classes(
    root: pathlib.Path, by_class: Mapping[str, Mapping[str, object]]
) -> tuple[str, ...]:
    """Returns the sorted class names, the same in every split; () without classes."""
    sets = {split: frozenset(classes) for split, classes in by_class.items()}
    one, names = next(iter(sets.items()))
    for split, other in sets.items():
        if other != names:
            odd = sorted(other ^ names)[0]
            has, lacks = (split, one) if odd in other else (one, split)
            what = f"class folder {safe(odd, 60)}" if odd else "images without a class folder"
            raise ValueError(
                f"{safe(root)}: split {has} has {what} and split {lacks} has not; use the same"
                f" classes in every split."
            )
    return () if names == {""} else tuple(sorted(names))
