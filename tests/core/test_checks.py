"""Input validation: rejected values, error messages and edge cases."""

import dataclasses
import errno
import functools
import math
import re
import typing
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import checks


def spec(size):
    return {
        "x": jax.ShapeDtypeStruct((size, 3, 2), jnp.float32),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
    }


GOOD = {"x": np.zeros((4, 3, 2), np.float32), "label": np.zeros(4, np.int32)}
check_batch = functools.partial(checks.batch, "nade", spec_of=spec)


def test_describe():
    assert checks.describe(jnp.zeros((4, 9))) == "float32[4, 9]"
    assert checks.describe(np.zeros((), np.uint8)) == "uint8[]"
    assert checks.describe(jax.ShapeDtypeStruct((2,), jnp.bfloat16)) == "bfloat16[2]"
    assert checks.describe([1.0]) == "list"
    assert checks.describe(1.5) == "float"


@pytest.mark.parametrize("size", [0, 1, 4])
def test_batch_accepts_any_size(size):
    check_batch(spec(size))  # shapes suffice
    check_batch({k: np.zeros(v.shape, v.dtype) for k, v in spec(size).items()})
    check_batch({**spec(size), "extra": 1.0})  # additional entries are allowed


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (GOOD["x"], r"nade: a batch must be a dict with \['label', 'x'\], got float32\[4, 3, 2\]"),
        ((GOOD["x"], GOOD["label"]), r"must be a dict.*got tuple; pass \{'x': array\}"),
        ({"x": GOOD["x"]}, r"the batch lacks \['label'\].*see nade.batch_spec"),
        ({}, r"the batch lacks \['label', 'x'\]"),
        (
            {**GOOD, "x": np.zeros((4, 6), np.float32)},
            r"batch\['x'\] must be float32\[4, 3, 2\], got float32",
        ),
        ({**GOOD, "x": np.zeros((4, 2, 3), np.float32)}, "reshape it, or set the Config's shape"),
        (
            {**GOOD, "label": np.zeros(3, np.int32)},
            r"batch\['label'\] must be int32\[4\], got int32\[3",
        ),
        ({**GOOD, "label": 7}, r"batch\['label'\] must be int32\[4\], got int;"),
        ({**GOOD, "x": GOOD["x"].astype(jnp.uint8)}, r"cast it with .astype\('float32'\)"),
        ({**GOOD, "label": np.zeros(4, np.float32)}, r"cast it with .astype\('int32'\)"),
    ],
)
def test_batch_rejects_other_names_shapes_and_dtypes(batch, message):
    with pytest.raises(ValueError, match=message):
        check_batch(batch)


def test_batch_is_checked_inside_jit():
    assert float(jax.jit(lambda b: (check_batch(b), b["x"].sum())[1])(GOOD)) == 0
    with pytest.raises(ValueError, match="reshape it"):
        jax.eval_shape(lambda b: check_batch(b), {**GOOD, "x": GOOD["x"][:, :, 0]})


def test_events():
    for dtype in (np.float32, np.float64):  # float64 for tests of densities
        checks.events("vae", np.zeros((5, 3, 2), dtype), (3, 2))
    checks.events("vae", jax.ShapeDtypeStruct((0, 9), jnp.float32), (9,))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.zeros((3, 2), np.float32),
            r"x must be float32\[B, 3, 2\], got float32\[3, 2\]; reshape",
        ),
        (np.zeros((5, 2, 3), np.float32), "or set the Config's shape to fit"),
        (np.zeros((5, 6), np.float32), "reshape it"),
        ([[0.0]], "got list"),
        (np.zeros((5, 3, 2), np.uint8), r"got uint8\[5, 3, 2\]; cast it with .astype\('float32'\)"),
        (jnp.zeros((5, 3, 2), jnp.bfloat16), "got bfloat16"),
    ],
)
def test_events_rejects_other_shapes_and_dtypes(x, message):
    with pytest.raises(ValueError, match=f"vae: .*{message}"):
        checks.events("vae", x, (3, 2))


def test_same_shape():
    checks.same_shape("f", a=jnp.zeros((2, 3)), b=np.zeros((2, 3)), c=jnp.ones((2, 3), jnp.int8))
    message = r"f: .* same shape, got a float32\[2, 3\], b float32\[3\]; broadcast them first"
    with pytest.raises(ValueError, match=message):
        checks.same_shape("f", a=jnp.zeros((2, 3)), b=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"c float32\[2, 1\]"):  # the last is compared too
        checks.same_shape("f", a=jnp.zeros((2, 3)), b=jnp.zeros((2, 3)), c=jnp.zeros((2, 1)))


def test_batched():
    checks.batched("f", a=jnp.zeros(1), b=np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"f: b needs a leading batch axis, got a scalar; use b\["):
        checks.batched("f", a=jnp.zeros(1), b=jnp.zeros(()))
    with pytest.raises(ValueError, match="got a scalar"):
        checks.batched("f", a=1.0)


@pytest.mark.parametrize("value", [1, 1e-9, (1, 2), [3]])
def test_positive_accepts(value):
    checks.positive(value=value)


@pytest.mark.parametrize("value", [0, -1, math.nan, (1, 0), (2, -1), [math.nan], ()])
def test_positive_rejects(value):
    """NaN fails every comparison, so `value <= 0` would accept it."""
    with pytest.raises(ValueError, match=r"^`value` must be positive, got "):
        checks.positive(fine=1, value=value)


def test_not_negative():
    checks.not_negative(a=0, b=0.0, c=2)
    for value in (-1e-9, math.nan):
        with pytest.raises(ValueError, match=r"^`b` must be non-negative, got "):
            checks.not_negative(a=0, b=value)


def test_fraction():
    checks.fraction(a=0, b=0.0, c=0.999)
    for value in (1, -1e-9, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"^`b` must be in \[0, 1\), got "):
            checks.fraction(a=0.5, b=value)


def test_one_of():
    checks.one_of(("adam", "sgd"), optimizer="sgd")
    for value in ("Adam", "", "ada"):  # no case folding, no prefixes
        with pytest.raises(
            ValueError, match=f"^`optimizer` must be one of adam, sgd, got '{value}'"
        ):
            checks.one_of(("adam", "sgd"), optimizer=value)


@dataclasses.dataclass(frozen=True)
class Inner:
    size: checks.PositiveInt = 1

    def __post_init__(self):
        checks.validate(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    steps: checks.PositiveInt = 10
    every: checks.NonNegativeInt = 0
    seed: checks.Seed = 0
    rate: checks.PositiveFloat = 1e-3
    decay: checks.NonNegativeFloat = 0.0
    dropout: checks.UnitInterval = 0.0
    quality: Annotated[int, checks.Bounds(1, 95)] = 95
    share: Annotated[float, checks.Bounds(0, 1, "(")] = 1.0
    levels: Annotated[int, checks.Bounds(2)] = 256
    below: Annotated[float, checks.Bounds(0.5, excluded="(")] = 1.0
    any_number: float = 0.0
    count: int = 0
    limit: checks.PositiveInt | None = None
    hidden: checks.PositiveInts = (500,)
    restarts: tuple[checks.PositiveInt, ...] = ()
    size: tuple[int, float] = (1, 2.0)
    sides: Literal["left", "right"] | None = None
    names: tuple[Literal["csv", "tensorboard"], ...] = ()
    dtype: checks.Dtype = "float32"
    flag: bool = False
    text: str = ""
    inner: Inner = Inner()
    either: Inner | float | None = None
    anything: Any = None

    def __post_init__(self):
        checks.validate(self)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"steps": np.int32(1), "rate": np.float32(0.5), "decay": 1},
        {"seed": 2**32 - 1, "quality": 1, "share": 1, "levels": 2, "dropout": 0.999},
        {"limit": 3, "hidden": (1, 2), "restarts": (5,), "sides": "left", "names": ("csv",)},
        {"either": 0.5},
        {"either": Inner(2)},
        {"anything": object(), "dtype": "bfloat16"},
    ],
)
def test_validate_accepts_values_in_range(fields):
    settings = Settings(**fields)
    assert hash(settings) == hash(Settings(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive integer, got 0."),
        ({"steps": 2.0}, "`steps` must be a positive integer, got 2.0."),
        ({"steps": True}, "`steps` must be a positive integer, got True."),
        ({"steps": None}, "`steps` must be a positive integer, got None."),
        ({"every": -1}, "`every` must be a non-negative integer, got -1."),
        ({"seed": 2**32}, "`seed` must be an integer in [0, 4294967296), got 4294967296."),
        ({"seed": -1}, "`seed` must be an integer in [0, 4294967296), got -1."),
        ({"rate": 0.0}, "`rate` must be a positive number, got 0.0."),
        ({"rate": "0.1"}, "`rate` must be a positive number, got '0.1'."),
        ({"rate": math.nan}, "`rate` must be a finite number, got nan."),
        ({"decay": math.inf}, "`decay` must be a finite number, got inf."),
        ({"decay": -0.1}, "`decay` must be a non-negative number, got -0.1."),
        ({"dropout": 1.0}, "`dropout` must be a number in [0, 1), got 1.0."),
        ({"quality": 96}, "`quality` must be an integer in [1, 95], got 96."),
        ({"share": 0.0}, "`share` must be a number in (0, 1], got 0.0."),
        ({"levels": 1}, "`levels` must be an integer of at least 2, got 1."),
        ({"below": 0.5}, "`below` must be a number above 0.5, got 0.5."),
        ({"any_number": True}, "`any_number` must be a number, got True."),
        ({"count": 0.5}, "`count` must be an integer, got 0.5."),
        ({"limit": 0}, "`limit` must be a positive integer or None, got 0."),
        (
            {"hidden": ()},
            "`hidden` must be a non-empty tuple, each entry a positive integer, got ().",
        ),
        (
            {"hidden": (3, 0)},
            "`hidden` must be a non-empty tuple, each entry a positive integer, got (3, 0).",
        ),
        ({"restarts": [0]}, "`restarts` must be a tuple, each entry a positive integer, got (0,)."),
        ({"size": (1,)}, "`size` must be a tuple of 2 entries: an integer, a number, got (1,)."),
        ({"sides": "up"}, "`sides` must be one of left, right or None, got 'up'."),
        (
            {"names": "csv"},
            "`names` must be a tuple, each entry one of csv, tensorboard, got 'csv'.",
        ),
        ({"names": ("tsv",)}, "each entry one of csv, tensorboard, got ('tsv',)."),
        ({"dtype": "float16"}, "`dtype` must be one of float32, bfloat16, got 'float16'."),
        ({"flag": 1}, "`flag` must be True or False, got 1."),
        ({"text": None}, "`text` must be a string, got None."),
        ({"inner": 3}, "`inner` must be Inner(...), got 3."),
        ({"inner": None}, "`inner` must be Inner(...), got None."),
        ({"either": "a"}, "`either` must be Inner(...) or a number or None, got 'a'."),
    ],
)
def test_validate_names_the_field_the_value_and_what_it_must_be(fields, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        Settings(**fields)


def test_validate_reads_the_annotations_of_a_class_once(monkeypatch):
    """Configs are made inside loops, and resolving annotations is slow."""
    Settings()
    monkeypatch.setattr(typing, "get_type_hints", None)
    Settings(steps=3)


def test_validate_checks_inherited_fields():
    @dataclasses.dataclass(frozen=True)
    class Derived(Inner):
        name: str = ""

    with pytest.raises(ValueError, match="`size` must be a positive integer, got 0"):
        Derived(size=0)


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EACCES, "permission denied; change its permissions"),
        (errno.EEXIST, "a file is where a folder is needed"),
    ],
)
def test_errors_of_the_system_name_the_path_and_the_fix(number, fix):
    message = checks.error_message(OSError(number, "text of the system", "/runs/a"), "--n")
    assert message.startswith(f"/runs/a: {fix}")
