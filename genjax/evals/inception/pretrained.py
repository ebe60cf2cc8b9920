"""Weights of the Inception network from a file; whether they are the standard ones, by their hash.

There is one file that FID means today: `pt_inception-2015-12-05-6726825d.pth`, Google's release of
2015-12-05 as numbers for PyTorch (of mseitzer/pytorch-fid). It is known by its SHA-256; from any
other numbers there is no FID.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.file_io import is_file, reason, show
from genjax.data.npz import read_npz
from genjax.evals.inception.inception_v3 import SIDE, InceptionV3
from genjax.evals.inception.torch_file import MOST, read_torch

STANDARD = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
# Flax's collection and name, and PyTorch's name, of a normalisation's and a layer's numbers.
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
    """The network's numbers.

    variables: Flax collections `params` and `batch_stats`.
    sha256: of the file that they came from.
    """

    variables: Any
    sha256: str

    @property
    def standard(self) -> bool:
        """Whether these are the numbers that FID and the Inception score are defined by."""
        return self.sha256 == STANDARD

    @property
    def name(self) -> str:
        """`inception`, and of other numbers than the standard ones their hash too."""
        return "inception" if self.standard else f"inception_{self.sha256[:8]}"


@functools.cache
def table() -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Names in the file: `{name: (path in the variables, shape in the file)}`."""
    shapes = jax.eval_shape(
        InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    )
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(dict(shapes))[0]:
        keys = tuple(p.key for p in path)
        if keys[0] == "intermediates":
            continue
        name = ".".join([*keys[1:-1], _LEAVES[keys[0], keys[-2], keys[-1]]])
        shape = leaf.shape
        if keys[-1] == "kernel":  # OIHW of a convolution, [out, in] of a layer
            shape = (shape[-1], shape[-2], *shape[:-2])
        found[name] = keys, shape
    return found


def from_tensors(tensors: dict[str, np.ndarray], sha256: str, where: str = "the file") -> Inception:
    """The network from arrays under PyTorch's names.

    Raises:
      ValueError: a name or a shape is not the network's; one sentence.
    """
    wanted = table()
    given = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    for odd, said in ((set(wanted) - set(given), "lacks"), (set(given) - set(wanted), "also has")):
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise ValueError(
                f"{where} {said} {show(min(odd), 60)}{more}: it is not the Inception network of"
                f" 2015-12-05 with 1008 classes."
            )
    variables: dict[str, Any] = {}
    for name, (path, shape) in wanted.items():
        array = given[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(
                f"{where}: {name} is {array.dtype}{list(array.shape)}, and the network has"
                f" float32{list(shape)}."
            )
        if path[-1] == "kernel":
            array = array.transpose(*range(2, array.ndim), 1, 0)
        node = variables
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.asarray(array, jnp.float32)
    return Inception(variables, sha256)


def load_inception(path: str | os.PathLike) -> Inception:
    """The network from a `.pth`, a `.safetensors`, or a `.npz` that `save_inception` wrote.

    Nothing is unpickled. Arrays have PyTorch's names and shapes (`Mixed_5b.branch1x1.conv.weight`).

    Raises:
      ValueError: the file is not there, is damaged, or is not this network; one sentence.
    """
    path = pathlib.Path(path)
    if not is_file(path):
        raise ValueError(
            f"there is no file {show(path)}; get pt_inception-2015-12-05-6726825d.pth, which"
            f" pytorch-fid releases, and name it."
        )
    if path.suffix == ".npz":
        try:
            arrays = read_npz(path)
        except Exception as error:
            raise ValueError(f"{show(path)} cannot be read ({reason(error)}).") from None
        claimed = str(arrays.pop("source_sha256", ""))
        sealed = str(arrays.pop("tensors_sha256", ""))
        # What was written from the standard file stays standard, as long as no number changed.
        whole = re.fullmatch(r"[0-9a-f]{64}", claimed) and sealed == _digest(arrays)
        return from_tensors(arrays, claimed if whole else _sha256(path), show(path))
    if path.suffix == ".safetensors":
        return from_tensors(read_safetensors(path), _sha256(path), show(path))
    return from_tensors(read_torch(path), _sha256(path), show(path))


def save_inception(network: Inception, path: str | os.PathLike) -> None:
    """Write the network as `.npz`; it remembers the hash of the file it came from."""
    arrays = {}
    for name, (keys, _) in table().items():
        node: Any = network.variables
        for key in keys:
            node = node[key]
        array = np.asarray(node)
        if keys[-1] == "kernel":
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        arrays[name] = np.ascontiguousarray(array)
    seal = {"source_sha256": np.array(network.sha256), "tensors_sha256": np.array(_digest(arrays))}
    with pathlib.Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **seal)


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors` file: a length, a JSON header, and the numbers.

    Raises:
      ValueError: it is damaged, or holds a type that is not read.
    """
    kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"it has more than {MOST} bytes")
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        if length > len(data) - 8:
            raise ValueError("its header is cut off")
        body, found = data[8 + length :], {}
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            dtype, shape = np.dtype(kinds[entry["dtype"]]), tuple(entry["shape"])
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= len(body):
                raise ValueError(f"{show(name, 40)} lies outside of the file")
            if stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{show(name, 40)} has another size than its shape")
            array = np.frombuffer(body[start:stop], dtype).reshape(shape)
            found[name] = array.astype(dtype.newbyteorder("="))
        return found
    except Exception as error:  # json, numpy and dict raise their own kinds
        raise ValueError(f"{show(path)} is no whole safetensors file ({reason(error)}).") from None


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and numbers."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
