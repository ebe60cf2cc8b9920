"""Files of a prepared data set: examples are encoded, written, and read back for checksums."""

import concurrent.futures
import dataclasses
import io
import multiprocessing
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from genjax import checks
from genjax.checks import Bounds, NonNegativeInt, PositiveInt
from genjax.data.array_records import Decoder
from genjax.data.dataset import row_crcs
from genjax.data.npz import read_npz
from genjax.data.readers import Field, Source
from genjax.data.tfds_folder import check_examples, entry_features, entry_values
from genjax.data.worker import end_with_parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Options of writing."""

    name: str
    """Name of the data set: lower-case letters, digits and _."""
    validation: NonNegativeInt = 0
    """Examples held out from train as validation; a few more to keep a group together."""
    test: NonNegativeInt = 0
    """Examples held out from train as test, as for validation."""
    group: str = ""
    """Text or label: examples in which it is equal stay in one split. They are shuffled."""
    group_ignore: str = ""
    """Regular expression; what it matches in `group` is left out before the comparison."""
    encoding: Literal["png", "jpeg"] = "png"
    """png is lossless; jpeg is smaller and lossy."""
    quality: Annotated[int, Bounds(1, 95)] = 95
    """Quality of jpeg, 1 to 95."""
    shuffle_seed: NonNegativeInt = 0
    """Seed of the order in which folders of images are written."""
    shard_examples: PositiveInt = 8192
    """Examples per file; an interruption loses the work on one file."""
    workers: PositiveInt = 1
    """Processes that encode, one file each."""

    def __post_init__(self) -> None:
        checks.validate(self)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"`name` must be a-z, then any of a-z, 0-9 and _, got '{self.name}'.")
        try:
            re.compile(self.group_ignore)
        except re.error as error:
            raise ValueError(
                f"`group_ignore` must be a regular expression, got '{self.group_ignore}': {error}."
            ) from None


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a split: its examples, and the fingerprint of their source files."""

    path: str
    source: Source
    split: str
    rows: Sequence[int]
    writing: WriteOptions
    fingerprint: int

    def is_complete(self) -> bool:
        """Returns whether an earlier call has written the file, from the same source files."""
        if not (pathlib.Path(self.path).exists() and pathlib.Path(self.path + ".npz").exists()):
            return False
        try:
            return int(read_npz(self.path + ".npz")["fingerprint"]) == self.fingerprint
        except Exception:  # NumPy and zipfile raise many types on damaged files
            return False

    def write(self) -> None:
        """Encodes and writes the examples, with the checksums of the rows."""
        from array_record.python import array_record_module

        features = tfds_features(self.source, self.writing)
        entries = entry_features(features)
        decode = Decoder({key: features[key] for key in entries.values()})
        unfinished = self.path + ".part"
        # Opened by name below, which would follow a link.
        for name in (unfinished, self.path + ".npz.part"):
            pathlib.Path(name).unlink(missing_ok=True)
        writer = array_record_module.ArrayRecordWriter(unfinished, "group_size:1")
        crcs: dict[str, list[np.ndarray]] = {}
        low, high, size = np.inf, -np.inf, 0
        try:
            for i in self.rows:
                example = _encode(self.source, self.source.splits[self.split][i], self.writing)
                record = features.serialize_example(features.encode_example(example))
                writer.write(record)
                size += len(record)
                # Checksums are of decoded rows: jpeg changes the pixels.
                row = entry_values([decode(record, self.path)], entries)
                row["x"] = check_examples(self.source.name, self.split, row["x"])
                low, high = min(low, row["x"].min()), max(high, row["x"].max())
                for name, value in row.items():
                    crcs.setdefault(name, []).append(row_crcs(value))
        finally:
            writer.close()
        levels = self.source.levels
        if levels and high >= levels:
            raise ValueError(
                f"{self.source.name}: the highest value written is {high:g}, which does not fit"
                f" levels={levels}; use --encoding png."
            )
        pathlib.Path(self.path + ".npz").unlink(missing_ok=True)  # of an earlier file
        pathlib.Path(unfinished).rename(self.path)
        summed = {name: np.concatenate(parts) for name, parts in crcs.items()}
        with open(self.path + ".npz.part", "wb") as file:
            about = {"range": np.array([low, high]), "size": size, "fingerprint": self.fingerprint}
            np.savez(file, allow_pickle=False, **about, **summed)  # type: ignore[arg-type]
        pathlib.Path(self.path + ".npz.part").rename(self.path + ".npz")


def write_shards(shards: list[Shard], workers: int, progress: Callable[[str], None]) -> None:
    """Writes the shards that are not complete, one per process."""
    left = [s for s in shards if not s.is_complete()]
    if len(left) < len(shards):
        progress(f"resuming: {len(shards) - len(left)} of {len(shards)} files exist already")
    done = len(shards) - len(left)
    if workers == 1 or len(left) < 2:
        for shard in left:
            shard.write()
            done += 1
            progress(f"{done} of {len(shards)} files")
        return
    # spawn: a fork would lose the threads of this process.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        for future in concurrent.futures.as_completed([pool.submit(s.write) for s in left]):
            try:
                future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            done += 1
            progress(f"{done} of {len(shards)} files")


def tfds_features(source: Source, writing: WriteOptions) -> Any:
    """Returns the fields of a source as TFDS features."""
    import tensorflow_datasets as tfds

    def one(field: Field) -> Any:
        if field.kind == "image":
            return tfds.features.Image(
                shape=field.shape, dtype=np.uint8, encoding_format=writing.encoding
            )
        if field.kind == "label":
            if field.names:
                return tfds.features.ClassLabel(names=list(field.names))
            return tfds.features.ClassLabel(num_classes=field.classes)
        if field.kind == "text":
            texts = tfds.features.Text()
            return tfds.features.Sequence(texts, length=field.shape[0]) if field.shape else texts
        if field.kind == "attributes":
            scalar = tfds.features.Scalar(dtype=np.bool_)
            return tfds.features.FeaturesDict({name: scalar for name in field.names})
        return tfds.features.Tensor(shape=field.shape, dtype=np.dtype(field.dtype).type)

    return tfds.features.FeaturesDict({name: one(f) for name, f in source.fields.items()})


def _encode(source: Source, example: Mapping[str, Any], writing: WriteOptions) -> dict[str, Any]:
    """Returns an example with images as encoded files, which TFDS stores without TensorFlow."""
    from PIL import Image

    out: dict[str, Any] = {}
    for name, field in source.fields.items():
        value = example[name]
        if field.kind == "image":
            file = io.BytesIO()
            image = Image.fromarray(value[..., 0] if value.shape[-1] == 1 else value)
            more = {"quality": writing.quality} if writing.encoding == "jpeg" else {}
            image.save(file, format=writing.encoding, **more)
            file.seek(0)
            out[name] = file
        elif field.kind == "attributes":
            out[name] = {a: bool(v) for a, v in zip(field.names, value, strict=True)}
        else:
            out[name] = value
    return out
