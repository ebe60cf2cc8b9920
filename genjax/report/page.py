"""Renders the page of runs: comparison, samples, curves and settings."""

import datetime
from typing import Any

from genjax.report.comparison import comparison, real_beside, settings
from genjax.report.document import SCRIPTS, asset, document
from genjax.report.figures import grid_data, samples
from genjax.report.markup import Html, el, join
from genjax.report.run_reader import Shown, number
from genjax.version import __version__

# Metrics for debugging, folded by default.
ASIDE = ("norm", "learning_rate", "std_error", "examples_per_second", "input_wait", "seconds")


def render(runs: list[Shown], title: str | None = None) -> str:
    """Returns the whole page, which loads and sends nothing."""
    return document(
        title=title or (runs[0].experiment if len(runs) == 1 else f"{len(runs)} runs"),
        summary=summary(runs),
        body=body(runs),
        data=data(runs),
        scripts=[asset(name) for name in ("chart.js", "page.js", *SCRIPTS)],
    )


def body(runs: list[Shown]) -> Html:
    """Returns the sections: comparison, samples, curves and settings."""
    charts = [
        legend(runs),
        el("noscript", el("p", "Curves need JavaScript, which is disabled.", class_="notes")),
        el("div", id="charts", class_="charts"),
        el(
            "details",
            el("summary", "Norms, rates and speed"),
            el("div", class_="charts"),
            id="aside",
            hidden=True,
        ),
    ]
    sections = {
        "Comparison": [comparison(runs)],
        "Samples": [section(i, run) for i, run in enumerate(runs)],
        "Curves": charts,
        "Settings": [settings(runs)],
    }
    return join(
        el(
            "section",
            el("h2", name, id=f"h-{name.lower()}"),
            *parts,
            aria_labelledby=f"h-{name.lower()}",
        )
        for name, parts in sections.items()
    )


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
        "frames": [grid_data(run) for run in runs],
    }


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
    """Returns the section of one run: notes, facts, samples, metrics beside real images."""
    status = "finished" if run.record else "unfinished"
    notes = [*run.notes, *warnings(run)]
    return el(
        "article",
        el("h3", swatch(i), run.label, " ", el("span", status, class_=f"status {status}")),
        el("ul", *(el("li", note) for note in notes), class_="notes") if notes else "",
        facts(run),
        samples(run),
        real_beside(run),
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


def _interest(name: str) -> int:
    """Sort key of metrics: validation first, then losses."""
    return 0 if name.startswith("validation") else 1 if name.endswith("loss") else 2
