"""Renders the page from its template, style, script and runs."""

import base64
import datetime
import hashlib
import importlib.resources
import json
import re
from collections.abc import Sequence
from typing import Any

from genjax.data.image_grid import GridLayout
from genjax.report.captioned_samples import captioned
from genjax.report.comparison import comparison, real_beside, settings
from genjax.report.markup import Html, el, join, script_json, text
from genjax.report.puzzle import puzzle
from genjax.report.run_reader import Shown, number
from genjax.version import __version__

# Metrics for debugging, folded by default.
ASIDE = ("norm", "learning_rate", "std_error", "examples_per_second", "input_wait", "seconds")

EXAMPLES = 100  # rows of a sheet to choose from, at most


def render(runs: list[Shown], title: str | None = None) -> str:
    """Returns the whole page, which loads and sends nothing.

    Its content security policy forbids it, and allows scripts by their hash only, so that no text
    of a run can become a script.
    """
    style, script, theme = (
        asset("page.css"),
        asset("chart.js") + asset("page.js") + asset("captions.js") + asset("puzzle.js"),
        asset("theme.js"),
    )
    title = title or (runs[0].experiment if len(runs) == 1 else f"{len(runs)} runs")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)};"
        f" script-src {_hash(script)} {_hash(theme)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": text(policy),
        "title": text(title),
        "summary": text(summary(runs)),
        "style": style,
        "theme": theme,
        "comparison": comparison(runs),
        "legend": legend(runs),
        "runs": join(section(i, run) for i, run in enumerate(runs)),
        "settings": settings(runs),
        "data": script_json(data(runs)),
        "script": script,
    }
    # In one pass: inserted text is not searched for further placeholders.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def asset(name: str) -> str:
    """Returns the text of a file in `static/`."""
    return (importlib.resources.files("genjax.report") / "static" / name).read_text("utf-8")


def summary(runs: list[Shown]) -> str:
    """Returns the line below the title."""
    finished = sum(bool(run.record) for run in runs)
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return (
        f"{count}, {finished} finished. Written {datetime.date.today().isoformat()}"
        f" by genjax {__version__}."
    )


def data(runs: list[Shown]) -> dict[str, Any]:
    """Returns data for the script: curves of all runs by metric, and all grids but the last."""
    names = {name for run in runs for name in run.curves}

    def curves(aside: bool) -> list[Any]:
        chosen = [name for name in names if name.endswith(ASIDE) == aside]
        ordered = sorted(chosen, key=lambda name: (_interest(name), name))
        return [
            [name, [[i, *run.curves[name]] for i, run in enumerate(runs) if name in run.curves]]
            for name in ordered
        ]

    return {
        "runs": [run.label for run in runs],
        "metrics": curves(aside=False),
        "aside": curves(aside=True),
        "frames": [
            [
                [step, uri(png)] if i + 1 < len(run.frames) else [step]
                for i, (step, png) in enumerate(run.frames)
            ]
            for run in runs
        ],
    }


def uri(data: bytes, kind: str = "png") -> str:
    """Returns an image as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def legend(runs: list[Shown]) -> Html:
    """Returns buttons that hide and show runs in curves and settings."""
    buttons = [
        el(
            "button",
            swatch(i),
            run.label,
            type="button",
            class_="chip",
            aria_pressed="true",
            data_run=i,
        )
        for i, run in enumerate(runs)
    ]
    return el("div", *buttons, class_="legend", role="group", aria_label="Runs shown")


def swatch(i: int) -> Html:
    """Returns the colour mark of a run."""
    return el("span", class_=f"swatch c{i % 8}", aria_hidden="true")


def section(i: int, run: Shown) -> Html:
    """Returns the section of one run: notes, facts, metrics beside real images, samples."""
    status = "finished" if run.record else "unfinished"
    notes = [*run.notes, *warnings(run)]
    return el(
        "article",
        el("h3", swatch(i), run.label, " ", el("span", status, class_=f"status {status}")),
        el("ul", *(el("li", note) for note in notes), class_="notes") if notes else "",
        facts(run),
        real_beside(run),
        samples(run),
        id=f"run-{i}",
        data_run=i,
        class_="run",
    )


def warnings(run: Shown) -> list[str]:
    """Returns the warnings in the record of a run, such as a collapsed generator."""
    entries = run.record.get("warnings")
    lines = []
    for entry in entries if isinstance(entries, list) else ():
        step = number(entry.get("step")) if isinstance(entry, dict) else None
        if step is not None and isinstance(entry.get("words"), str):
            lines.append(f"At step {step:,}: {entry['words']}.")
    return lines


def facts(run: Shown) -> Html:
    """Returns a list of facts: folder, data, chosen weights, paper."""
    record = run.record
    figure = {name: run.config.get(f"figure.{name}") for name in ("source", "difference")}
    chosen, steps = number(record.get("chosen_step")), number(record.get("steps"))
    found = {
        "Folder": run.name,
        "Data": record.get("dataset") or run.config.get("data.data"),
        "Ended": steps is not None and f"at step {steps:,}, {record.get('ended') or 'done'}",
        "Weights": chosen is not None
        and f"of step {chosen:,}, chosen by {record.get('chosen_by') or 'the run'}",
        "Paper": figure["source"],
        "Differs from the paper": figure["difference"],
    }
    shown = [el("div", el("dt", name), el("dd", value)) for name, value in found.items() if value]
    return el("dl", *shown, class_="facts")


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
            el("p", f"Columns: {'; '.join(run.sheet.titles)}", class_="muted") if run.sheet else "",
            class_="with-captions" if run.captions else None,
        )
    ]
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


def _interest(name: str) -> int:
    """Sort key of metrics: validation first, then losses."""
    return 0 if name.startswith("validation") else 1 if name.endswith("loss") else 2


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
