"""Samples beside their captions."""

import json
from collections.abc import Sequence

from genjax.data.image_grid import GridLayout
from genjax.report.markup import Html, el

MOST = 100  # captions, at most


def captioned(layout: GridLayout, wrong: Sequence[Sequence[int] | None]) -> Html:
    """Returns a list of captions, whose samples the script draws from the grid.

    Args:
      layout: of the grids.
      wrong: samples of each grid that do not show what their caption says, where that is known.
    """
    shown = layout.captions[:MOST]
    count = min(layout.count, len(shown) * layout.per_group)
    values = {
        "height": layout.height,
        "width": layout.width,
        "perCaption": layout.per_group,
        "corners": [layout.corner(i) for i in range(count)],
        "wrong": wrong,
    }
    items = [
        el(
            "li",
            el("p", caption, dir="auto", title=caption),
            el("div", class_="tiles"),
            el("p", class_="muted"),
        )
        for caption in shown
    ]
    options = [el("option", "All captions", value="")]
    options += [el("option", caption, value=i) for i, caption in enumerate(shown)]
    return el(
        "div",
        el("label", el("span", "Caption"), el("select", *options), class_="choose"),
        el("ol", *items, role="list"),
        el("p", role="status"),
        class_="captioned",
        hidden=True,
        data_captions=json.dumps(values, separators=(",", ":")),
    )
