"""Data sets prepared as `array_record`, read row by row without TensorFlow."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.data.array_records import check_rows, load_index, open_records, read_rows
from genjax.data.dataset import row_crcs
from genjax.data.file_io import safe
from genjax.data.metadata import Metadata, find_folder, folder_fingerprint, metadata
from genjax.data.original_files import where_published
from genjax.data.static_binarization import static_images

CHUNK = 256
CAPTION_BYTES = 2**31
CAPTION_FEATURES = ("caption", "captions", "captions/text", "text", "name")
"""Features that may hold the captions, in order of preference."""


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """Rows start .. stop - 1 of a split of a prepared folder; files are opened when read.

    Attributes:
      folder: folder with dataset_info.json and features.json.
      split: name of the split in the folder.
      start, stop: range of the rows.
      fingerprint: state of the folder's files, from `folder_fingerprint`.
      static: (seed, number of the split, levels) of a static binarization.
      renamed: (name, name in the folder) of the entries to read; None reads all.
      attributes: columns of `attributes` to read, in order; None reads all.
      rows: numbers in the split of the rows that start and stop count; None is all rows.
      classes: labels in the folder of the classes 0, 1, ...; None keeps the labels.
      caption: feature of the captions; empty is `caption`.
      texts: captions of an example, `[N, texts]`, where they are sequences; 0 is one, `[N]`.
    """

    folder: str
    split: str
    start: int
    stop: int
    fingerprint: str
    static: tuple[int, int, int] | None = None
    renamed: tuple[tuple[str, str], ...] | None = None
    attributes: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    classes: tuple[int, ...] | None = None
    caption: str = ""
    texts: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def slice(self, start: int, stop: int) -> "PreparedSplit":
        """Returns rows start .. stop - 1 of these."""
        stop = min(stop, len(self))
        return dataclasses.replace(self, start=self.start + start, stop=self.start + stop)

    def entries(self) -> dict[str, str]:
        """Returns the name in the folder's data of each entry that is read."""
        known = entry_features(metadata(self.folder, self.fingerprint).features, self.caption)
        return dict(self.renamed or zip(known, known, strict=True))

    def read(
        self, indices: Sequence[int] | np.ndarray, names: tuple[str, ...] | None = None
    ) -> dict[str, np.ndarray]:
        """Returns entries of some rows, `[n, ...]` each; None is all entries.

        Raises:
          ValueError: a file is missing or damaged, or images differ in size.
        """
        entries = entry_features(metadata(self.folder, self.fingerprint).features, self.caption)
        own = self.entries()
        own = own if names is None else {name: own[name] for name in names}
        entries = {name: entries[own[name]] for name in own}
        numbers = [self._number(int(i)) for i in indices]
        rows = read_rows(
            self.folder, self.split, self.fingerprint, tuple(entries.values()), numbers
        )
        try:
            out = entry_values(rows, entries, self.texts)
        except ValueError:
            raise self._size_error() from None
        for name in {"x", "y"} & set(out):
            out[name] = check_examples(safe(self.folder), self.split, out[name])
        stored = {own[k]: v for k, v in out.items() if k != "caption" or not self.caption}
        check_rows(self.folder, self.split, self.fingerprint, numbers, stored)
        if self.attributes is not None and "attributes" in out:
            out["attributes"] = out["attributes"][:, list(self.attributes)]
        if self.classes is not None and "label" in out:
            out["label"] = renumbered(out["label"], self.classes)
        if self.static:
            out |= static_images(out, np.asarray(indices, np.int64), *self.static)
        return out

    def example(self, index: int, keys: tuple[str, ...]) -> dict[str, Any]:
        """Returns one row by the names of its features.

        Raises:
          ValueError: as `read`; or values are not finite.
        """
        number = self._number(index)
        (row,) = read_rows(self.folder, self.split, self.fingerprint, keys, [number])
        for key, value in row.items():
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise ValueError(
                    f"{safe(self.folder)}: {key} of row {number} of {self.split} holds NaN or"
                    f" infinity; remove such rows."
                )
        features = metadata(self.folder, self.fingerprint).features
        entries = entry_values([row], entry_features({key: features[key] for key in keys}))
        if "x" in entries:
            entries["x"] = check_examples(safe(self.folder), self.split, entries["x"])
        check_rows(self.folder, self.split, self.fingerprint, [number], entries)
        return row

    def _number(self, index: int) -> int:
        """Returns the number of a row in the folder's split."""
        return self.start + index if self.rows is None else self.rows[self.start + index]

    def labels(self) -> np.ndarray:
        """Returns the labels of all rows, int32 `[N]`; images are not decoded."""
        parts = [self.read(chunk, ("label",))["label"] for chunk in _chunks(len(self))]
        return np.concatenate(parts)

    def all(self) -> dict[str, np.ndarray]:
        """Returns all rows, in order."""
        parts = [self.read(chunk) for chunk in _chunks(len(self))]
        check_caption_bytes(self.folder, [part["caption"] for part in parts if "caption" in part])
        if any(len({p[k].shape[1:] for p in parts}) > 1 for k in {"x", "y"} & set(parts[0])):
            raise self._size_error()
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def _size_error(self) -> ValueError:
        return ValueError(
            f"{safe(self.folder)} has images of different sizes; resize them with: genjax prepare"
            f" {safe(self.folder)} OUT --name NAME --size H W --fit crop."
        )

    def crcs(self) -> dict[str, np.ndarray]:
        """Returns the `row_crcs` of every entry, stored by `prepare` or computed now."""
        crcs = self._original()._scan()[0]
        return crcs if self.renamed is None else {k: crcs[own] for k, own in self.renamed}

    def highest(self) -> float:
        """Returns the highest value of `x`."""
        return self._original()._scan()[1]

    def _original(self) -> "PreparedSplit":
        """Returns these rows with the entries that the folder has."""
        return dataclasses.replace(self, static=None, renamed=None, attributes=None, classes=None)

    @property
    def levels(self) -> int | None:
        """Levels stored by `prepare`; None for folders prepared by TFDS."""
        return load_index(self.folder, self.fingerprint).levels

    def nbytes(self) -> int:
        """Returns the memory that the images of all rows take."""
        images = {k: v for k, v in self.read([0]).items() if k in ("x", "y")}
        return sum(v.nbytes for v in images.values()) * len(self)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - frozen and small
    def _scan(self) -> tuple[dict[str, np.ndarray], float]:
        known = load_index(self.folder, self.fingerprint)
        if self.split in known.crcs:
            own = slice(self.start, self.stop)
            chosen = own if self.rows is None else list(self.rows[own])
            crcs = {k: v[chosen] for k, v in known.crcs[self.split].items()}
            if self.caption:
                texts = [self.read(chunk, ("caption",))["caption"] for chunk in _chunks(len(self))]
                crcs["caption"] = np.concatenate([row_crcs(part) for part in texts])
            return crcs, known.highest[self.split]
        parts: dict[str, list[np.ndarray]] = {}
        high = 0.0
        for chunk in _chunks(len(self)):
            rows = self.read(chunk)
            high = max(high, float(rows["x"].max()))
            for key, value in rows.items():
                parts.setdefault(key, []).append(row_crcs(value))
        return {k: np.concatenate(v) for k, v in parts.items()}, high


def open_folder(source: str, data_dir: str | None) -> tuple[Metadata, dict[str, PreparedSplit]]:
    """Returns the metadata and all splits of a TFDS name or a prepared folder.

    Raises:
      ValueError: it does not exist, is not prepared, is damaged, or differs from its metadata.
    """
    try:
        import array_record  # noqa: F401
        import tensorflow_datasets  # noqa: F401
    except ImportError:
        files = where_published(source, data_dir)
        raise ValueError(
            f"'{safe(source)}' is a TFDS data set and tensorflow-datasets is not installed; install"
            f" it, or {files or 'use a .npz file written by genjax convert'}."
        ) from None
    folder = find_folder(source, data_dir)
    now = folder_fingerprint(folder)
    about = metadata(folder, now)
    load_index(folder, now)
    for split in about.splits:
        open_records(folder, split, now)
    return about, {s: PreparedSplit(folder, s, 0, about.count(s), now) for s in about.splits}


def open_prepared(
    source: str, data_dir: str | None, caption: str = "", *, captioned: bool = False
) -> tuple[dict[str, PreparedSplit], dict[str, Any]]:
    """Returns the splits of a TFDS name or a prepared folder, and the names of its classes.

    Args:
      source: name or folder.
      data_dir: folder of TFDS names.
      caption: feature with the captions; empty is `caption`.
      captioned: without `caption`, take the first of `CAPTION_FEATURES` that the data have.

    Raises:
      ValueError: as `open_folder`; or there are no images, or no such captions.
    """
    about, rows = open_folder(source, data_dir)
    texts = [name for name in about.features if is_text(about.features[name])]
    if caption and caption not in texts:
        raise ValueError(
            f"{safe(source)} has no texts '{safe(caption, 60)}', it has"
            f" {safe(sorted(texts), 300)}; correct --caption."
        )
    if captioned and not caption:
        caption = next((name for name in CAPTION_FEATURES if name in texts), "")
    caption = "" if caption == "caption" else caption
    entries = entry_features(about.features, caption)
    count = _texts_of(about.features, entries["caption"], rows) if "caption" in entries else 0
    rows = {s: dataclasses.replace(part, caption=caption, texts=count) for s, part in rows.items()}
    if "x" not in entries:
        left = (
            f" (and {safe(sorted(about.unsupported), 200)}, not read)" if about.unsupported else ""
        )
        raise ValueError(
            f"{safe(source)} has features {safe(sorted(about.features), 300)}{left} and none called"
            f" image; rename one."
        )
    names = {entry: class_names(about.features[key]) for entry, key in entries.items()}
    return rows, {entry: known for entry, known in names.items() if known}


def is_text(feature: Any) -> bool:
    """Returns whether a feature is a text or a sequence of texts."""
    from tensorflow_datasets import features

    return isinstance(feature, (features.Text, features.Sequence))


def _texts_of(known: Mapping[str, Any], key: str, rows: Mapping[str, PreparedSplit]) -> int:
    """Returns the most texts of an example of a sequence; 0 of a single text."""
    from tensorflow_datasets import features

    if not isinstance(known[key], features.Sequence):
        return 0
    (length,) = known[key].shape
    if length is not None:
        return length
    counts = [
        len(row[key])
        for part in rows.values()
        for chunk in _chunks(len(part))
        for row in read_rows(part.folder, part.split, part.fingerprint, (key,), chunk)
    ]
    return max(1, *counts)


def entry_features(features: Any, caption: str = "") -> dict[str, str]:
    """Returns the feature of each entry of an example: `{"x": "image", "label": "label"}`.

    Args:
      features: of the data.
      caption: feature of the captions; empty is `caption`.
    """
    from tensorflow_datasets import features as kinds

    def numbers(key: str) -> bool:
        return is_a(key, (kinds.Image, kinds.Tensor)) and len(features[key].shape) > 0

    def is_a(key: str, kind: Any) -> bool:
        return key in features and isinstance(features[key], kind)

    by_entry = {}
    image = next((k for k in ("image", "x", "features", "image_a") if numbers(k)), None)
    images = sorted(k for k in features if is_a(k, kinds.Image))
    if image is not None:
        by_entry["x"] = image
    elif len(images) in (1, 2):  # a single image by any name, or a pair sorted by name
        by_entry["x"] = images[0]
    if len(images) == 2 and by_entry.get("x") == images[0]:
        by_entry["y"] = images[1]
    label = features["label"] if is_a("label", kinds.Tensor) else None  # or its ClassLabel
    if label is not None and label.shape == () and np.dtype(label.np_dtype).kind in "iu":
        by_entry["label"] = "label"
    if is_a("attributes", kinds.FeaturesDict):
        by_entry["attributes"] = "attributes"
    caption = caption or "caption"
    if caption in features and is_text(features[caption]):
        by_entry["caption"] = caption
    return by_entry


def entry_values(
    rows: Sequence[Mapping[str, Any]], entries: Mapping[str, str], texts: int = 0
) -> dict[str, np.ndarray]:
    """Stacks decoded examples, `[len(rows), ...]` per entry.

    Sequences of captions are filled up with empty ones, to `texts` or the most of an example.

    Raises:
      ValueError: the rows differ in shape.
    """
    return {
        entry: _cast(entry, _stack([row[key] for row in rows], texts))
        for entry, key in entries.items()
    }


def _stack(values: list[Any], texts: int) -> np.ndarray:
    if isinstance(values[0], list):
        count = max(texts, 1, *map(len, values))
        values = [[*own, *[""] * (count - len(own))] for own in values]
        return np.array(values, "U")
    return np.stack(values)


def renumbered(label: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Returns the indices in `classes` of labels, which are all among them, int32."""
    order = np.argsort(classes)
    return order[np.searchsorted(classes, label, sorter=order)].astype(np.int32)


def class_names(feature: Any) -> tuple[str, ...]:
    """Returns the names of the classes of a label, or of attributes; () if there are none."""
    if getattr(feature, "names", None):
        return tuple(feature.names)
    # Sorted: TFDS stores them in an unordered map.
    return tuple(sorted(feature)) if hasattr(feature, "keys") else ()


def check_caption_bytes(where: Any, parts: Sequence[np.ndarray]) -> None:
    """Checks that captions, which all take as much memory as the longest, do not fill it.

    Raises:
      ValueError: they are above `CAPTION_BYTES`.
    """
    longest = max((part.dtype.itemsize for part in parts), default=0)
    if longest * sum(part.size for part in parts) > CAPTION_BYTES:
        raise ValueError(
            f"{safe(where)} has a caption of {longest // 4:,} characters, and with all others as"
            f" long they take more than {CAPTION_BYTES / 2**30:g} GiB; shorten it."
        )


def check_examples(path: Any, name: str, x: np.ndarray) -> np.ndarray:
    """Returns examples `[N, ...]` as non-negative integers or finite float32.

    Raises:
      ValueError: they are neither; the message names `path` and the split.
    """
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{path}: {name} must be [N, ...] with N above 0, got {list(x.shape)}.")
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype.kind not in "iuf":
        raise ValueError(f"{path}: {name} must hold numbers, got {x.dtype}; convert it.")
    if x.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # a NaN may be a signalling one
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise ValueError(
                f"{path}: {name} holds NaN or infinity as float32; remove such examples."
            )
        return x
    if x.min() < 0:
        raise ValueError(f"{path}: {name} holds negative integers; shift them to start at 0.")
    return x


def _cast(entry: str, array: np.ndarray) -> np.ndarray:
    if entry == "label":
        return array.astype(np.int32)
    return array.astype(np.uint8) if entry == "attributes" else array


def _chunks(n: int) -> list[range]:
    return [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
