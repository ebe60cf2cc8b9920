"""JSON files, read with bounds: one reader for every file that a command reads.

Python's own parser accepts NaN, duplicate names, lone surrogates and numbers of any length, and
fails on deep nesting with an error that is no ValueError.
"""

import json
import math
import pathlib
import reprlib
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from genjax import checks
from genjax.data.file_io import read_bytes, safe

MAX_BYTES = 2**24  # of a file; its tree may take 25 times as much memory
MAX_DEPTH = 64
_MAX_INTEGER = 2**63


def parse_json(text: str | bytes, *, non_finite: bool = False) -> dict[str, Any]:
    """Parses one JSON object.

    Args:
      text: the object, UTF-8 if bytes.
      non_finite: replace NaN, infinity and numbers too large for 64 bits by None, else they are
        errors.

    Raises:
      ValueError: it is not an object in valid JSON, is nested deeper than 64 levels, has a name
        twice in one object, or has text that is not valid Unicode; the message is a phrase.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        tree = json.loads(
            text,
            parse_constant=_number(non_finite, float),
            parse_float=_number(non_finite, float),
            parse_int=_number(non_finite, int),
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} is not JSON: {error.msg}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"it holds {_kind(tree)}, not an object")
    for value in _values(tree):
        if isinstance(value, str) and not checks.is_unicode(value):
            raise ValueError(f"{_short(value)} is not valid Unicode")
    return tree


def check_entries(values: Mapping[str, Any], kind: Any) -> None:
    """Checks the entries of an object against a TypedDict; further entries are allowed.

    Raises:
      ValueError: an entry is missing or of the wrong type; the message is a phrase.
    """
    for name, hint in typing.get_type_hints(kind).items():
        if name in values:
            if not checks.matches(hint, values[name]):
                raise ValueError(
                    f"`{name}` must be {checks.expected(hint)}, got {_short(values[name])}"
                )
        elif name in kind.__required_keys__:
            raise ValueError(f"`{name}` is missing")


def read_object(
    path: pathlib.Path,
    kind: Any = None,
    *,
    problem: str = "is damaged",
    fix: str,
    limit: int = MAX_BYTES,
) -> dict[str, Any]:
    """Reads a file of one JSON object.

    Args:
      path: the file.
      kind: TypedDict of its entries; None does not check them.
      problem: what the message says of a file that cannot be parsed.
      fix: what the message says to do then.
      limit: bytes of the file at most.

    Raises:
      ValueError: the file is missing or cannot be read; or it is not what `parse_json` and
        `check_entries` accept.
    """
    data = read_bytes(path, limit)
    try:
        values = parse_json(data)
        if kind is not None:
            check_entries(values, kind)
    except ValueError as error:
        raise ValueError(f"{safe(path)} {problem} ({safe(error, 300)}); {fix}.") from None
    return values


def _number(non_finite: bool, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(digits: str) -> Any:
        # Longer integers are above the bound, and converting them takes quadratic time.
        value = kind(digits) if kind is float or len(digits) <= 20 else math.inf
        if math.isfinite(value) and (kind is float or abs(value) < _MAX_INTEGER):
            return value
        if non_finite:
            return None
        raise ValueError(f"the number {safe(digits, 30)} is not finite or above 64 bits")

    return convert


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{_short(name)} occurs twice in one object")
            seen.add(name)
    return values


def _values(tree: Any) -> Iterator[Any]:
    """Iterates over names and values; raises ValueError where they are nested too deeply."""
    level, depth = [tree], 1
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                yield from value
                value = value.values()
            for inner in value:
                if isinstance(inner, (dict, list)):
                    below.append(inner)
                else:
                    yield inner
        level, depth = below, depth + 1


def _kind(tree: Any) -> str:
    if tree is None:
        return "null"
    names = {list: "a list", str: "a string", bool: "a truth value"}
    return names.get(type(tree), "a number")


def _short(value: Any) -> str:
    return safe(reprlib.repr(value), 60)
