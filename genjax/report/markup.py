"""HTML elements whose texts are escaped, unless they are `Html`."""

import html
import json
from typing import Any


class Html(str):
    """Text that is markup."""


def text(value: Any) -> Html:
    """Returns a value as markup: escaped, unless it is markup."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Any, between: str = "") -> Html:
    """Returns values as markup, joined."""
    return Html(between.join(text(part) for part in parts))


def el(tag: str, /, *children: Any, **attributes: Any) -> Html:
    """Returns an element; `class_` is `class`, `data_sort` is `data-sort`; None omits an attribute.

    >>> el("p", "1 < 2", class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2</p>'
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{text(value)}"')
    inside = join(children)
    void = tag in ("img", "input", "meta", "br")
    return Html(f"<{' '.join(words)}>" + ("" if void else f"{inside}</{tag}>"))


def script_json(values: Any) -> Html:
    """Returns JSON that is safe inside `<script>`: nothing in it can end the element.

    >>> script_json(["</script>"])
    '["\\\\u003c/script\\\\u003e"]'
    """
    dumped = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        dumped = dumped.replace(sign, f"\\u{ord(sign):04x}")
    return Html(dumped)
