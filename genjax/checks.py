"""Input validation: every check raises `ValueError` with what is wrong and how to fix it.

Checks of arrays read shapes and dtypes only, so they cost nothing inside `jax.jit` and accept
arrays, tracers and `jax.ShapeDtypeStruct`. `labels` alone reads values, where they are concrete.
"""

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Range of a number, as in `Annotated[int, Bounds(1, 95)]`.

    Attributes:
      low: lowest value.
      high: highest value.
      excluded: ends that are not in the range: `"("`, `")"` or `"()"`.
    """

    low: float = -math.inf
    high: float = math.inf
    excluded: str = ""

    def accepts(self, value: float) -> bool:
        """Returns whether a number is within the bounds; NaN is not."""
        above = value > self.low if "(" in self.excluded else value >= self.low
        return above and (value < self.high if ")" in self.excluded else value <= self.high)

    def describe(self, text: str) -> str:
        """Describes a number within the bounds, where `text` is "a number" or "an integer"."""
        left, right = "(" if "(" in self.excluded else "[", ")" if ")" in self.excluded else "]"
        if self.high < math.inf:
            return f"{text} in {left}{self.low}, {self.high}{right}"
        article, kind = text.split()
        if self == Bounds(0):
            return f"a non-negative {kind}"
        if self == Bounds(0, excluded="(") or (self == Bounds(1) and kind == "integer"):
            return f"a positive {kind}"
        return f"{article} {kind} {'above' if self.excluded else 'of at least'} {self.low}"


@dataclasses.dataclass(frozen=True)
class NonEmpty:
    """Marks a tuple with at least one entry, as in `Annotated[tuple[int, ...], NonEmpty()]`."""

    def accepts(self, value: Sequence[Any]) -> bool:
        """Returns whether there is an entry."""
        return len(value) > 0

    def describe(self, text: str) -> str:
        """Describes the tuple, where `text` is of the form "a tuple ..."."""
        return text.replace("a tuple", "a non-empty tuple", 1)


PositiveInt = Annotated[int, Bounds(1)]
NonNegativeInt = Annotated[int, Bounds(0)]
Seed = Annotated[int, Bounds(0, 2**32, ")")]  # JAX derives a key from 32 bits
PositiveFloat = Annotated[float, Bounds(0, excluded="(")]
NonNegativeFloat = Annotated[float, Bounds(0)]
UnitInterval = Annotated[float, Bounds(0, 1, ")")]  # 1 excluded
PositiveInts = Annotated[tuple[PositiveInt, ...], NonEmpty()]
Dtype = Literal["float32", "bfloat16"]


def validate(settings: Any) -> None:
    """Checks the fields of a dataclass against their annotations.

    Annotations may be `bool`, `str`, `int`, `float` (finite), `None`, `Literal`, dataclasses, and
    tuples, lists, dicts and unions of these, with `Bounds` and `NonEmpty` in `Annotated`. Others
    are not checked.

    Raises:
      ValueError: a field has the wrong type, or a value outside its range.
    """
    cls: Any = type(settings)
    for name, hint in _annotations(cls):
        value = getattr(settings, name)
        if not matches(hint, value):
            must = expected(hint)
            if isinstance(value, numbers.Real) and not finite(value):
                must = "a finite number"
            if isinstance(value, str) and not is_unicode(value):
                must = "valid Unicode"
            raise ValueError(f"`{name}` must be {must}, got {value!r}.")


def matches(hint: Any, value: Any) -> bool:
    """Returns whether a value has an annotation's type and is in its range."""
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and finite(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return type(value) is hint
    if hint is str:
        return isinstance(value, str) and is_unicode(value)
    if hint in (bool, type(None), dict, list):
        return isinstance(value, hint)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        markers = [marker for marker in options[1:] if isinstance(marker, Bounds | NonEmpty)]
        return matches(options[0], value) and all(marker.accepts(value) for marker in markers)
    if origin is Literal:
        return any(isinstance(value, type(option)) and value == option for option in options)
    if origin in (types.UnionType, typing.Union):
        return any(matches(option, value) for option in options)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        entries = options[:1] * len(value) if options[-1:] == (Ellipsis,) else options
        return len(entries) == len(value) and all(map(matches, entries, value))
    if origin is list:
        return isinstance(value, list) and all(matches(options[0], v) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            matches(options[0], k) and matches(options[1], v) for k, v in value.items()
        )
    return True


def finite(value: numbers.Real) -> bool:
    """Returns whether a number is finite as a float; an integer may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_unicode(text: str) -> bool:
    """Returns whether text can be encoded: lone surrogates, as in undecodable names, cannot."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def expected(hint: Any) -> str:
    """Describes the values that match an annotation, as in "a positive integer"."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        text = expected(options[0])
        for marker in options[1:]:
            text = marker.describe(text) if isinstance(marker, Bounds | NonEmpty) else text
        return text
    if origin is Literal:
        return f"one of {', '.join(map(str, options))}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(expected, options))
    if origin is tuple:
        if options[-1] is Ellipsis:
            return f"a tuple, each entry {expected(options[0])}"
        return f"a tuple of {len(options)} entries: {', '.join(map(expected, options))}"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return f"{hint.__name__}(...)"
    if origin in (list, dict):
        each = "entry" if origin is list else "value"
        return f"{expected(origin)}, each {each} {expected(options[-1])}"
    names = {int: "an integer", float: "a number", str: "a string", bool: "True or False"}
    names |= {dict: "a dict", list: "a list"}
    return "None" if hint is type(None) else names.get(hint, str(hint))


@functools.cache
def _annotations(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(typing.get_type_hints(cls, include_extras=True).items())


def describe(value: Any) -> str:
    """Returns dtype and shape as in `float32[4, 9]`, or the type's name of a value without them."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return type(value).__name__


def batch(
    family: str, batch: Mapping[str, Any], spec_of: Callable[[int], Mapping[str, Any]]
) -> None:
    """Checks names, shapes and dtypes of a batch.

    Args:
      family: name of the family, for the message.
      batch: arrays by name; the batch size is the leading axis of the first.
      spec_of: returns the expected shapes and dtypes for a batch size.

    Raises:
      ValueError: an entry is missing, or has the wrong shape or dtype.
    """
    size = 1
    if isinstance(batch, Mapping):
        shapes = [value.shape for value in batch.values() if getattr(value, "shape", ())]
        size = shapes[0][0] if shapes else 1
    spec = spec_of(size)
    if not isinstance(batch, Mapping):
        raise ValueError(
            f"{family}: a batch must be a dict with {sorted(spec)}, got {describe(batch)};"
            f" pass {{'{next(iter(spec))}': array}}."
        )
    missing = sorted(set(spec) - set(batch))
    if missing:
        raise ValueError(
            f"{family}: the batch lacks {missing}; it must have {sorted(spec)},"
            f" see {family}.batch_spec(config, batch_size)."
        )
    for name, entry in spec.items():
        got = batch[name]
        if not hasattr(got, "shape") or tuple(got.shape) != tuple(entry.shape):
            raise ValueError(
                f"{family}: batch['{name}'] must be {describe(entry)}, got {describe(got)};"
                f" reshape it, or set the Config's shape to fit the data."
            )
        if got.dtype != entry.dtype:
            raise ValueError(
                f"{family}: batch['{name}'] must be {describe(entry)}, got {describe(got)};"
                f" cast it with .astype('{entry.dtype}')."
            )


def events(family: str, x: Any, shape: Sequence[int]) -> None:
    """Checks that `x` is float32 or float64 `[B, *shape]`."""
    ok = hasattr(x, "shape") and len(x.shape) == len(shape) + 1
    if not ok or tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(
            f"{family}: x must be float32[B, {', '.join(map(str, shape))}], got {describe(x)};"
            f" reshape it, or set the Config's shape to fit the data."
        )
    if x.dtype != jnp.float32 and x.dtype != jnp.float64:
        raise ValueError(
            f"{family}: x must be float32[B, {', '.join(map(str, shape))}], got {describe(x)};"
            f" cast it with .astype('float32')."
        )


USER_ERRORS = (ValueError, OSError, MemoryError, jax.errors.JaxRuntimeError)
"""Errors that a command prints as one line, see `error_message`."""


def error_message(error: Exception, fewer: str) -> str:
    """Returns the message of a user error.

    Args:
      error: one of `USER_ERRORS`.
      fewer: options to lower where memory ran out, on the host or a device.

    Raises:
      JaxRuntimeError: it is a device error other than exhausted memory.
    """
    device = isinstance(error, jax.errors.JaxRuntimeError)
    # The device's type is checked too, since a full disk is also RESOURCE_EXHAUSTED.
    if isinstance(error, MemoryError) or (device and "RESOURCE_EXHAUSTED" in str(error)):
        return f"memory ran out; take fewer at a time ({fewer})."
    if device:
        raise error
    return str(error)


def same_shape(where: str, **arrays: Any) -> None:
    """Checks that arguments have the same shape, so that none is broadcast silently."""
    if len({jnp.shape(a) for a in arrays.values()}) > 1:
        got = ", ".join(f"{name} {describe(a)}" for name, a in arrays.items())
        raise ValueError(
            f"{where}: the arguments must have the same shape, got {got}; broadcast them first."
        )


def batched(where: str, **arrays: Any) -> None:
    """Checks that arguments have a leading batch axis."""
    for name, a in arrays.items():
        if len(jnp.shape(a)) < 1:
            raise ValueError(
                f"{where}: {name} needs a leading batch axis, got a scalar; use {name}[None]."
            )


def positive(**values: Any) -> None:
    """Checks that named numbers, or all entries of named sequences, are positive."""
    for name, value in values.items():
        entries = value if isinstance(value, (tuple, list)) else (value,)
        if not entries or any(not v > 0 for v in entries):
            raise ValueError(f"`{name}` must be positive, got {value}.")


def integer(**values: Any) -> None:
    """Checks that named numbers are integers; 2.0 is not one."""
    for name, value in values.items():
        if not hasattr(value, "__index__") or isinstance(value, bool):
            raise ValueError(f"`{name}` must be an integer, got {value}.")


def sample_count(n: int | None) -> int:
    """Returns the number of samples `n`, or 1 for None."""
    if n is None:
        return 1
    integer(n=n)
    positive(n=n)
    return n


def concrete(x: Any) -> bool:
    """Returns whether values are available, which they are not for tracers, as in `jax.jit`."""
    return not isinstance(x, jax.core.Tracer)


def labels(family: str, classes: int, label: Any) -> None:
    """Checks that labels are in 0 .. classes - 1, where their values are available."""
    if label is not None and concrete(label):
        # As Python numbers: JAX operations would be traced under a surrounding `jax.jit`.
        values = label.tolist() if hasattr(label, "tolist") else label
        values = values if isinstance(values, list) else [values]
        values = [v for v in values if isinstance(v, int | float)]
        if values and (min(values) < 0 or max(values) >= classes):
            raise ValueError(
                f"{family}: labels must be in 0 .. {classes - 1}, got {min(values)} .."
                f" {max(values)}; remove examples with unknown labels (-1)."
            )


def not_negative(**values: Any) -> None:
    """Checks that named numbers are non-negative."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"`{name}` must be non-negative, got {value}.")


def seed(**values: Any) -> None:
    """Checks that named numbers are seeds, integers in [0, 2^32)."""
    for name, value in values.items():
        integer(**{name: value})
        not_negative(**{name: value})
        if value >= 2**32:
            raise ValueError(f"`{name}` must be below 2^32, got {value}.")


def fraction(**values: float) -> None:
    """Checks that named numbers are in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` must be in [0, 1), got {value}.")


def one_of(choices: Sequence[str], **values: str) -> None:
    """Checks that named strings are one of `choices`."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got '{value}'.")
