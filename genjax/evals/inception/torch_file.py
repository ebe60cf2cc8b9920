"""Reads the tensors of a PyTorch file without unpickling it.

Unpickling a `.pth` may execute arbitrary code. Here the instructions are interpreted with
`pickletools.genops` on a stack of inert values: names are never imported, and only the two calls of
a state dict are supported. Both layouts are read: zip (PyTorch 1.6 and later) and stream.
"""

import dataclasses
import io
import math
import pathlib
import pickletools
import zipfile
from typing import Any

import numpy as np

from genjax.data.file_io import error_reason, safe

MAX_BYTES = 2**30  # of a file
_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the stream layout
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "|u1",
}
_GLOBALS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    *(("torch", name) for name in _DTYPES),
}


@dataclasses.dataclass(frozen=True)
class _Name:
    """A global name in the pickle, not imported."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


_MARK = object()


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, `{name: array}`.

    Raises:
      ValueError: the file is damaged, or is not a state dict.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        data = path.read_bytes()
        table, storages = _zip(data) if data[:2] == b"PK" else _stream(data)
        if not all(isinstance(name, str) for name in table):
            raise ValueError("the name of a tensor is not a string")
        return {name: _array(tensor, storages) for name, tensor in table.items()}
    except Exception as error:  # pickletools, zipfile and struct raise many types
        raise ValueError(
            f"{safe(path)} cannot be read as a PyTorch state dict ({error_reason(error)}); save one"
            f" with torch.save(model.state_dict(), FILE)."
        ) from None


def _zip(data: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {m.filename: m for m in archive.infolist()}
        if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            raise ValueError("a member of the archive is compressed")
        tables = [name for name in members if name.endswith("/data.pkl")]
        if len(tables) != 1:
            raise ValueError("the archive does not have exactly one data.pkl")
        root = tables[0].removesuffix("data.pkl")
        if members.get(root + "byteorder") and archive.read(root + "byteorder") != b"little":
            raise ValueError("its arrays are big-endian")
        table = _table(io.BytesIO(archive.read(tables[0])))
        keys = {t.storage.key for t in table.values() if isinstance(t, _Tensor)}
        return table, {key: archive.read(f"{root}data/{key}") for key in sorted(keys)}


def _stream(data: bytes) -> tuple[Any, dict[str, bytes]]:
    file = io.BytesIO(data)
    if _run(file) != _MAGIC:
        raise ValueError("it does not begin like a PyTorch file")
    _run(file)  # version of the layout
    system = _run(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its arrays are not little-endian")
    table = _table(file)
    sizes = {t.storage.key: t.storage for t in table.values() if isinstance(t, _Tensor)}
    storages = {}
    for key in _run(file):
        if key not in sizes:
            raise ValueError("it has a storage that no tensor uses")
        count = int.from_bytes(file.read(8), "little")
        if count != sizes[key].count:
            raise ValueError(f"storage {safe(key, 20)} has another length than its tensor states")
        storages[key] = file.read(count * np.dtype(sizes[key].dtype).itemsize)
    return table, storages


def _table(file: io.BytesIO) -> dict[Any, Any]:
    table = _run(file)
    if not isinstance(table, dict):
        raise ValueError("it is not a dict of tensors")
    return table


def _array(tensor: Any, storages: dict[str, bytes]) -> np.ndarray:
    """Returns one tensor as an array, after checking that it fits its storage."""
    if not isinstance(tensor, _Tensor):
        raise ValueError(f"an entry is not a tensor but {type(tensor).__name__}")
    dtype, raw = np.dtype(tensor.storage.dtype), storages.get(tensor.storage.key, b"")
    if len(raw) != tensor.storage.count * dtype.itemsize:
        raise ValueError(f"storage {safe(tensor.storage.key, 20)} is cut off")
    shape, stride = tensor.shape, tensor.stride
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    inside = min((*shape, *stride, tensor.offset), default=0) >= 0 and math.prod(shape) > 0
    if not inside or last >= tensor.storage.count or math.prod(shape) > tensor.storage.count:
        raise ValueError(f"a tensor of shape {safe(shape, 40)} does not fit its storage")
    flat = np.frombuffer(raw, dtype)[tensor.offset :]
    steps = tuple(s * dtype.itemsize for s in stride)
    view = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
    return view.astype(dtype.newbyteorder("="))


def _run(file: io.BytesIO) -> Any:
    """Interprets one pickle up to its STOP, with inert names for globals."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = max(i for i, value in enumerate(stack) if value is _MARK)
        values = stack[at + 1 :]
        del stack[at:]
        return values

    argument: Any
    for operation, argument, _ in pickletools.genops(file):
        code = operation.name
        if code in ("PROTO", "FRAME"):
            continue
        if code == "STOP":
            return stack.pop()
        if code in _VALUES:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code == "MARK":
            stack.append(_MARK)
        elif code in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if code == "EMPTY_DICT" else [])
        elif code == "TUPLE":
            stack.append(tuple(since_mark()))
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(code[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif code in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif code == "GLOBAL":
            stack.append(_global(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_global(module, name))
        elif code == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif code == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif code in ("SETITEM", "SETITEMS"):
            values = since_mark() if code == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(values[::2], values[1::2], strict=True))
        elif code in ("APPEND", "APPENDS"):
            values = since_mark() if code == "APPENDS" else [stack.pop()]
            stack[-1].extend(values)
        elif code == "BUILD":
            stack.pop()  # attributes of the dict, such as _metadata
            if not isinstance(stack[-1], dict):
                raise ValueError("it sets attributes of a value that is not a dict")
        else:
            raise ValueError(f"its pickle uses {code}, which a state dict does not need")
    raise ValueError("its pickle has no STOP")


_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("SHORT_BINSTRING", "BINSTRING"),
}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def _global(module: Any, name: Any) -> _Name:
    if (module, name) not in _GLOBALS:
        raise ValueError(
            f"its pickle imports {safe(module, 40)}.{safe(name, 40)}, which a state dict does not"
            f" need; nothing was executed"
        )
    return _Name(module, name)


def _storage(saved: Any) -> _Storage:
    if not isinstance(saved, tuple) or len(saved) not in (5, 6) or saved[0] != "storage":
        raise ValueError("a reference is not a storage")
    kind, key, count = saved[1], saved[2], saved[4]
    view = saved[5] if len(saved) == 6 else None
    valid = isinstance(count, int) and 0 <= count <= MAX_BYTES and view is None
    if not isinstance(kind, _Name) or kind.name not in _DTYPES or not valid:
        raise ValueError("a storage has an unsupported type")
    if not isinstance(key, str) or not key.isalnum():
        raise ValueError("a storage has an invalid key")
    return _Storage(key, _DTYPES[kind.name], count)


def _call(function: Any, arguments: Any) -> Any:
    """Returns the value of the two calls in a state dict: OrderedDict and a tensor."""
    if function == _Name("collections", "OrderedDict") and arguments in ((), ([],)):
        return {}
    if function == _Name("torch._utils", "_rebuild_tensor_v2") and len(arguments) >= 4:
        storage, offset, shape, stride = arguments[:4]
        numbers = (offset, *shape, *stride)
        if isinstance(storage, _Storage) and all(isinstance(n, int) for n in numbers):
            return _Tensor(storage, offset, tuple(shape), tuple(stride))
    raise ValueError("its pickle makes a call that a state dict does not need")
