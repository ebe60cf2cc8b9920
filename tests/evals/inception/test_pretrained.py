"""Weight files: layouts, hashes, error messages; reading one executes nothing in it."""

import contextlib
import io
import json
import pathlib
import pickle
import re
import sys
import types
import zipfile

import numpy as np
import pytest
from support.inception_numbers import random_tensors

from genjax.evals.inception import load_inception, pretrained, save_inception
from genjax.evals.inception.torch_file import read_torch

# Both were written by torch 2.13.0 (torch.save of an OrderedDict with a _metadata attribute).
HERE = pathlib.Path(__file__).parent
LAYOUTS = [HERE / "zip.pth", HERE / "stream.pth"]


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_reads_both_layouts_of_pytorch(path):
    result = read_torch(path)
    assert list(result) == ["a.weight", "a.half", "b.view", "b.transposed", "n.num_batches_tracked"]
    np.testing.assert_array_equal(result["a.weight"], np.arange(24.0).reshape(2, 3, 2, 2))
    assert result["a.weight"].dtype == np.float32
    np.testing.assert_array_equal(result["a.half"], np.array([0.5, -2], np.float16))
    np.testing.assert_array_equal(result["b.view"], [3, 4, 5, 6])  # from the middle of a storage
    np.testing.assert_array_equal(result["b.transposed"], np.arange(6.0).reshape(2, 3).T)
    assert result["n.num_batches_tracked"] == 7


@pytest.fixture
def torch_names(monkeypatch):
    """Stand-ins for PyTorch's classes and functions, pickled under their names."""
    result = types.SimpleNamespace()
    for name in ("torch", "torch._utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for module, name in (("torch", "FloatStorage"), ("torch", "CharStorage")):
        kind = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, kind)
        setattr(result, name, kind)

    def rebuild(*arguments):
        raise AssertionError("the file was executed")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    sys.modules["torch._utils"]._rebuild_tensor_v2 = result.rebuild = rebuild
    return result


class Reduced:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stored(tuple):
    """Pickles as a reference to a storage."""


def archive(table, data=b"\0" * 16, members=(), compress=zipfile.ZIP_STORED):
    """Returns the bytes of a file in PyTorch's zip layout whose pickle holds `table`."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return tuple(value) if isinstance(value, Stored) else None

    raw, out = io.BytesIO(), io.BytesIO()
    Pickler(raw, 2).dump(table)
    with zipfile.ZipFile(out, "w", compress) as file:
        file.writestr("archive/data.pkl", raw.getvalue())
        file.writestr("archive/data/0", data)
        for name, text in members:
            file.writestr(name, text)
    return out.getvalue()


def error_of(tmp_path, data):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read as a PyTorch state dict") as error:
        read_torch(path)
    assert str(error.value).count("\n") == 0
    return str(error.value)


def test_reads_a_state_dict_written_by_hand(tmp_path, torch_names):
    storage = Stored(("storage", torch_names.FloatStorage, "0", "cpu", 4))
    tensor = Reduced(torch_names.rebuild, storage, 1, (3,), (1,), False, {})
    path = tmp_path / "w.pth"
    path.write_bytes(archive({"x": tensor}, np.arange(4, dtype="<f4").tobytes()))
    np.testing.assert_array_equal(read_torch(path)["x"], [1, 2, 3])


def test_nothing_is_executed(tmp_path):
    target = tmp_path / "touched"
    for call, name in (
        (Reduced(pathlib.Path.touch, target), "getattr"),
        (Reduced(exec, f"open({str(target)!r}, 'w')"), "exec"),
        (Reduced(__import__("os").system, f"touch {target}"), "system"),
    ):
        message = error_of(tmp_path, archive({"x": call}))
        pattern = rf"imports \S+\.{name}, which a state dict does not need; nothing was executed"
        assert re.search(pattern, message)
        stream = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
        stream += pickle.dumps({"little_endian": True}, 2) + pickle.dumps({"x": call}, 2)
        assert re.search(pattern, error_of(tmp_path, stream))
        assert re.search(pattern, error_of(tmp_path, archive({"x": 0, "y": [call]})))
    assert not target.exists()
    # Control: `pickle.loads` executes it.
    pickle.loads(pickle.dumps(Reduced(pathlib.Path.touch, target)))
    assert target.exists()


def test_rejects_inconsistent_storages(tmp_path, torch_names):
    def made(kind="FloatStorage", key="0", count=4, offset=0, shape=(4,), stride=(1,), data=16):
        storage = Stored(("storage", getattr(torch_names, kind), key, "cpu", count))
        tensor = Reduced(torch_names.rebuild, storage, offset, shape, stride, False, {})
        return error_of(tmp_path, archive({"x": tensor}, b"\0" * data))

    assert "does not fit its storage" in made(shape=(5,))
    assert "does not fit its storage" in made(offset=1)
    assert "does not fit its storage" in made(offset=-1)
    assert "does not fit its storage" in made(shape=(2, 2), stride=(4, 1))
    assert "does not fit its storage" in made(shape=(1000, 1000), stride=(0, 0))
    assert "does not fit its storage" in made(shape=(-2, -2), stride=(1, 1))
    assert "is cut off" in made(data=12)
    assert "invalid key" in made(key="../../etc/passwd")
    assert "torch.CharStorage" in made(kind="CharStorage")
    assert "unsupported type" in made(count=2**40)
    message = error_of(tmp_path, archive({"x": 1}, compress=zipfile.ZIP_DEFLATED))
    assert "member of the archive is compressed" in message
    assert "big-endian" in error_of(tmp_path, archive({}, members=[("archive/byteorder", "big")]))
    assert "exactly one data.pkl" in error_of(tmp_path, archive({}, members=[("b/data.pkl", "x")]))
    assert "not a tensor but int" in error_of(tmp_path, archive({"x": 1}))
    assert "not a dict of tensors" in error_of(tmp_path, archive([1]))


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_rejects_damaged_files(tmp_path, path):
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for length in [*range(0, len(whole) - 60, 37)]:
        error_of(tmp_path, whole[:length])
    other = tmp_path / "flipped.pth"
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        other.write_bytes(damaged)
        # A flipped bit in an array is not detected, one in the structure is an error.
        with contextlib.suppress(ValueError):
            read_torch(other)


@pytest.fixture(scope="module")
def tensors():
    return random_tensors({name: shape for name, (_, shape) in pretrained.table().items()})


def test_rejects_other_names_and_shapes(tensors):
    first = "Conv2d_1a_3x3.bn.bias"
    with pytest.raises(ValueError, match=rf"the file lacks {first}: it is not the Inception"):
        pretrained.from_tensors({k: v for k, v in tensors.items() if k != first}, "")
    more = {**tensors, "AuxLogits.fc.bias": np.zeros(3), "AuxLogits.fc.weight": np.zeros(3)}
    with pytest.raises(ValueError, match=r"has the unknown array AuxLogits.fc.bias and 1 more"):
        pretrained.from_tensors(more, "")
    # torchvision's network has 1000 classes.
    with pytest.raises(ValueError, match=r"fc.bias is float32\[1000\], and must be .*1008"):
        pretrained.from_tensors({**tensors, "fc.bias": tensors["fc.bias"][:1000]}, "")
    with pytest.raises(ValueError, match=r"fc.bias is int64\[1008\]"):
        pretrained.from_tensors({**tensors, "fc.bias": np.zeros(1008, np.int64)}, "")
    counted = {**tensors, "Mixed_5b.branch1x1.bn.num_batches_tracked": np.int64(0)}
    result = pretrained.from_tensors(counted, "ab" * 32)
    np.testing.assert_array_equal(
        result.variables["params"]["Mixed_6b"]["branch7x7_2"]["conv"]["kernel"],
        tensors["Mixed_6b.branch7x7_2.conv.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        result.variables["params"]["fc"]["kernel"], tensors["fc.weight"].T
    )
    assert (result.standard, result.name) == (False, "inception_abababab")


def test_npz_keeps_the_hash_of_its_source_while_unchanged(tensors, tmp_path):
    standard = pretrained.from_tensors(tensors, pretrained.STANDARD)
    assert standard.standard
    path = tmp_path / "w.npz"
    save_inception(standard, path)
    again = load_inception(path)
    assert again.standard
    for name, (keys, _) in pretrained.table().items():
        a, b = standard.variables, again.variables
        for key in keys:
            a, b = a[key], b[key]
        np.testing.assert_array_equal(a, b, err_msg=name)
    # A changed file is identified by its own hash.
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    arrays["fc.bias"][5] += 1e-3
    np.savez(path, allow_pickle=False, **arrays)
    assert not load_inception(path).standard
    np.savez(path, allow_pickle=False, **tensors)  # without hashes
    assert not load_inception(path).standard
    arrays["fc.bias"] = np.array([object()] * 1008)
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=r"w\.npz cannot be read .*Python objects"):
        load_inception(path)


def small(monkeypatch):
    """Replaces the network's table of arrays by that of the small files."""
    table = {
        "a.weight": (("params", "a", "conv", "kernel"), (2, 3, 2, 2)),
        "a.half": (("params", "a", "bn", "scale"), (2,)),
        "b.view": (("params", "b", "bn", "bias"), (4,)),
        "b.transposed": (("params", "fc", "kernel"), (3, 2)),
    }
    monkeypatch.setattr(pretrained, "table", lambda: table)


def test_pth_is_converted_to_variables(monkeypatch):
    small(monkeypatch)
    result = load_inception(LAYOUTS[0])
    kernel = result.variables["params"]["a"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, np.arange(24.0).reshape(2, 3, 2, 2).transpose(2, 3, 1, 0))
    assert result.variables["params"]["a"]["bn"]["scale"].dtype == np.float32
    assert (len(result.sha256), result.standard) == (64, False)
    # The standard file is identified by its hash only.
    monkeypatch.setattr(pretrained, "STANDARD", result.sha256)
    assert result.standard
    assert not load_inception(LAYOUTS[1]).standard


def test_reads_safetensors(monkeypatch, tmp_path):
    small(monkeypatch)
    arrays, header, body = read_torch(LAYOUTS[0]), {"__metadata__": {"format": "pt"}}, b""
    kinds = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
    for name, x in arrays.items():
        raw = np.ascontiguousarray(x).tobytes()
        place = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": kinds[str(x.dtype)], "shape": list(x.shape), "data_offsets": place}
        body += raw

    def write(header):
        text = json.dumps(header).encode()
        path = tmp_path / "w.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)
        return path

    result, want = load_inception(write(header)), load_inception(LAYOUTS[0])
    for keys, _ in pretrained.table().values():
        a, b = result.variables, want.variables
        for key in keys:
            a, b = a[key], b[key]
        np.testing.assert_array_equal(a, b)
    for wrong in (
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**6]},
        {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]},
    ):
        with pytest.raises(ValueError, match="is not a valid safetensors file"):
            load_inception(write({**header, "a.half": wrong}))


def test_rejects_missing_files_and_other_networks(tmp_path):
    with pytest.raises(
        ValueError, match=r"there is no file .*download pt_inception-2015-12-05-6726825d"
    ):
        load_inception(tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"zip\.pth lacks Conv2d_1a_3x3\.bn\.bias and 471 more"):
        load_inception(LAYOUTS[0])
