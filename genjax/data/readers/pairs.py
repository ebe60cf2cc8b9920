"""Two domains of images in folders trainA and trainB: unpaired, or paired by name."""

import pathlib

from genjax.data.file_io import SPLIT_FOLDERS, list_folder, safe
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageFiles, inspect_images
from genjax.data.readers.image_folders import images_in

LAYOUT = "folders trainA and trainB, optionally with testA, testB, validationA and validationB"


def _split_folders(path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Returns the folders A and B of each split."""
    names = list_folder(path)[1]
    by_split: dict[str, tuple[str, str]] = {}
    for prefix, split in SPLIT_FOLDERS.items():
        sides = [side for side in "AB" if prefix + side in names]
        if len(sides) == 1:
            lost = "AB".replace(sides[0], "")
            raise ValueError(
                f"{safe(path)} has folder {prefix}{sides[0]} and no {prefix}{lost}; use {LAYOUT}."
            )
        if sides and split in by_split:
            raise ValueError(
                f"{safe(path)} has folders {by_split[split][0]} and {prefix}A for one split; keep"
                f" one."
            )
        if sides:
            by_split[split] = (f"{prefix}A", f"{prefix}B")
    if not by_split:
        raise ValueError(f"{safe(path)} has neither trainA nor trainB; use {LAYOUT}.")
    return by_split


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads two domains of images.

    Unpaired splits are trainA, trainB and so on, with `image` and `label`, 0 for A and 1 for B.
    Paired splits are train and so on, with `image_a` and `image_b`, whose names are equal up to
    the suffix.

    Raises:
      ValueError: a side is missing or empty, or an image has no partner.
    """
    sides = _split_folders(path)
    images = {name: images_in(path, name)[0] for pair in sides.values() for name in pair}
    for folder, names in images.items():
        if not names:
            raise ValueError(f"{safe(path / folder)} holds no images; use {LAYOUT}.")
    read_domains = _read_paired if reading.paired else _read_unpaired
    fields, columns = read_domains(path, reading, sides, images)
    return Contents(fields, columns, [name for names in images.values() for name in names])


def _read_unpaired(
    path: pathlib.Path,
    reading: ReadOptions,
    sides: dict[str, tuple[str, str]],
    images: dict[str, list[str]],
) -> tuple[dict[str, Field], dict[str, dict]]:
    spec = inspect_images(path, (name for names in images.values() for name in names), reading)
    fields = {"image": spec.field(), "label": Field(kind="label", names=("A", "B"), classes=2)}
    columns = {}
    for split, pair in sides.items():
        for label, folder in enumerate(pair):
            files = ImageFiles(path, tuple(images[folder]), spec)
            columns[split + "AB"[label]] = {"image": files, "label": [label] * len(files)}
    return fields, columns


def _read_paired(
    path: pathlib.Path,
    reading: ReadOptions,
    sides: dict[str, tuple[str, str]],
    images: dict[str, list[str]],
) -> tuple[dict[str, Field], dict[str, dict]]:
    ordered: dict[str, tuple[list[str], list[str]]] = {}
    for split, (a, b) in sides.items():
        left, right = _by_stem(path, images[a]), _by_stem(path, images[b])
        odd = sorted(set(left) ^ set(right))
        if odd:
            has, lacks = (a, b) if odd[0] in left else (b, a)
            name = (left.get(odd[0]) or right[odd[0]]).rpartition("/")[2]
            raise ValueError(
                f"{safe(path / has / name)} has no partner of the same name in {lacks}, and"
                f" {len(odd) - 1} more images have none; rename or remove them."
            )
        stems = sorted(left)
        ordered[split] = ([left[s] for s in stems], [right[s] for s in stems])
    specs = [
        inspect_images(path, (name for pair in ordered.values() for name in pair[side]), reading)
        for side in (0, 1)
    ]
    columns = {
        split: {
            f"image_{s}": ImageFiles(path, tuple(pair[k]), specs[k]) for k, s in enumerate("ab")
        }
        for split, pair in ordered.items()
    }
    return {"image_a": specs[0].field(), "image_b": specs[1].field()}, columns


def _by_stem(path: pathlib.Path, names: list[str]) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name in names:
        stem = name.rpartition("/")[2].rpartition(".")[0]
        if stem in stems:
            raise ValueError(
                f"{safe(path / name)} and {safe(stems[stem])} differ only in their suffix; keep"
                f" one of them."
            )
        stems[stem] = name
    return stems
