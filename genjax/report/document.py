"""A page that loads and sends nothing: template, style, scripts and their hashes."""

import base64
import hashlib
import importlib.resources
import re
from collections.abc import Sequence
from typing import Any

from genjax.report.markup import Html, script_json, text

SCRIPTS = ("figures.js", "captions.js", "puzzle.js")
"""Scripts of the figures of a run, which several kinds of page have."""


def document(
    *,
    title: str,
    summary: str,
    body: Html,
    data: Any,
    scripts: Sequence[str],
    style: str = "",
    navigation: Html | str = "",
) -> str:
    """Returns a page as HTML.

    Its content security policy forbids loading anything, and allows scripts by their hash only, so
    that no text of a run can become a script.

    Args:
      title: of the page.
      summary: line below the title.
      body: content of `<main>`.
      data: JSON values for the scripts, in the element with id `data`.
      scripts: texts of the scripts, joined in this order.
      style: CSS after that of `page.css`.
      navigation: above the title.
    """
    style, script, theme = asset("page.css") + style, "".join(scripts), asset("theme.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)};"
        f" script-src {_hash(script)} {_hash(theme)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": text(policy),
        "title": text(title),
        "summary": text(summary),
        "navigation": text(navigation),
        "style": style,
        "theme": theme,
        "body": body,
        "data": script_json(data),
        "script": script,
    }
    # In one pass: inserted text is not searched for further placeholders.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def asset(name: str, package: str = "genjax.report") -> str:
    """Returns the text of a file in the `static/` of a package."""
    return (importlib.resources.files(package) / "static" / name).read_text("utf-8")


def uri(data: bytes, kind: str = "png") -> str:
    """Returns an image as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
