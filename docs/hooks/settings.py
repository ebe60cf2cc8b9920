"""The fields of a settings class as a table in Markdown."""

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing

from genjax import checks


def table(cls: type) -> str:
    """Returns a table of the fields of a dataclass: name, default, values, docstring."""
    hints = typing.get_type_hints(cls, include_extras=True)
    texts = docstrings(cls)
    rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        values = "" if field.name == "dtype" else checks.expected(hints[field.name])
        cells = (f"`{field.name}`", default(field), plain(values), cell(texts.get(field.name, "")))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def docstrings(cls: type) -> dict[str, str]:
    """Returns the strings that follow the fields of a class and of those it extends."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def default(field: dataclasses.Field) -> str:
    """Returns a field's default as code; of nested settings the name of their class."""
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    if field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default_factory()
    return code(f"{type(value).__name__}()" if dataclasses.is_dataclass(value) else repr(value))


def code(text: str) -> str:
    """Returns text as code in a cell of a table."""
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Returns Markdown in one line, in which a bar does not end the cell, except in code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else plain(part) for part in parts)


def plain(text: str) -> str:
    """Returns text without characters that mean something in Markdown or HTML."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("*", "&#42;")):
        text = text.replace(character, entity)
    return re.sub(r"(?<!\w)_|_(?!\w)", "&#95;", text)
