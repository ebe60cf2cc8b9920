"""Input validation: every check raises `ValueError` with what is wrong and how to fix it.

Checks of arrays read shapes and dtypes only, so they cost nothing inside `jax.jit` and accept
arrays, tracers and `jax.ShapeDtypeStruct`. `labels` and `values` also read values, where these are
concrete, which they are not inside `jax.jit`.
"""

import dataclasses
import difflib
import errno
import functools
import math
import numbers
import os
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
    """Checks the fields of a dataclass against their annotations; lists become tuples where the
    annotation is a tuple.

    Annotations may be `bool`, `str`, `int`, `float` (finite), `None`, `Literal`, dataclasses, and
    tuples, lists, dicts and unions of these, with `Bounds` and `NonEmpty` in `Annotated`. Others
    are not checked.

    Raises:
      ValueError: a field has the wrong type, or a value outside its range.
    """
    cls: Any = type(settings)
    for name, hint in _annotations(cls):
        value = getattr(settings, name)
        if isinstance(value, list) and not matches(hint, value):
            value = _as_tuple(value)
            if matches(hint, value):
                object.__setattr__(settings, name, value)
        if not matches(hint, value):
            must = expected(hint)
            if isinstance(value, numbers.Real) and not finite(value):
                must = "a finite number"
            if isinstance(value, str) and not is_unicode(value):
                must = "valid Unicode"
            elif must.startswith(("a tuple", "a non-empty tuple")) and isinstance(value, int):
                must += f", such as ({value},)"
            raise ValueError(f"`{name}` must be {must}, got {value!r}.")


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


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


def config_and_variables(cls: Any, config: Any, variables: Any) -> None:
    """Checks the first two arguments of a family's functions.

    Args:
      cls: the family's Config.
      config: should be an instance of it.
      variables: should be a dict of collections, as `init` returns it.

    Raises:
      ValueError: they are swapped, of another family, a State, or parameters alone.
    """
    family = family_of(cls)
    if not isinstance(config, cls):
        got = config.__name__ if isinstance(config, type) else type(config).__name__
        other = type(config).__module__ if got == "Config" else ""
        raise ValueError(
            f"{family}: the first argument must be a {family}.Config(...), got"
            f" {f'that of {other}' if other else got}; the arguments are (config, variables, ...)."
        )
    variables_dict(family, variables)


def family_of(cls: Any) -> str:
    """Returns the name of the family of a Config: that of its module, without packages."""
    parts = cls.__module__.removeprefix("genjax.families.").split(".")
    return parts[0] if cls.__module__.startswith("genjax.families.") else parts[-1]


def variables_dict(family: str, variables: Any) -> None:
    """Checks that variables are a dict of collections; parameters alone and a State are not."""
    if hasattr(variables, "eval_variables"):
        raise ValueError(
            f"{family}: the variables are a State; pass state.variables, or state.eval_variables()"
            f" for averaged parameters."
        )
    if not isinstance(variables, Mapping) or not {"params", "buffers"} & set(variables):
        got = describe(variables)
        if isinstance(variables, Mapping):
            got = f"a dict of {', '.join(map(str, list(variables)[:3])) or 'nothing'}"
        raise ValueError(
            f"{family}: the variables must be a dict with params or buffers, got {got}; pass what"
            f" `init` returns, or {{'params': params}}."
        )


def sampling(cls: Any, config: Any, variables: Any, key: Any) -> None:
    """Checks the arguments of a family's `sample`, as `config_and_variables` and `key`."""
    config_and_variables(cls, config, variables)
    check_key(family_of(cls), key)


def check_key(where: str, key: Any) -> None:
    """Checks that a key is one of `jax.random`, typed or not."""
    if isinstance(key, jax.core.Tracer):
        return
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = getattr(key, "dtype", None) == jnp.uint32
    if not (typed or raw):
        fix = f"jax.random.key({key})" if isinstance(key, int) else "jax.random.key(0)"
        raise ValueError(f"{where}: key must be a key of JAX, got {describe(key)}; pass {fix}.")


def no_image_shape(shape: Sequence[int]) -> str:
    """Returns the error message for a shape that is not (H, W, C)."""
    fix = ""
    if len(shape) == 2:
        fix = "; grey images have an axis of one channel, x[..., None]"
    return f"`shape` must be (H, W, C), got {tuple(shape)}{fix}."


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
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS and error.filename:
        return f"{os.fspath(error.filename)}: {_SYSTEM_ERRORS[error.errno]}."
    return str(error)


_FOLDER = "a file is where a folder is needed; move it, or give another path"
_NO_ACCESS = "permission denied; change its permissions, or give another path"
_FULL = "the disk is full; free some space, or give a path on another disk, and repeat the command"
_SYSTEM_ERRORS = {
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _FOLDER),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NO_ACCESS),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    errno.EISDIR: "a folder is where a file is needed; give the path of a file",
}


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
    if not concrete(n):
        raise ValueError(
            "`n` must be known when the function is compiled; pass static_argnums or"
            " static_argnames for config and n to jax.jit, or close over them."
        )
    integer(n=n)
    positive(n=n)
    return n


def concrete(x: Any) -> bool:
    """Returns whether values are available, which they are not for tracers, as in `jax.jit`."""
    return not isinstance(x, jax.core.Tracer)


def floating(where: str, fix: str = "", **arrays: Any) -> None:
    """Checks that arguments are floating-point numbers: uint8 images are not scaled silently.

    Args:
      where: function, for the message.
      fix: what to do; by default, to cast.
      **arrays: arguments by name.
    """
    for name, a in arrays.items():
        if isinstance(a, list | tuple):
            raise ValueError(
                f"{where}: {name} must be an array, got a {type(a).__name__}; use"
                f" jnp.asarray({name}, 'float32')."
            )
        if not jnp.issubdtype(jnp.result_type(a), jnp.floating):
            fix = fix or f"cast it with .astype('float32'), and scale images to the range of {name}"
            raise ValueError(f"{where}: {name} must be float32, got {describe(a)}; {fix}.")


def values(
    where: str, x: Any, low: float, high: float, fix: str, *, integers: bool = False
) -> None:
    """Checks the range of values where they are available, on one device or on the host.

    Args:
      where: function and argument, for the message.
      x: array.
      low: lowest value.
      high: highest value.
      fix: what to do.
      integers: whether values must be integers.
    """
    if not concrete(x) or not getattr(x, "is_fully_addressable", True):
        return
    a = jax.device_get(x)
    if not getattr(a, "size", 0):
        return
    least, most = float(a.min()), float(a.max())
    whole = not integers or a.dtype.kind in "iub" or bool((a == a.round()).all())
    if low <= least and most <= high and whole:
        return
    must = f"integers from {low:g} to {high:g}" if integers else f"in [{low:g}, {high:g}]"
    must = "0 or 1" if integers and (low, high) == (0, 1) else must
    got = "NaN" if math.isnan(least) else f"values from {least:g} to {most:g}"
    got = got if whole or math.isnan(least) else f"{got} that are not integers"
    raise ValueError(f"{where} must be {must}, got {got}; {fix}.")


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
            near = difflib.get_close_matches(str(value), choices, 1)
            hint = f" (did you mean '{near[0]}'?)." if near else "."
            raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got '{value}'{hint}")
