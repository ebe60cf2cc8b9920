"""Weights files: what they hold, how they round, and messages about damaged ones."""

import dataclasses
import json
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from support.folders import make_record
from support.small import small_run

from genjax import families
from genjax.data.tokenizers import train_tokenizer
from genjax.train import weights_file
from genjax.train.weights_file import WeightsFile, write_weights

WORDS = train_tokenizer("words", ["one two", "three"])


def example(name="nade", **values):
    """Settings, variables and record of a run that was not trained."""
    run = small_run(name, "bars.npz", **values)
    family = families.get(name)
    shapes = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = {"f": lambda s: rng.normal(size=s), "i": lambda s: rng.integers(-9, 9, s)}
    variables = jax.tree.map(
        lambda x: np.asarray(draw[jnp.dtype(x.dtype).kind](x.shape), x.dtype), shapes
    )
    return run, variables, make_record(run)


def write(path, name="nade", **options):
    run, variables, record = example(name)
    data = {"checksum": "1234abcd", "examples": {"train": 3}}
    write_weights(path, run, variables, record, data, **options)
    return run, variables, record


def name_of(run):
    return {"name": run.data.data.removesuffix(".npz")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def error_of(path):
    """One line about a damaged file, "" for a whole one."""
    try:
        WeightsFile(path)
    except ValueError as error:
        return str(error)
    return ""


def test_holds_everything_of_a_run(path):
    run, variables, record = write(path, "joint_embedding", tokenizer=WORDS)
    found = WeightsFile(path)
    chex.assert_trees_all_equal(found.variables(), variables)
    assert found.settings() == run
    assert found.record() == json.loads(json.dumps(record))
    assert found.data() == {**name_of(run), "checksum": "1234abcd", "examples": {"train": 3}}
    assert found.tokenizer() == WORDS
    data = path.read_bytes()
    write(path, "joint_embedding", tokenizer=WORDS)
    assert path.read_bytes() == data
    write(path)
    with pytest.raises(ValueError, match="has no tokenizer"):
        WeightsFile(path).tokenizer()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounds_to_nearest_and_keeps_integers(path, dtype):
    run, variables, record = example()
    counts = np.arange(-3, 3, dtype=np.int32)
    variables["params"]["large"] = np.random.default_rng(0).normal(size=9999).astype(np.float32)
    variables["buffers"] = {"counts": counts}
    write_weights(path, run, variables, record, None, rounding=dtype)
    assert path.stat().st_size < 9999 * 3
    read = WeightsFile(path).variables()
    bits = {"float16": 11, "bfloat16": 8}[dtype]
    kinds = set()
    for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(variables), strict=True):
        assert a.dtype == b.dtype
        kinds.add(a.dtype.kind)
        if a.dtype.kind == "i":
            assert (a == b).all()
        else:
            assert (abs(a - b) <= abs(b) * 2.0**-bits + 2.0**-25).all()
    assert kinds == {"i", "f"}


def test_rejects_values_that_a_dtype_cannot_hold(path):
    run, variables, record = example()
    variables["params"]["b"] = np.full_like(variables["params"]["b"], 7e4)
    with pytest.raises(ValueError, match=r"params.b has the value 7e\+04, which float16 cannot"):
        write_weights(path, run, variables, record, None, rounding="float16")
    assert not path.exists()
    write_weights(path, run, variables, record, None, rounding="bfloat16")


def test_every_flipped_bit_and_every_truncation_is_found(path):
    write(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(8), *rng.integers(8, header, 60), *rng.integers(header, len(data), 20)]
    before = WeightsFile(path).metadata
    for place in map(int, places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        message = error_of(path)
        if message:
            assert re.match(f"{path} .*(damaged|not the settings|has format)", message), message
        else:  # the header's JSON means the same
            assert WeightsFile(path).metadata == before
            assert place < header
    for size in (0, 5, 100, header, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="is not a safetensors file, or is truncated"):
            WeightsFile(path)


def test_names_what_is_not_a_weights_file(path, monkeypatch):
    with pytest.raises(ValueError, match="there is no file"):
        WeightsFile(path)
    path.write_bytes(b"PK\x03\x04" * 50)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        WeightsFile(path)
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(3, np.float32)}, {"format": "pt"}))
    with pytest.raises(ValueError, match="has tensors, but not the settings of a run"):
        WeightsFile(path)
    monkeypatch.setattr(weights_file, "FORMAT", 2)
    write(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has format 2, and genjax .* reads formats up to 1"):
        WeightsFile(path)
    with pytest.raises(ValueError, match=r"does not end in \.safetensors"):
        write(path.with_suffix(".npz"))


def test_settings_of_another_version_are_named(path):
    run, variables, record = example()
    object.__setattr__(run, "model", dataclasses.make_dataclass("Config", [("newer", int, 1)])())
    write_weights(path, run, variables, record, None)
    with pytest.raises(ValueError, match=r"written by genjax .*cannot be read by .*no setting"):
        WeightsFile(path).settings()


def test_paths_of_the_machine_are_left_out(path):
    run, variables, _ = example()
    settings = dict(data="/home/owner/sets/bars.npz", data_dir="/home/owner")
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, **settings))
    write_weights(path, run, variables, make_record(run), None)
    assert b"owner/" not in path.read_bytes()
    assert WeightsFile(path).settings().data.data == "bars"
