"""Tables of a page: the runs, and their settings."""

import json
from typing import Any

from genjax.report.markup import Html, el, join
from genjax.report.run_reader import Shown, number

# Column titles, and whether the column is numeric.
COLUMNS = {
    "Run": False,
    "Status": False,
    "Family": False,
    "Density": False,
    "Pixels": True,
    "Parameters": True,
    "Metric": False,
    "Paper": True,
    "Obtained": True,
    "Seed": True,
    "Steps": True,
    "Minutes": True,
    "Device": False,
    "Commit": False,
}
MISSING = "\u2013"  # a dash


def comparison(runs: list[Shown]) -> Html:
    """Returns a table with one row per run; a click on a column title sorts it."""
    heads = [
        el(
            "th",
            el("button", title, el("span", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            class_="number" if numeric else None,
        )
        for title, numeric in COLUMNS.items()
    ]
    rows = [el("tr", *_cells(i, run), data_run=i) for i, run in enumerate(runs)]
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows), id="comparison")
    return _box(table, "Runs")


def _cells(i: int, run: Shown) -> list[Html]:
    record = run.record
    unit = str(record.get("unit") or "")
    obtained, error = number(record.get("obtained")), number(record.get("std_error"))
    paper = number(run.config.get("figure.paper"))
    steps, planned = number(record.get("steps", run.last_step)), run.config.get("train.steps")
    done = "" if steps is None else f"{steps:,}"
    if steps is not None and not record and number(planned) is not None:
        done += f" of {planned:,}"
    figure = "" if obtained is None else f"{obtained:.3f}"
    if figure and error is not None:
        figure += f" ± {error:.3f}"
    metric = record.get("metric")
    label = join([el("span", class_=f"swatch c{i % 8}", aria_hidden="true"), run.label])
    parameters, minutes = number(record.get("parameters")), number(record.get("minutes"))
    seed = number(run.config.get("seed"))
    return [
        el("th", el("a", label, href=f"#run-{i}"), scope="row", data_sort=run.label),
        _cell("finished" if record else "unfinished"),
        _cell(run.family),
        _cell(run.density),
        _number(run.pixels, "" if run.pixels is None else f"{run.pixels:,}"),
        _number(parameters, "" if parameters is None else f"{parameters:,}"),
        _cell("" if metric == "none" else metric),
        _number(paper, "" if paper is None else _with(f"{paper:g}", unit)),
        _number(obtained, _with(figure, unit)),
        _number(seed, "" if seed is None else str(seed)),
        _number(steps, done),
        _number(minutes, "" if minutes is None else f"{minutes:,.2f}"),
        _cell(record.get("device")),
        _cell(record.get("commit"), "code"),
    ]


def _with(figure: str, unit: str) -> str:
    return f"{figure} {unit}".strip() if figure else ""


def _cell(value: Any, inside: str = "span") -> Html:
    shown = str(value) if value not in (None, "") else ""
    return el("td", el(inside, shown) if shown else MISSING, data_sort=shown)


def _number(value: float | None, shown: str) -> Html:
    sort = "" if value is None else repr(value)
    return el("td", shown or MISSING, class_="number", data_sort=sort)


def real_beside(run: Shown) -> Html:
    """Returns a table of the final metrics that are known of samples and of real images."""
    metrics = run.record.get("final_metrics")
    rows = []
    for metric, values in metrics.items() if isinstance(metrics, dict) else ():
        for quantity, value in values.items() if isinstance(values, dict) else ():
            real = values.get(f"real_{quantity}")
            # Quantities of several levels have a row for each.
            several = isinstance(value, dict) and isinstance(real, dict)
            sides = sorted(value, key=lambda k: (len(k), k), reverse=True) if several else ()
            parts = {f"{quantity} {k}": (value[k], real.get(k)) for k in sides}
            for name, pair in (parts or {quantity: (value, real)}).items():
                figures = [number(figure) for figure in pair]
                if None not in figures and not name.endswith("std_error"):
                    cells = [_number(figure, f"{figure:.4g}") for figure in figures]
                    label = f"{metric} {name}".replace("_", " ")
                    rows.append(el("tr", el("th", label, scope="row"), *cells))
    if not rows:
        return Html()
    heads = [
        el("th", name, scope="col", class_="number" if name else None)
        for name in ("", "Samples", "Real images")
    ]
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows), class_="metrics")
    return _box(table, f"Metrics of {run.label}")


def settings(runs: list[Shown]) -> Html:
    """Returns a table with one row per setting and one column per run.

    The settings in which the runs differ, or those of a single run that differ from the defaults,
    are marked and come first; the script hides the others until they are requested. A run whose
    settings cannot be read has no column.
    """
    readable = [(i, run) for i, run in enumerate(runs) if run.config]
    names = list(dict.fromkeys(name for _, run in readable for name in run.config))
    names.sort(key=lambda name: (name.count(".") > 0, name))
    if not names:
        return el("p", "No readable settings.", class_="notes")
    heads = [
        el(
            "th",
            el("span", class_=f"swatch c{i % 8}", aria_hidden="true"),
            run.label,
            scope="col",
            data_run=i,
        )
        for i, run in readable
    ]
    single = len(readable) == 1
    changed = readable[0][1].changed() if single else _differing(names, readable)
    names.sort(key=lambda name: name not in changed)
    rows = [_setting(name, readable, differs=name in changed) for name in names]
    table = el(
        "table",
        el("thead", el("tr", el("th", "Setting", scope="col"), *heads)),
        el("tbody", *rows),
        id="settings-table",
    )
    words = "that differ from the defaults" if single else "in which the runs differ"
    only = el(
        "label",
        el("input", type="checkbox", id="only-differences", checked=True, data_single=single),
        f" Only the {len(changed)} of {len(names)} settings {words}",
        class_="toggle",
    )
    return join([el("div", only, class_="tools"), _box(table, "Settings")])


def _differing(names: list[str], runs: list[tuple[int, Shown]]) -> set[str]:
    def values(name: str) -> set[str | None]:
        return {_shown(run.config[name]) if name in run.config else None for _, run in runs}

    return {name for name in names if len(values(name)) > 1}


def _setting(name: str, runs: list[tuple[int, Shown]], *, differs: bool) -> Html:
    values = [(i, _shown(run.config[name]) if name in run.config else None) for i, run in runs]
    group, _, last = name.rpartition(".")
    title = join([el("span", group + "." if group else "", class_="group"), last])
    cells = [
        el(
            "td",
            MISSING if value is None else value,
            data_run=i,
            data_value="" if value is None else f"={value}",
            class_="missing" if value is None else None,
        )
        for i, value in values
    ]
    return el("tr", el("th", title, scope="row"), *cells, class_="differs" if differs else None)


def _shown(value: Any) -> str:
    """Formats a setting: `28, 28, 1`, `yes`, `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return (value or "empty") if isinstance(value, str) else json.dumps(value)


def _box(table: Html, name: str) -> Html:
    """Puts a table into a box that scrolls horizontally."""
    return el("div", table, class_="box", role="region", aria_label=name, tabindex=0)
