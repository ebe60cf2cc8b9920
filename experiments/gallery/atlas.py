"""Figures of precomputed images, of which controls select one or a row."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.data.image_grid import grid_with_layout
from genjax.report.document import uri
from genjax.report.markup import Html, el
from genjax.train.sample_grids import encode_png


@dataclasses.dataclass(frozen=True)
class Axis:
    """One direction of an atlas.

    Attributes:
      name: label of its control.
      values: one text per image in this direction.
      slider: whether the control is a slider; otherwise it is a list.
      start: index that is shown first; None is the middle of a slider and the first of a list.
    """

    name: str
    values: Sequence[str]
    slider: bool = True
    start: int | None = None

    @property
    def first(self) -> int:
        """Index that is shown first."""
        return (len(self.values) // 2 if self.slider else 0) if self.start is None else self.start


def atlas(
    title: str,
    caption: str,
    images: np.ndarray,
    limits: tuple[float, float],
    axes: Sequence[Axis],
    *,
    labels: Sequence[str] = ("",),
    plane: bool = False,
) -> Html:
    """Returns a figure that shows the images at the values of its controls.

    Args:
      title: heading.
      caption: what is seen.
      images: `[*axes, labels, H, W, C]`, flat or not in the first axes.
      limits: values drawn as black and as white.
      axes: one control each; one with a single value has none.
      labels: of the images that are shown beside one another.
      plane: whether the last two axes are also shown as a plane, of which a point is chosen.
    """
    shape = [*(len(axis.values) for axis in axes), len(labels)]
    flat = np.asarray(images).reshape(-1, *np.shape(images)[-3:])
    if len(flat) != np.prod(shape):
        raise ValueError(f"{len(flat)} images do not fit controls of {shape}.")
    # Without enlargement, which the style of the page does.
    page, tiles = grid_with_layout(flat, *limits, scale=1, columns=max(1, int(len(flat) ** 0.5)))
    values = {
        "shape": shape,
        "height": tiles.height,
        "width": tiles.width,
        "columns": tiles.columns,
        "gap": tiles.gap,
        "labels": list(labels),
        "values": [list(axis.values) for axis in axes],
    }
    controls = [_control(axis) for axis in axes]
    across = el("canvas", role="img", class_="plane") if plane else ""
    return el(
        "figure",
        el("h3", title),
        el("img", src=uri(encode_png(page, {})), alt="", class_="sprite", hidden=True),
        el("div", across, el("div", class_="tiles"), class_="shown"),
        el("div", *controls, class_="controls"),
        el("figcaption", caption),
        class_="atlas",
        hidden=True,
        data_atlas=json.dumps(values, separators=(",", ":")),
    )


def _control(axis: Axis) -> Html:
    one = len(axis.values) < 2
    if not axis.slider:
        options = [el("option", value, value=i) for i, value in enumerate(axis.values)]
        return el("label", el("span", axis.name), el("select", *options), hidden=one)
    last = len(axis.values) - 1
    # The label is that of its first child, the output.
    attributes: dict[str, Any] = dict(value=axis.first, aria_label=axis.name)
    return el(
        "label",
        el("span", axis.name, " ", el("output", axis.values[axis.first])),
        el("input", type="range", min=0, max=last, step=1, **attributes),
        hidden=one,
        class_="slider",
    )


def likelihood_map(
    title: str,
    caption: str,
    images: np.ndarray,
    nats: np.ndarray,
    limits: tuple[float, float],
    totals: Sequence[str],
) -> Html:
    """Returns a figure of images beside -log p of every pixel, whose value can be read.

    Args:
      title: heading.
      caption: what is seen.
      images: `[N, H, W, C]`.
      nats: -log p(x_i | x_<i), summed over channels, `[N, H, W]`.
      limits: values drawn as black and as white.
      totals: one text per image, such as its sum.
    """
    page, tiles = grid_with_layout(images, *limits, scale=1, columns=1)
    # Four significant digits; a probability of 0 has no finite value.
    rows = [[float(f"{v:.4g}") for v in np.nan_to_num(x.ravel(), posinf=1e9)] for x in nats]
    values = {"height": tiles.height, "width": tiles.width, "gap": tiles.gap, "nats": rows}
    values |= {"totals": list(totals)}
    options = [el("option", f"{i + 1}", value=i) for i in range(len(images))]
    return el(
        "figure",
        el("h3", title),
        el("img", src=uri(encode_png(page, {})), alt="", class_="sprite", hidden=True),
        el(
            "div",
            el("canvas", role="img", class_="image"),
            el("canvas", tabindex=0, role="slider", aria_label="Pixel", class_="map"),
            class_="pair",
        ),
        el("p", el("span", class_="scale"), el("output", class_="reading"), class_="readout"),
        el("div", el("label", el("span", "Image"), el("select", *options)), class_="controls"),
        el("figcaption", caption),
        class_="likelihood",
        hidden=True,
        data_map=json.dumps(values, separators=(",", ":")),
    )
