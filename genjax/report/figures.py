"""Figures of a run's samples: grids over the steps, real images, animation, strip, puzzle."""

import json
from collections.abc import Sequence

from genjax.data.image_grid import GridLayout
from genjax.report.captioned_samples import captioned
from genjax.report.document import uri
from genjax.report.markup import Html, el, join
from genjax.report.puzzle import puzzle
from genjax.report.run_reader import Shown

EXAMPLES = 100  # rows of a sheet to choose from, at most


def grid_data(run: Shown) -> list[list[object]]:
    """Returns step and image of all grids for the script; the last one is in the page already."""
    *earlier, last = run.frames or [(0, b"")]
    return [*([step, uri(png)] for step, png in earlier), [last[0]]] if run.frames else []


def samples(run: Shown) -> Html:
    """Returns the grids with a slider over the steps, the animation and the strip.

    The last two are below a heading if the networks grow.
    """
    if not run.frames:
        return Html()
    step, png = run.frames[-1]
    same, column = ("images", "one example") if run.sheet else ("noise", "one sample")
    several = len(run.frames) > 1
    slider = el(
        "label",
        el("span", "Step ", el("output", f"{step:,}")),
        el(
            "input",
            type="range",
            min=0,
            max=len(run.frames) - 1,
            value=len(run.frames) - 1,
            step=1,
            aria_label="Step",  # the label is that of its first child, the output
            aria_valuetext=f"step {step:,}",
        ),
        class_="slider by-step",
    )
    figures = [
        el(
            "figure",
            zoom(uri(png), f"Samples of {run.label}", "grid"),
            captioned(run.captions, run.wrong) if run.captions else "",
            el("figcaption", slider if several else f"Samples at step {step:,}"),
            stages(run),
            el("p", f"Columns: {'; '.join(run.sheet.titles)}", class_="muted") if run.sheet else "",
            class_="with-captions" if run.captions else None,
        )
    ]
    if run.real and not run.captions:
        picture = zoom(uri(run.real), f"Real images of the data of {run.label}", "real")
        figures.append(el("figure", picture, el("figcaption", "Real images")))
    if run.sheet:
        figures.append(before_after(run.sheet))
    if run.puzzles:
        figures.append(puzzle(run.puzzles, uri(run.puzzle_images)))
    over_steps = []
    if run.film:
        stop = el("button", "Hide", type="button", class_="small", data_hide="film")
        over_steps.append(
            el(
                "figure",
                zoom(uri(run.film, "gif"), f"Animation of the samples of {run.label}", "film"),
                el(
                    "p",
                    "The animation is stopped: reduced motion is set on this system.",
                    class_="still",
                ),
                el("figcaption", f"Animation: the same {same} at every step ", stop),
                class_="moving",
            )
        )
    if run.strip and several:
        names = [
            f"{label}, step {s:,}" if label else f"{s:,}"
            for s, label in zip(run.strip.steps, run.strip.labels, strict=True)
        ]
        labels = el("ol", *(el("li", name) for name in names), class_="steps")
        picture = zoom(uri(run.strip.png), f"Samples of {run.label}, one row per step", "strip")
        over_steps.append(
            el(
                "figure",
                el("div", labels, picture, class_="striped"),
                el("figcaption", f"Each column is {column} over the steps"),
                class_="wide",
            )
        )
    if run.strip and len(set(run.strip.labels)) > 1:
        growth = el("h4", "Growth"), el("div", *over_steps, class_="figures")
        return join([el("div", *figures, class_="figures"), *growth])
    return el("div", *figures, *over_steps, class_="figures")


def stages(run: Shown) -> Html:
    """Returns a button for each stage of networks that grow, which shows its last grid."""
    last = {stage: i for i, stage in enumerate(run.stages)}  # in the order of the steps
    if len(last) < 2:
        return Html()
    buttons = [
        el("button", stage[:20], type="button", class_="chip", data_frame=i)
        for stage, i in last.items()
    ]
    return el("div", *buttons, class_="stages", role="group", aria_label="Stages")


def before_after(sheet: GridLayout) -> Html:
    """Returns a figure that shows one cell of a sheet beside another, with a slider between them.

    The script draws the cells of the grid above it.
    """

    def choice(label: str, names: Sequence[str], chosen: int) -> Html:
        options = [el("option", n, value=i, selected=i == chosen) for i, n in enumerate(names)]
        return el("label", el("span", label), el("select", *options))

    picture = el("canvas", width=sheet.width, height=sheet.height, role="img")
    split = el("input", type="range", min=0, max=100, value=50, step=1, aria_label="Width of left")
    rows = [f"{i + 1:,}" for i in range(min(EXAMPLES, sheet.count // sheet.columns))]
    return el(
        "figure",
        el("div", picture, el("div", class_="divider"), class_="stage"),
        el("div", split, class_="slider"),
        el(
            "figcaption",
            choice("Left", sheet.titles, 0),
            choice("Right", sheet.titles, 1),
            choice("Example", rows, 0),
        ),
        class_="compare",
        hidden=True,
        data_layout=json.dumps([sheet.height, sheet.width, sheet.gap]),
    )


def zoom(source: str, alt: str, kind: str) -> Html:
    """Returns an image that opens at full size on a click."""
    picture = el("img", src=source, alt=alt, class_=kind)
    return el("button", picture, type="button", class_="zoom", title="Show at full size")
