"""Docstrings as Markdown: an extension of griffe, which reads them for mkdocstrings."""

import re
from typing import Any

import griffe

CODE = re.compile(r"(`[^`]+`)")


class Markdown(griffe.Extension):
    """Changes every docstring to Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object, if it has one."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Returns a docstring as Markdown: doctests in fences, `<` of prose as itself."""
    return "\n\n".join(paragraph(part) for part in text.split("\n\n"))


def paragraph(text: str) -> str:
    """Returns a paragraph as Markdown."""
    if text.startswith(">>> "):
        return f"```pycon\n{text}\n```"
    if text.startswith("    "):
        return text
    parts = CODE.split(text)
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in parts)
