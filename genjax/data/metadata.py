"""Metadata of prepared folders: files, splits and features.

TFDS imports the classes named in `features.json` and follows paths in `dataset_info.json`. Here
only seven feature classes and files in the folder itself are accepted, and nothing is imported.
"""

import dataclasses
import functools
import math
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax.data.file_io import is_file, open_file, read_bytes, safe
from genjax.data.json_files import read_object
from genjax.data.original_files import PUBLISHED, data_root, unknown_name, where_published

INFO, FEATURES, INDEX, SUMMARY = "dataset_info.json", "features.json", "genjax.npz", "genjax.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_CLASSES = {
    "image_feature.Image": "image",
    "class_label_feature.ClassLabel": "classLabel",
    "text_feature.Text": "text",
    "tensor_feature.Tensor": "tensor",
    "scalar.Scalar": "tensor",
    "features_dict.FeaturesDict": "featuresDict",
    "sequence_feature.Sequence": "sequence",
}
_TFDS_FEATURES = "tensorflow_datasets.core.features."
_MAX_BYTES = 2**26  # bytes of a metadata file
_MAX_SIDE, _MAX_VALUES = 2**16, 2**26  # of an image, and numbers of one example
_MAX_CLASSES = 2**20
_MAX_TEXTS = 2**10  # captions of an example
_MAX_NAME = 100  # characters of a split's


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of a prepared folder.

    Attributes:
      folder: path of the folder.
      features: supported TFDS features by name.
      unsupported: names of the other features.
      splits: `{split: ((file, examples), ...)}`.
    """

    folder: str
    features: Mapping[str, Any]
    unsupported: tuple[str, ...]
    splits: Mapping[str, tuple[tuple[str, int], ...]]

    def count(self, split: str) -> int:
        """Returns the number of examples of a split."""
        return sum(n for _, n in self.splits[split])


def folder_fingerprint(folder: str) -> str:
    """Returns a hash of names, sizes and times of a folder's files, to detect changes."""
    states = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if "record" in entry.name or entry.name.endswith((".json", ".npz", ".txt")):
                    states.append((entry.name, *_file_state(entry)))
    except OSError as error:
        raise ValueError(
            f"{safe(folder)} cannot be read ({type(error).__name__}); check the path."
        ) from None
    return f"{zlib.crc32(repr(sorted(states)).encode('utf-8', 'surrogateescape')):08x}"


def _file_state(entry: os.DirEntry) -> tuple[int, ...]:
    try:
        about = entry.stat()
    except OSError:  # a broken link
        return ()
    return about.st_size, about.st_mtime_ns, about.st_ino


@functools.lru_cache(maxsize=8)
def metadata(folder: str, fingerprint: str) -> Metadata:
    """Reads the metadata of a folder, again if `fingerprint`, the state of its files, has changed.

    Raises:
      ValueError: metadata is missing, damaged, or not supported.
    """
    del fingerprint
    root = pathlib.Path(folder)
    info, tree = _read_json(root / INFO), _read_json(root / FEATURES)
    if "type" in tree:
        raise ValueError(
            f"{safe(root / FEATURES)} was written by TFDS before 4.5; prepare the data set again."
        )
    features, unsupported = _features(root, tree)
    return Metadata(folder, features, tuple(unsupported), _splits(root, info))


def find_folder(source: str, data_dir: str | None) -> str:
    """Returns the folder of a TFDS name (`mnist`, `name/config`, `name:1.0.0`) or of a path.

    Raises:
      ValueError: it is not prepared, or TFDS does not know it; the message gives the command.
    """
    given = pathlib.Path(source)
    if os.path.exists(given):
        if not os.path.isdir(given):
            open_file(given).close()  # rejects pipes and devices
        if not is_file(given / INFO):
            raise ValueError(
                f"{safe(source)} is not prepared (it has no dataset_info.json); prepare it with:"
                f" genjax prepare {safe(source)} OUT --name NAME."
            )
        return source
    name = re.fullmatch(r"(\w+)(/\w[\w.+-]*)?(:\d+\.\d+\.\d+)?", source)
    root = data_root(data_dir)
    if name:
        parts = [p.strip("/:") for p in name.groups() if p]
        folder = _newest_version(root.joinpath(*parts))
        if folder is None and name[2] is None:  # a single config
            configs = [p for p in root.glob(f"{name[1]}/*/") if _newest_version(p)]
            folder = _newest_version(configs[0]) if len(configs) == 1 else None
        if folder is not None:
            return str(folder)
    if os.sep in source and not (name and _is_tfds_name(name[1])):
        raise ValueError(
            f"there is no folder '{safe(source)}', and TFDS knows no data set of that name; give a"
            f" folder with dataset_info.json and features.json, a .npz or .csv file, or digits."
        )
    if not name or not (source in PUBLISHED or _is_tfds_name(name[1])):
        raise ValueError(unknown_name(source, root))
    files = where_published(source, str(root))
    raise ValueError(
        f"{source} is not prepared in {safe(root)}; {files}{', or ' if files else ''}set"
        f" TFDS_DATA_DIR to its folder, or prepare it with: tfds build {source}"
        f" --file_format=array_record."
    )


def _newest_version(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder itself, or its newest version."""
    if is_file(folder / INFO):
        return folder
    versions = [p for p in folder.glob("*.*.*") if re.fullmatch(r"\d+\.\d+\.\d+", p.name)]
    versions = [p for p in versions if is_file(p / INFO)]
    return max(versions, key=lambda p: [int(n) for n in p.name.split(".")], default=None)


def _is_tfds_name(name: str) -> bool:
    """Returns whether TFDS has a builder of this name, for a better error message."""
    try:
        import tensorflow_datasets as tfds

        tfds.builder_cls(name)
    except Exception:
        return False
    return True


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    problem = "is damaged or not TFDS metadata"
    return read_object(path, problem=problem, fix="prepare it again", limit=_MAX_BYTES)


class _InvalidMetadataError(Exception):
    """Metadata is invalid; the message is short."""


def _splits(root: pathlib.Path, info: Mapping[str, Any]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Returns files and examples of every split with examples."""
    path = root / INFO
    try:
        formats = [info.get("fileFormat"), *_list(info.get("alternativeFileFormats", []))]
        if "array_record" not in formats:
            raise ValueError(
                f"{safe(root)} is stored as {safe(formats[0], 30)}, which needs TensorFlow; write"
                f" it as array_record: tfds build --file_format=array_record."
            )
        splits = {}
        for split in _list(info.get("splits", [])):
            if not isinstance(split, dict) or not isinstance(split.get("name"), str):
                raise _InvalidMetadataError("a split has no name")
            name = split["name"]
            if len(name) > _MAX_NAME or not name.isprintable():
                raise _InvalidMetadataError(f"the split {safe(name, 30)} is not a name")
            if name in splits:
                raise _InvalidMetadataError(f"split {name} is listed twice")
            lengths = [_number(n, 2**48) for n in _list(split.get("shardLengths", []))]
            template = split.get("filepathTemplate") or _TEMPLATE
            files = [
                _shard_name(template, str(info.get("name")), name, i, len(lengths))
                for i in range(len(lengths))
            ]
            shards = tuple((f, n) for f, n in zip(files, lengths, strict=True) if n)
            if shards:
                splits[name] = shards
    except _InvalidMetadataError as error:
        raise ValueError(
            f"{safe(path)} is damaged ({safe(error, 160)}); prepare it again."
        ) from None
    if not splits:
        raise ValueError(f"{safe(path)} has no split with examples; prepare it again.")
    return splits


def _shard_name(template: Any, dataset: str, split: str, shard: int, count: int) -> str:
    """Returns the file name of a shard, as TFDS builds it, always in the folder itself."""
    if not isinstance(template, str):
        raise _InvalidMetadataError("filepathTemplate is not a string")
    digits = max(5, len(str(count)))
    words = {"DATASET": dataset, "SPLIT": split, "FILEFORMAT": "array_record"}
    words |= {"SHARD_INDEX": f"{shard:0{digits}}", "NUM_SHARDS": f"{count:0{digits}}"}
    words["SHARD_X_OF_Y"] = f"{words['SHARD_INDEX']}-of-{words['NUM_SHARDS']}"
    name = re.sub(r"\$?\{(\w+)\}", lambda m: words.get(m[1], m[0]), template)
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise _InvalidMetadataError(f"'{name}' is not a file name")
    return name


def _features(root: pathlib.Path, tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns supported TFDS features by name, and the names of the others."""
    path = root / FEATURES
    features: dict[str, Any] = {}
    unsupported = []
    try:
        _check_class_names(tree)
        for name, about in _inner_features(tree).items():
            if _feature_kind(about) == "sequence":
                found = _texts(name, about)
            else:
                feature = _feature(root, name, about)
                found = {} if feature is None else {name: feature}
            features |= found
            if not found:
                unsupported.append(name)
    except (_InvalidMetadataError, RecursionError) as error:
        reason = str(error) if isinstance(error, _InvalidMetadataError) else "nested too deeply"
        raise ValueError(
            f"{safe(path)} is damaged or not supported ({safe(reason, 300)}); prepare it again."
        ) from None
    return features, unsupported


def _check_class_names(tree: Any) -> None:
    """Raises if a class outside of TFDS is named, whose module TFDS would import."""
    if isinstance(tree, list):
        for value in tree:
            _check_class_names(value)
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key == "pythonClassName" and not (
            isinstance(value, str) and re.fullmatch(re.escape(_TFDS_FEATURES) + r"\w+\.\w+", value)
        ):
            raise _InvalidMetadataError(f"{value!r} is not a feature class of TFDS")
        _check_class_names(value)


def _inner_features(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the features of a dictionary of features."""
    outer = tree.get("featuresDict")
    inner = outer.get("features", {}) if isinstance(outer, dict) else None
    if _feature_kind(tree) != "featuresDict" or not isinstance(inner, dict):
        raise _InvalidMetadataError("there is no dictionary of features")
    if not all(isinstance(v, dict) for v in inner.values()):
        raise _InvalidMetadataError("a feature has no description")
    return inner


def _feature_kind(about: Mapping[str, Any]) -> str:
    """Returns the kind of a feature; "" if it is not supported."""
    return _CLASSES.get(str(about.get("pythonClassName", "")).removeprefix(_TFDS_FEATURES), "")


def _feature(root: pathlib.Path, name: str, about: Mapping[str, Any]) -> Any:
    """Returns one feature, or None if it is not supported."""
    from tensorflow_datasets import features

    kind = _feature_kind(about)
    content = about.get(kind, {})
    if not kind:
        return None
    if not isinstance(content, dict):
        raise _InvalidMetadataError(f"feature {name} has no description")
    if kind == "text":
        return features.Text()
    if kind == "classLabel":
        return _label(root, name, _number(content.get("numClasses", 0), _MAX_CLASSES))
    if kind == "featuresDict":
        flags = {k: _feature(root, "", v) for k, v in _inner_features(about).items()}
        good = [f is not None and f.shape == () and f.np_dtype == np.bool_ for f in flags.values()]
        return features.FeaturesDict(flags) if good and all(good) else None
    dtype = _dtype(name, content)
    shape = _shape(name, content)
    if kind == "tensor":
        plain = content.get("encoding", "none") in ("none", "") and not content.get("optional")
        if dtype is None or not plain or None in shape:
            return None
        return features.Tensor(shape=shape, dtype=dtype.type)
    channels = {"uint8": (1, 3, 4), "float32": (1,)}.get(dtype.name if dtype else "", ())
    if len(shape) != 3 or shape[2] not in channels:
        return None
    if any(side is not None and side > _MAX_SIDE for side in shape):
        raise _InvalidMetadataError(f"feature {name} is too large, {shape}")
    return features.Image(shape=shape, dtype=dtype.type if dtype else None)


def _texts(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the texts of a sequence by their names: `captions`, or `captions/text` of a sequence
    of dictionaries. Other sequences are not supported."""
    from tensorflow_datasets import features

    content = about.get("sequence", {})
    inner = content.get("feature") if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        raise _InvalidMetadataError(f"feature {name} has no description")
    length = content.get("length", "-1")
    count = None if str(length) in ("-1", "0") else _number(length, _MAX_TEXTS)
    members = {name: inner}
    if _feature_kind(inner) == "featuresDict":
        members = {f"{name}/{member}": each for member, each in _inner_features(inner).items()}
    return {
        member: features.Sequence(features.Text(), length=count)
        for member, each in members.items()
        if _feature_kind(each) == "text"
    }


def _label(root: pathlib.Path, name: str, classes: int) -> Any:
    """Returns a class label, with the names in its labels.txt."""
    from tensorflow_datasets import features

    path = root / f"{name.replace('/', '.')}.labels.txt"
    if not name or not is_file(path):
        if not classes:  # ClassLabel needs a number of classes
            return features.Scalar(dtype=np.int64)
        return features.ClassLabel(num_classes=classes)
    try:
        words = read_bytes(path, _MAX_BYTES).decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise _InvalidMetadataError(f"{path.name} is not UTF-8 text") from None
    names = [word.strip() for word in words if word.strip()]
    if len(names) != len(set(names)):
        raise _InvalidMetadataError(f"{path.name} has a name twice")
    if classes and len(names) != classes:
        raise _InvalidMetadataError(f"{path.name} has {len(names)} names for {classes} classes")
    return features.ClassLabel(names=names) if names else features.Scalar(dtype=np.int64)


def _dtype(name: str, content: Mapping[str, Any]) -> np.dtype | None:
    """Returns a numeric dtype; None for others, such as strings."""
    given = content.get("dtype", "")
    if not isinstance(given, str):
        raise _InvalidMetadataError(f"feature {name} has no dtype")
    known = "bool uint8 uint16 uint32 int8 int16 int32 int64 float16 float32 float64"
    return np.dtype(given) if given in known.split() else None


def _shape(name: str, content: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Returns a shape, with None for sides that vary between examples."""
    given = content.get("shape", {})
    sides = _list(given.get("dimensions", []) if isinstance(given, dict) else None)
    shape = tuple(None if str(n) == "-1" else _number(n, 2**31) for n in sides)
    known = [n for n in shape if n is not None]
    if len(shape) > 16 or 0 in known or math.prod(known) > _MAX_VALUES:
        raise _InvalidMetadataError(f"feature {name} has shape {shape}")
    return shape


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > 2**20:
        raise _InvalidMetadataError("a list is missing")
    return value


def _number(value: Any, limit: int) -> int:
    """Returns a count; JSON of protocol buffers stores large ones as strings."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= limit:
        raise _InvalidMetadataError(f"{safe(value, 30)} is not a count")
    return value
