"""IDX files, plain or gzip: MNIST, Fashion-MNIST, EMNIST and other arrays."""

import math
import pathlib
import re

import numpy as np

from genjax.data.dataset import SPLITS, default_levels
from genjax.data.file_io import SPLIT_FOLDERS, BinaryFile, list_folder, safe
from genjax.data.readers.base import Contents, Field, ReadOptions
from genjax.data.readers.columns import ImageArray, array_image_spec

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
LAYOUT = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, t10k-images-idx3-ubyte and"
    " t10k-labels-idx1-ubyte, with any prefix, each plain or .gz"
)
_FILE = re.compile(
    r"(?P<prefix>.*?)[-_.]?(?P<split>train|t10k|test|validation|valid|val)"
    r"[-_.](?P<what>images|labels)[-_.]idx[0-9]+(-[a-z0-9]+)?(?P<gz>\.gz)?"
)


def matches(name: str) -> bool:
    """Returns whether a file name has this format."""
    return bool(_FILE.fullmatch(name)) or bool(
        re.search(r"[.-]idx([0-9]*(-ubyte)?)?(\.gz)?$", name)
    )


def read(path: pathlib.Path, reading: ReadOptions) -> Contents:
    """Reads a folder, or one file as train: `image` or `x`, and `label` if there are labels.

    Three-dimensional bytes are `image` `[H, W, 1]` (transposed for EMNIST, as in its files); other
    arrays are `x`. Non-negative integers have levels; other numbers have levels 0.

    Raises:
      ValueError: the magic number or the size is wrong, a file is damaged, or labels do not fit.
    """
    files = _split_files(path) if path.is_dir() else {"train": {"images": path}}
    if any("labels" in pair for pair in files.values()):
        for split, pair in files.items():
            if "labels" not in pair:
                raise ValueError(f"{safe(path)} has no labels for split {split}; use {LAYOUT}.")
    xs = {split: _read_array(pair["images"]) for split, pair in files.items()}
    ys = {s: _read_labels(p["labels"], len(xs[s])) for s, p in files.items() if "labels" in p}
    field, levels, columns = _image_columns(path, files, xs, reading)
    name = "image" if field.kind == "image" else "x"
    fields = {name: field}
    splits: dict[str, dict] = {split: {name: column} for split, column in columns.items()}
    if ys:
        fields["label"] = Field(kind="label", classes=max(int(y.max()) for y in ys.values()) + 1)
        for split, y in ys.items():
            splits[split]["label"] = y.tolist()
    used = [file.name for pair in files.values() for file in pair.values()]
    return Contents(fields, splits, used, levels)


def _read_array(path: pathlib.Path) -> np.ndarray:
    """Returns the array in one file, `[N, ...]`, in native byte order."""
    with BinaryFile(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not head[3]:
            raise ValueError(
                f"{safe(path)} is not an IDX file: it begins with {head.hex() or 'nothing'} instead"
                f" of 0000, a type (08 to 0e) and a number of dimensions; download it again."
            )
        sizes = file.read(4 * head[3])
        shape = tuple(int(n) for n in np.frombuffer(sizes[: len(sizes) // 4 * 4], ">u4"))
        if len(shape) < head[3]:
            raise ValueError(f"{safe(path)} is truncated in its header; download it again.")
        dtype = np.dtype(TYPES[head[2]])
        bytes_ = math.prod(shape) * dtype.itemsize  # Python integers do not overflow
        what = (
            f"{safe(path)} must hold {bytes_} bytes after its header, {dtype.name} of shape"
            f" {safe(shape, 80)}"
        )
        if not bytes_:
            raise ValueError(
                f"{safe(path)} is empty, of shape {safe(shape, 80)}; download it again."
            )
        if bytes_ > file.max_bytes():
            raise ValueError(f"{what}, and is smaller, truncated or damaged; download it again.")
        if not file.compressed and file.bytes != bytes_ + 4 + len(sizes):
            raise ValueError(f"{what}, and has {file.bytes - 4 - len(sizes)}; download it again.")
        data = file.read(bytes_ + 1)
    if len(data) != bytes_:
        many = "more" if len(data) > bytes_ else f"only {len(data)}"
        raise ValueError(f"{what}, and has {many}; download it again.")
    if len(shape) > 32:
        raise ValueError(f"{safe(path)} has {len(shape)} dimensions; at most 32 are supported.")
    x = np.frombuffer(data, dtype).reshape(shape)
    return x.astype(dtype.newbyteorder("="), copy=False)


def _split_files(folder: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
    """Returns files by split and by images or labels."""
    by_split: dict[str, dict[str, pathlib.Path]] = {}
    prefixes: set[str] = set()
    # Sorted, so that a plain file takes precedence over its .gz.
    for match in filter(None, map(_FILE.fullmatch, list_folder(folder)[0])):
        prefixes.add(match["prefix"])
        pair = by_split.setdefault(SPLIT_FOLDERS.get(match["split"], "test"), {})
        name, first = match[0], pair.setdefault(match["what"], folder / match[0]).name
        if name not in (first, f"{first}.gz") and len(prefixes) == 1:
            raise ValueError(f"{safe(folder)} has {safe(first)} and {safe(name)}; keep one.")
    if len(prefixes) > 1:
        some = " and ".join(safe(p or "no prefix", 40) for p in sorted(prefixes)[:2])
        raise ValueError(
            f"{safe(folder)} holds several data sets ({some}); move each into its own folder."
        )
    if not by_split:
        raise ValueError(f"{safe(folder)} has no IDX files; use {LAYOUT}.")
    for split, pair in by_split.items():
        if "images" not in pair:
            raise ValueError(f"{safe(folder)} has no images for split {split}; use {LAYOUT}.")
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _read_labels(path: pathlib.Path, count: int) -> np.ndarray:
    """Returns labels int32 `[N]`."""
    y = _read_array(path)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"{safe(path)} must hold one integer per label, got"
            f" {y.dtype}{list(y.shape)}; use another file."
        )
    if len(y) != count:
        raise ValueError(
            f"{safe(path)} has {len(y)} labels for {count} examples; download them again."
        )
    if y.min() < 0:
        raise ValueError(f"{safe(path)} has the label {y.min()}; labels must start at 0.")
    return y.astype(np.int32)


def _image_columns(
    path: pathlib.Path,
    files: dict[str, dict[str, pathlib.Path]],
    xs: dict[str, np.ndarray],
    reading: ReadOptions,
) -> tuple[Field, int, dict]:
    """Returns the field of the examples, the levels, and a column per split."""
    one = next(iter(xs))
    x = xs[one]
    for split, other in xs.items():
        if (other.shape[1:], other.dtype) != (x.shape[1:], x.dtype):
            raise ValueError(
                f"{safe(files[split]['images'])} holds {other.dtype}{list(other.shape[1:])} and"
                f" {safe(files[one]['images'])} {x.dtype}{list(x.shape[1:])} per example;"
                f" make them agree."
            )
        if not np.isfinite(other).all():
            raise ValueError(
                f"{safe(files[split]['images'])} holds NaN or infinity; remove such examples."
            )
    if x.dtype == np.uint8 and x.ndim == 3:
        images = {split: other[..., None] for split, other in xs.items()}
        spec = array_image_spec(images[one], reading, path)
        return spec.field(), 256, {s: ImageArray(image, spec) for s, image in images.items()}
    levels = 0
    if x.dtype.kind in "iu" and min(int(v.min()) for v in xs.values()) >= 0:
        levels = default_levels(max(int(v.max()) for v in xs.values()))
    return Field(kind="array", shape=x.shape[1:], dtype=x.dtype.name), levels, xs
