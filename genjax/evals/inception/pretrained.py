"""Reads and writes weights of the Inception network.

FID is defined by one file: `pt_inception-2015-12-05-6726825d.pth`, Google's release of 2015-12-05
converted to PyTorch (mseitzer/pytorch-fid). It is identified by its SHA-256.
"""

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.file_io import error_reason, is_file, safe
from genjax.data.json_files import parse_json
from genjax.data.npz import read_npz
from genjax.evals.inception.inception_v3 import SIDE, InceptionV3
from genjax.evals.inception.torch_file import MAX_BYTES, read_torch

STANDARD = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
# Flax's collection, module and name of an array -> PyTorch's name.
_LEAVES = {
    ("params", "bn", "scale"): "weight",
    ("params", "bn", "bias"): "bias",
    ("batch_stats", "bn", "mean"): "running_mean",
    ("batch_stats", "bn", "var"): "running_var",
    ("params", "conv", "kernel"): "weight",
    ("params", "fc", "kernel"): "weight",
    ("params", "fc", "bias"): "bias",
}


@dataclasses.dataclass(frozen=True)
class Inception:
    """Flax collections of the network, and the SHA-256 of the file they were read from."""

    variables: Any
    sha256: str

    @property
    def standard(self) -> bool:
        """Whether these are the weights that define FID and the Inception score."""
        return self.sha256 == STANDARD

    @property
    def name(self) -> str:
        """`inception`, followed by the hash if the weights are not the standard ones."""
        return "inception" if self.standard else f"inception_{self.sha256[:8]}"


@functools.cache
def table() -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns the arrays of a file, `{name: (path in the variables, shape in the file)}`."""
    shapes = jax.eval_shape(
        InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    )
    arrays = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(dict(shapes))[0]:
        keys = tuple(p.key for p in path)
        if keys[0] == "intermediates":
            continue
        name = ".".join([*keys[1:-1], _LEAVES[keys[0], keys[-2], keys[-1]]])
        shape = leaf.shape
        if keys[-1] == "kernel":  # OIHW of a convolution, [out, in] of a dense layer
            shape = (shape[-1], shape[-2], *shape[:-2])
        arrays[name] = keys, shape
    return arrays


def from_tensors(tensors: dict[str, np.ndarray], sha256: str, where: str = "the file") -> Inception:
    """Builds the network from arrays with PyTorch's names; `where` names their file in errors.

    Raises:
      ValueError: a name or a shape is not the network's.
    """
    expected = table()
    given = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    missing, unknown = set(expected) - set(given), set(given) - set(expected)
    for names, verb in ((missing, "lacks"), (unknown, "has the unknown array")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"{where} {verb} {safe(min(names), 60)}{more}: it is not the Inception network of"
                f" 2015-12-05 with 1008 classes; use pt_inception-2015-12-05-6726825d.pth."
            )
    variables: dict[str, Any] = {}
    for name, (path, shape) in expected.items():
        array = given[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(
                f"{where}: {name} is {array.dtype}{list(array.shape)}, and must be"
                f" float32{list(shape)}; use pt_inception-2015-12-05-6726825d.pth."
            )
        if path[-1] == "kernel":
            array = array.transpose(*range(2, array.ndim), 1, 0)
        node = variables
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.asarray(array, jnp.float32)
    return Inception(variables, sha256)


def load_inception(path: str | os.PathLike) -> Inception:
    """Reads the network from a `.pth`, a `.safetensors`, or a `.npz` of `save_inception`.

    Nothing is unpickled. Arrays have PyTorch's names and shapes (`Mixed_5b.branch1x1.conv.weight`).

    Raises:
      ValueError: the file does not exist, is damaged, or is not this network.
    """
    path = pathlib.Path(path)
    if not is_file(path):
        raise ValueError(
            f"there is no file {safe(path)}; download pt_inception-2015-12-05-6726825d.pth, a"
            f" release of pytorch-fid, and pass its path."
        )
    if path.suffix == ".npz":
        try:
            arrays = read_npz(path)
        except Exception as error:
            raise ValueError(f"{safe(path)} cannot be read ({error_reason(error)}).") from None
        source = str(arrays.pop("source_sha256", ""))
        digest = str(arrays.pop("tensors_sha256", ""))
        # A copy of the standard file stays standard as long as no value changes.
        intact = re.fullmatch(r"[0-9a-f]{64}", source) and digest == _digest(arrays)
        return from_tensors(arrays, source if intact else _sha256(path), safe(path))
    read = read_safetensors if path.suffix == ".safetensors" else read_torch
    return from_tensors(read(path), _sha256(path), safe(path))


def save_inception(network: Inception, path: str | os.PathLike) -> None:
    """Writes the network as `.npz`, with the hash of the file it was read from."""
    arrays = {}
    for name, (keys, _) in table().items():
        node: Any = network.variables
        for key in keys:
            node = node[key]
        array = np.asarray(node)
        if keys[-1] == "kernel":
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        arrays[name] = np.ascontiguousarray(array)
    hashes = {
        "source_sha256": np.array(network.sha256),
        "tensors_sha256": np.array(_digest(arrays)),
    }
    with pathlib.Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **hashes)


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.safetensors` file: header length, JSON header, data."""
    dtypes = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        if length > len(data) - 8:
            raise ValueError("its header is cut off")
        body, tensors = data[8 + length :], {}
        for name, entry in parse_json(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            dtype, shape = np.dtype(dtypes[entry["dtype"]]), tuple(entry["shape"])
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= len(body):
                raise ValueError(f"{safe(name, 40)} is outside the file")
            if stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{safe(name, 40)} has a size that does not match its shape")
            array = np.frombuffer(body[start:stop], dtype).reshape(shape)
            tensors[name] = array.astype(dtype.newbyteorder("="))
        return tensors
    except Exception as error:  # json, numpy and dict raise many types
        raise ValueError(
            f"{safe(path)} is not a valid safetensors file ({error_reason(error)}); download it"
            f" again."
        ) from None


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Computes the SHA-256 of names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
