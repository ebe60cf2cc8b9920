"""Writes the pages of a gallery: the map, and one page per family."""

import importlib.resources
import pathlib
import re
import shlex
import tempfile
from collections.abc import Sequence

from experiments.gallery.capabilities import CAPABILITIES, KINDS, Described, field_map
from experiments.gallery.entries import Entry, read_entries
from experiments.gallery.equations import EQUATIONS
from experiments.gallery.mathml import equation
from experiments.gallery.panels import panels
from experiments.table import rows, summary, table
from genjax.core.protocols import PuzzleSolver, TextToImage, Translator
from genjax.data.file_writing import write_file
from genjax.report.comparison import real_beside
from genjax.report.document import SCRIPTS, asset, document, uri
from genjax.report.figures import grid_data, samples
from genjax.report.markup import Html, el, join
from genjax.report.page import facts, warnings
from genjax.report.run_reader import number
from genjax.version import __version__

YES, NO = "\u25cf", "\u00b7"  # a disc and a dot


def write_site(
    out: pathlib.Path, sources: Sequence[str], data: Sequence[str] = ()
) -> list[pathlib.Path]:
    """Writes the site and returns the paths of its pages, the map first.

    Args:
      out: folder, created if it is missing; pages of an earlier gallery are replaced.
      sources: runs, folders of runs, weights files and names of weights.
      data: further data; see `read_entries`.

    Raises:
      ValueError: a source holds no run.
      OSError: a file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        entries = read_entries(sources, pathlib.Path(scratch), data)
    of_family: dict[str, list[Entry]] = {}
    for entry in entries:
        of_family.setdefault(entry.shown.family, []).append(entry)
    found = field_map()
    pages = {"index.html": index(found, of_family)}
    order = [described for group in found.values() for described in group]
    results = family_results()
    for i, described in enumerate(order):
        beside = (order[i - 1] if i else None, order[i + 1] if i + 1 < len(order) else None)
        own = of_family.get(described.name, [])
        lines = results.get(described.name, [])
        pages[f"{described.name}.html"] = family_page(described, own, lines, beside)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_file(out / name, text.encode("utf-8", "replace"))
    return [out / name for name in pages]


def page(
    title: str, summary: str, body: Html, navigation: Html | str = "", frames: object = ()
) -> str:
    """Returns a page with the scripts and the style of the gallery."""
    return document(
        title=title,
        summary=summary,
        body=body,
        data={"frames": frames},
        scripts=[asset(name) for name in SCRIPTS] + [own_asset("gallery.js")],
        style=own_asset("gallery.css"),
        navigation=navigation,
    )


def own_asset(name: str) -> str:
    """Returns the text of a file in the gallery's `static/`."""
    folder = importlib.resources.files("experiments.gallery") / "static"
    return (folder / name).read_text("utf-8")


# The map.


def index(found: dict[str, list[Described]], of_family: dict[str, list[Entry]]) -> str:
    """Returns the map of the field: what each family can do, and its newest samples."""
    buttons = [
        el("button", name, type="button", class_="chip", aria_pressed="false", data_can=name)
        for name in CAPABILITIES
    ]
    meanings = [
        el("div", el("dt", name), el("dd", words)) for name, (words, _) in CAPABILITIES.items()
    ]
    count = sum(map(len, of_family.values()))
    body = [
        el(
            "section",
            el("p", "Show the families that can", id="can"),
            el("div", *buttons, class_="stages", role="group", aria_labelledby="can"),
            el("p", role="status", class_="muted"),
            capability_table(found),
            el("details", el("summary", "What the columns mean"), el("dl", *meanings)),
            class_="map",
        )
    ]
    for kind, group in found.items():
        title, words = KINDS[kind]
        cards = [card(described, of_family.get(described.name, [])) for described in group]
        body.append(
            el(
                "section",
                el("h2", title),
                el("p", words, class_="muted"),
                el("ul", *cards, class_="cards", role="list"),
                data_kind=kind,
            )
        )
    with_runs = "no runs" if not count else "1 run" if count == 1 else f"{count} runs"
    summary = f"{sum(map(len, found.values()))} families, {with_runs}. Written by genjax"
    return page("Generative models in JAX", f"{summary} {__version__}.", join(body))


def capability_table(found: dict[str, list[Described]]) -> Html:
    """Returns a row per family and a column per capability."""
    heads = [el("th", "Family", scope="col"), el("th", "Density", scope="col")]
    heads += [el("th", name, scope="col", title=words) for name, (words, _) in CAPABILITIES.items()]
    body = []
    for kind, group in found.items():
        for described in group:
            cells = [
                el(
                    "td",
                    el("span", YES if name in described.can else NO, aria_hidden="true"),
                    el("span", "yes" if name in described.can else "no", class_="hidden-text"),
                    class_="yes" if name in described.can else "no",
                )
                for name in CAPABILITIES
            ]
            link = el("a", described.name, href=f"{described.name}.html")
            shown = {"exact": "exact", "bound": "bound", "none": "implicit"}[kind]
            first = [el("th", link, scope="row"), el("td", shown)]
            body.append(el("tr", *first, *cells, data_can=" ".join(described.can)))
    rows_of = el("table", el("thead", el("tr", *heads)), el("tbody", *body), id="capabilities")
    return el("div", rows_of, class_="box", role="region", aria_label="Capabilities", tabindex=0)


def card(described: Described, entries: list[Entry]) -> Html:
    """Returns the card of a family: samples, name and what it is."""
    frames = next((e.shown.frames for e in entries if e.shown.frames), None)
    picture = el("div", "no run", class_="thumbnail none")
    if frames:
        alt = f"Samples of {described.name}"
        picture = el("div", el("img", src=uri(frames[-1][1]), alt=alt), class_="thumbnail")
    link = el("a", described.name, href=f"{described.name}.html")
    return el(
        "li",
        picture,
        el("h3", link),
        el("p", described.title),
        data_can=" ".join(described.can),
    )


# The page of a family.


def family_page(
    described: Described,
    entries: list[Entry],
    results: list[dict[str, str]],
    beside: tuple[Described | None, Described | None],
) -> str:
    """Returns the page of a family: equation, runs, figures, how to run it, its docstring."""
    before, after = beside
    links = [el("a", "Map", href="index.html")]
    links += [el("a", f"\u2190 {before.name}", href=f"{before.name}.html")] if before else []
    links += [el("a", f"{after.name} \u2192", href=f"{after.name}.html")] if after else []
    badges = [el("li", KINDS[described.kind][0], class_="kind")]
    badges += [el("li", name) for name in described.can]
    sections = [
        el("div", equation(EQUATIONS[described.name]), class_="equation", tabindex=0),
        el("ul", *badges, class_="badges", role="list"),
    ]
    if not entries:
        missing = (
            f"No run of {described.name} was given, so there are no samples; see the commands."
        )
        sections.append(el("p", missing, class_="notes"))
    sections += [article(i, entry) for i, entry in enumerate(entries)]
    sections.append(section("How to run it", commands(described, entries, results)))
    if results:
        sections.append(section("Figures from the records", recorded(results)))
    sections.append(section("In detail", prose(described.paragraphs)))
    return page(
        described.name,
        described.title,
        join(sections),
        el("nav", *links, aria_label="Pages", class_="pages"),
        [grid_data(entry.shown) for entry in entries],
    )


def section(title: str, content: Html) -> Html:
    """Returns a section with a heading."""
    return el("section", el("h2", title), content)


def article(i: int, entry: Entry) -> Html:
    """Returns a run: its figure, what is left out, samples, and what a visitor can move."""
    run = entry.shown
    notes = [*run.notes, *entry.notes, *warnings(run)]
    moved = panels(entry)
    figure = figure_of(run.record)
    return el(
        "article",
        el("h2", run.label, id=f"run-{i}"),
        el("p", figure, class_="figure") if figure else "",
        facts(run),
        el("ul", *(el("li", note) for note in notes), class_="notes") if notes else "",
        el("div", *moved, class_="figures") if moved else "",
        samples(run),
        real_beside(run),
        class_="run",
        data_run=i,
    )


def figure_of(record: dict) -> Html | str:
    """Returns the figure of a record with its error, and the size and time of the run."""
    obtained, error = number(record.get("obtained")), number(record.get("std_error"))
    parts = []
    if obtained is not None:
        value = f"{obtained:.4g}" + ("" if error is None else f" \u00b1 {error:.2g}")
        parts.append(f"{record.get('metric', '')} {value} {record.get('unit', '')}".strip())
    for name, words in (("parameters", "{:,} parameters"), ("minutes", "{:.1f} minutes")):
        count = number(record.get(name))
        parts += [] if count is None else [words.format(count)]
    return ", ".join(parts)


def commands(described: Described, entries: list[Entry], results: list[dict[str, str]]) -> Html:
    """Returns the commands that train the family, and those that use its runs."""
    lines = [f"python -m experiments.examples.tour --only {described.name}"]
    lines += [
        f"python -m experiments.{file} --recipe {recipe}"
        for file, _, recipe in (row["row"].partition(":") for row in results[:6])
    ]
    lines.append(f"genjax train {described.name} --data FOLDER")
    for entry in entries:
        source = shlex.quote(entry.source)
        family = entry.model.family if entry.model else None
        use = f"genjax sample {source}"
        if isinstance(family, Translator):
            use = f"genjax translate {source} photos out"
        elif isinstance(family, PuzzleSolver):
            use = f"genjax solve {source} pieces restored.png"
        elif isinstance(family, TextToImage):
            use = f'genjax draw {source} "a caption" --out grid.png'
        lines.append(use)
    return el("pre", el("code", "\n".join(lines)), tabindex=0)


def family_results() -> dict[str, list[dict[str, str]]]:
    """Returns the rows of every family in the results table, as text."""
    runs = rows()
    found: dict[str, list[dict[str, str]]] = {}
    for row in table(count=False):
        cells = summary(runs[row["experiment"]], row)
        found.setdefault(row["family"], []).append(cells)
    for lines in found.values():
        lines.sort(key=lambda cells: cells["status"] == "not run")
    return found


def recorded(results: list[dict[str, str]]) -> Html:
    """Returns the rows that have been run, and the others folded."""
    ran = [row for row in results if row["status"] != "not run"]
    others = [row for row in results if row["status"] == "not run"]
    parts = [result_table(ran)] if ran else []
    if others:
        head = (
            f"{len(others)} {'row that has' if len(others) == 1 else 'rows that have'} not been run"
        )
        parts.append(el("details", el("summary", head), result_table(others)))
    return join(parts)


def result_table(results: list[dict[str, str]]) -> Html:
    """Returns a table of experiments: the paper's figure beside that obtained."""
    names = {
        "row": "Experiment",
        "what": "Quantity",
        "paper": "Paper",
        "obtained": "Obtained",
        "status": "Status",
    }
    numeric = ("paper", "obtained")
    heads = [
        el("th", words, scope="col", class_="number" if name in numeric else None)
        for name, words in names.items()
    ]
    body = [
        el(
            "tr",
            el("th", row["row"], scope="row"),
            *(
                el("td", row[name] or "\u2013", class_="number" if name in numeric else None)
                for name in list(names)[1:]
            ),
        )
        for row in results
    ]
    found = el("table", el("thead", el("tr", *heads)), el("tbody", *body), class_="metrics")
    return el("div", found, class_="box", role="region", aria_label="Experiments", tabindex=0)


def prose(paragraphs: Sequence[str]) -> Html:
    """Returns paragraphs of a docstring: indented ones and tables as they are, lists as lists."""
    out = []
    for paragraph in paragraphs:
        if paragraph.startswith((" ", "|")):
            out.append(el("pre", paragraph, tabindex=0))
        elif paragraph.startswith("* "):
            items = re.split(r"\n\* ", "\n" + paragraph)[1:]
            out.append(el("ul", *(el("li", _code(" ".join(item.split()))) for item in items)))
        else:
            out.append(el("p", _code(" ".join(paragraph.split()))))
    return el("div", *out, class_="prose")


def _code(words: str) -> Html:
    parts = words.split("`")
    return join(el("code", part) if i % 2 else part for i, part in enumerate(parts))
