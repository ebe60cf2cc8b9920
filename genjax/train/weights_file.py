"""Weights of a finished run as one safetensors file, with everything needed to use them.

The header's metadata have one entry, `genjax`: a JSON object of settings, record, data, tokenizer,
versions, and shape, dtype and CRC-32 of every tensor; its own checksum is one of its entries.
"""

import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, get_args

import jax
import jax.numpy as jnp
import numpy as np

from genjax import checks
from genjax.data.file_io import read_bytes, safe
from genjax.data.file_writing import write_file
from genjax.data.json_files import check_entries, parse_json
from genjax.data.tokenizers import Tokenizer, tokenizer_from_json, tokenizer_to_json
from genjax.evals.metric_result import plain
from genjax.train.checkpoint import leaves
from genjax.train.record import dataset_name
from genjax.train.run_config import Run, run_from_json, to_json
from genjax.version import __version__

Rounding = Literal["float32", "float16", "bfloat16"]
SUFFIX = ".safetensors"
FORMAT = 1
"""Version of the metadata; a file of a later one is not read."""
ENTRY = "genjax"
"""Name of the entry of the safetensors metadata."""


class Metadata(TypedDict):
    """Entries of the metadata.

    format: `FORMAT`.
    genjax: version that wrote the file.
    config: settings, as in config.json.
    record: as in record.json.
    data: name, checksum and number of examples of the data.
    tokenizer: as tokenizer.json, or None.
    rounding: dtype of tensors that are float32 in the run.
    rounded_figure: figure that was computed with the rounded tensors, if it was.
    leaves: shape, dtype in the run, and CRC-32 in the file, by name.
    empty: names of collections without leaves.
    checksum: CRC-32 of all other entries.
    """

    format: int
    genjax: str
    config: dict
    record: dict
    data: dict
    tokenizer: dict | None
    rounding: str
    rounded_figure: NotRequired[dict]
    leaves: dict
    empty: list[str]
    checksum: str


class WeightsFile:
    """The weights of a run, read from a file.

    Attributes:
      path: of the file.
      name: for messages, and of outputs.
      metadata: see `Metadata`.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads a file and checks all of it.

        Raises:
          ValueError: it is missing, no weights file of genjax, of a newer format, or damaged.
        """
        import safetensors

        self.path = pathlib.Path(path)
        self.name = self.path.stem
        data = read_bytes(self.path)
        try:
            tensors = dict(safetensors.deserialize(data))
            header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        except (safetensors.SafetensorError, ValueError) as error:
            raise ValueError(
                f"{safe(self.path)} is not a safetensors file, or is truncated or damaged"
                f" ({safe(error, 120)}); copy or download it again, or give another file."
            ) from None
        body = header.get("__metadata__", {}).get(ENTRY)
        if body is None:
            raise ValueError(
                f"{safe(self.path)} has tensors, but not the settings of a run of genjax; give a"
                f" file that genjax export has written."
            )
        self.metadata = self._checked(body)
        self._tensors = {
            name: self._tensor(name, shape, crc, tensors)
            for name, (shape, _, crc) in self.metadata["leaves"].items()
        }
        if more := sorted(set(tensors) - set(self._tensors)):
            raise self._damaged(f"the tensor {safe(more[0], 60)} is not one of the run")

    def settings(self) -> Run:
        """Returns the settings of the run.

        Raises:
          ValueError: they are of another version of genjax.
        """
        try:
            return run_from_json(self.metadata["config"])
        except ValueError as error:
            raise ValueError(
                f"the settings in {safe(self.path)}, written by genjax {self.metadata['genjax']},"
                f" cannot be read by {__version__} ({safe(str(error).rstrip('.'), 200)}); use that"
                f" version."
            ) from None

    def record(self) -> dict[str, Any]:
        """Returns the record of the run."""
        return self.metadata["record"]

    def data(self) -> dict[str, Any]:
        """Returns name, checksum and number of examples of the data."""
        return self.metadata["data"]

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer of the captions.

        Raises:
          ValueError: the run has none.
        """
        values = self.metadata["tokenizer"]
        if values is None:
            raise ValueError(f"{safe(self.path)} has no tokenizer; give a run on captions.")
        return tokenizer_from_json(values)

    def variables(self) -> dict[str, Any]:
        """Returns the variables of the run to evaluate and sample with, in its own dtypes."""
        tree: dict[str, Any] = {}
        for name in self.metadata["empty"]:
            _put(tree, name, {})
        for name, array in self._tensors.items():
            _put(tree, name, jnp.asarray(array, self.metadata["leaves"][name][1]))
        return tree

    def output(self, name: str) -> pathlib.Path:
        """Returns the file or folder of a command's output: in the current folder."""
        return pathlib.Path(f"{self.name}-{name}")

    def _checked(self, body: str) -> Any:
        try:
            values = parse_json(body)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        number = values.get("format")
        if isinstance(number, int) and number > FORMAT:
            raise ValueError(
                f"{safe(self.path)} has format {number}, and genjax {__version__} reads formats up"
                f" to {FORMAT}; upgrade genjax to {safe(values.get('genjax'), 20)} or later."
            )
        if values.get("checksum") != _checksum(values):
            raise self._damaged("the checksum of the metadata differs")
        try:
            check_entries(values, Metadata)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        return values

    def _tensor(
        self, name: str, shape: list[int], crc: int, tensors: Mapping[str, Any]
    ) -> np.ndarray:
        found = tensors.get(name)
        if found is None or list(found["shape"]) != shape:
            raise self._damaged(f"the tensor {name} is missing, or has another shape")
        stored = _DTYPES.get(found["dtype"])
        if stored is None or zlib.crc32(found["data"]) != crc:
            raise self._damaged(f"the checksum of {name} differs")
        return np.frombuffer(found["data"], stored).reshape(shape)

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(
            f"{safe(self.path)} is damaged ({reason}); copy or download it again, or export the"
            f" run again."
        )


def write_weights(
    path: str | os.PathLike,
    run: Run,
    variables: Mapping[str, Any],
    record: Mapping[str, Any],
    data: Mapping[str, Any] | None,
    tokenizer: Tokenizer | None = None,
    *,
    rounding: Rounding = "float32",
    rounded_figure: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """Writes the weights of a finished run; paths in settings and record become names.

    Args:
      path: of the file, which ends in .safetensors.
      run: settings.
      variables: to evaluate with, as `genjax.train.load` returns them.
      record: of the run.
      data: its data.json.
      tokenizer: of its captions.
      rounding: dtype of floating-point tensors in the file.
      rounded_figure: see `Metadata`.

    Raises:
      ValueError: the name has another ending, or a value is not finite in the dtype.
    """
    path = pathlib.Path(path)
    check_suffix(path)
    flat = {name: np.asarray(leaf) for name, leaf in leaves(variables).items()}
    stored = {name: rounded(leaf, rounding, name) for name, leaf in flat.items()}
    values: dict[str, Any] = {
        "format": FORMAT,
        "genjax": __version__,
        "config": _portable(to_json(run)),
        "record": _portable(plain(dict(record))),
        "data": {"name": dataset_name(run.data.data), **(data or {})},
        "tokenizer": None if tokenizer is None else tokenizer_to_json(tokenizer),
        "rounding": rounding,
        "leaves": {
            name: [list(leaf.shape), leaf.dtype.name, zlib.crc32(stored[name].tobytes())]
            for name, leaf in flat.items()
        },
        "empty": _empty(variables),
    }
    if rounded_figure is not None:
        values["rounded_figure"] = plain(dict(rounded_figure))
    values["checksum"] = _checksum(values)
    body = json.dumps(values, sort_keys=True, allow_nan=False)
    import safetensors.numpy

    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, safetensors.numpy.save(stored, {ENTRY: body}))
    return path


def check_suffix(path: pathlib.Path) -> None:
    """Checks that the name of a weights file has the right ending.

    Raises:
      ValueError: it has another one.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{safe(path)} does not end in {SUFFIX}; give a name that does.")


def rounded(leaf: np.ndarray, rounding: Rounding, name: str = "a leaf") -> np.ndarray:
    """Returns a floating-point array in another dtype, rounded to nearest; others unchanged.

    Raises:
      ValueError: the dtype is unknown, or a finite value is not finite in it.
    """
    checks.one_of(get_args(Rounding), dtype=rounding)
    leaf = np.asarray(leaf, order="C")
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    with np.errstate(over="ignore"):
        out = leaf.astype(jnp.dtype(rounding))
    if (np.isfinite(leaf) & ~np.isfinite(out.astype(np.float32))).any():
        largest = np.abs(leaf[np.isfinite(leaf)]).max()
        raise ValueError(
            f"{name} has the value {largest:.3g}, which {rounding} cannot hold; use bfloat16 or"
            f" float32."
        )
    return out


def rounded_variables(variables: Any, rounding: Rounding) -> Any:
    """Returns variables as they are read from a file with this rounding."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(rounded(np.asarray(leaf), rounding), leaf.dtype), variables
    )


_DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "BOOL": np.bool_,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
}


def _checksum(values: Mapping[str, Any]) -> str:
    """Returns the CRC-32 of all entries but `checksum`."""
    rest = {name: value for name, value in values.items() if name != "checksum"}
    return f"{zlib.crc32(json.dumps(rest, sort_keys=True).encode()):08x}"


def _portable(values: Any) -> Any:
    """Returns JSON values with absolute paths replaced by their last names."""
    if isinstance(values, dict):
        return {name: _portable(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_portable(value) for value in values]
    absolute = isinstance(values, str) and "\n" not in values and os.path.isabs(values)
    return dataset_name(values) if absolute else values


def _empty(tree: Any, prefix: str = "") -> list[str]:
    """Returns the names of dicts without entries."""
    found = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found += _empty(value, f"{prefix}{name}.") if value else [f"{prefix}{name}"]
    return found


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value
