"""Writes RESULTS.md: every row of the papers' tables, from the records and the recipes alone.

    python -m experiments.results            # after a new record or a changed recipe
    python -m experiments.results --check    # the rows that differ, and exit status 1

A conflict in RESULTS.md is solved by writing it again.
"""

import argparse
import dataclasses
import importlib
import itertools
import pathlib
import re
import statistics
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.quantities import QUANTITIES, Quantity, values_of
from experiments.table import RECORDS, number, rows, summary, table
from genjax.evals.requirements import REQUIREMENTS
from genjax.train import Run
from genjax.train.record import read_records
from genjax.train.run_config import figure_metric

FILE = pathlib.Path(__file__).parents[1] / "RESULTS.md"
WIDTH = 100  # of lists, in characters

SYSTEMS = {  # families, in the order of the course
    "Joint table, Markov models and mixtures": ("joint", "markov", "mixture"),
    "NADE family": ("fvsbn", "nade", "orderless_nade", "rnade", "made"),
    "PixelRNN and PixelCNN": ("pixelrnn", "pixelcnn", "pixelcnn_pp"),
    "VAE": ("vae", "hierarchical_vae", "m2"),
    "GAN": ("gan",),
    "DCGAN": ("dcgan",),
    "InfoGAN": ("infogan",),
    "Text to image": ("dvae", "dalle", "gan_cls", "joint_embedding"),
    "Puzzles": ("jigsaw", "jigsaw_assignment", "puzzle_gan"),
    "CycleGAN and pix2pix": ("cyclegan", "pix2pix"),
    "StarGAN": ("stargan",),
    "Progressive GAN": ("progressive",),
}


HEAD = """# Results

Every row of the papers' tables that has an experiment, in the order of the course, and baselines
without a paper. `python -m experiments.results` writes this page from
[the records](experiments/records) and [the recipes](experiments); `--check` names the rows that
differ from it.

* **paper**: the paper's figure, and where it was read: `seen` in the paper, `seen-2nd` in a text
  that quotes it, `figure` measured in a plot, `calc` computed. One from `memory` is not verified
  and no figure to reach.
* **here**: on the test split, ± the standard error over test examples, and between seeds if there
  are several; in brackets the lowest and the highest seed. Without ±, no error was computed.
* **reached**: better than the paper's figure, or within two standard errors of it.
* **floor**, **ceiling**: the same quantity without a trained model, and that of real or true images
  or of the best possible model.
* **n**: test examples, samples or captions of a seed. Lines below it are further quantities.
* **chosen step**: of the weights that are measured, by validation or the last.
* **minutes**: of a seed. CPU cores were shared with other programs.

`python -m experiments.FILE --recipe RECIPE` runs the row `FILE:RECIPE`. What `--data` takes is in
[data](docs/data.md), the file of `--fid-weights` in [evaluation](docs/evaluation.md).
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of the page, and the rows that it is about."""

    text: str
    rows: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """A recipe that has been run."""

    run: Run
    cells: dict[str, Any]
    """Its entry of `table`."""
    records: list[dict[str, Any]]


def page(folder: pathlib.Path = RECORDS) -> list[Block]:
    """Returns the parts of RESULTS.md in order.

    Args:
      folder: of the records.

    Raises:
      ValueError: a file in the folder is not a record, or a recipe lacks what the page states.
    """
    recipes, records = rows(), read_records(folder)
    cells = {row["experiment"]: row for row in table(folder, count=False)}
    sections, counts = [], []
    for system, names in by_system(recipes).items():
        done = {
            n: Row(recipes[n], cells[n], [r for r in records if r["experiment"] == n])
            for n in names
            if cells[n]["seeds"]
        }
        left = {n: recipes[n] for n in names if n not in done}
        states = [summary(recipes[n], cells[n])["status"] for n in names]
        reached = [states.count(state) for state in ("reached", "not reached")]
        counts.append([[system, *(f"{n}" for n in (len(names), len(done), *reached))]])
        sections.append(Block(f"\n## {system}"))
        if done:
            sections += [*figures(done), *provenance(done), *differences(done)]
        if left:
            sections += not_run(left)
    heads = ["system", "rows", "run", "reached", "not reached"]
    return [Block(HEAD.rstrip()), *markdown_table(heads, counts), *sections]


def by_system(recipes: Mapping[str, Run]) -> dict[str, list[str]]:
    """Returns the rows of every system; those of a file belong to the family of its first row.

    Raises:
      ValueError: a family belongs to no system.
    """
    order = {family: n for n, family in enumerate(itertools.chain(*SYSTEMS.values()))}
    first: dict[str, str] = {}  # family by file
    for name, run in recipes.items():
        if run.family not in order:
            raise ValueError(f"family {run.family!r} belongs to no system; add it to `SYSTEMS`.")
        first.setdefault(name.partition(":")[0], run.family)
    family = {name: first[name.partition(":")[0]] for name in recipes}
    ordered = sorted(recipes, key=lambda name: order[family[name]])
    return {s: [n for n in ordered if family[n] in families] for s, families in SYSTEMS.items()}


def markdown_table(
    heads: Sequence[str], groups: Sequence[Sequence[Sequence[str]]], names: Sequence[str] = ()
) -> list[Block]:
    """Returns a Markdown table, with one block for the lines of each group.

    Args:
      heads: names of the columns; those without any cell are left out.
      groups: lines of cells.
      names: row of the results of every group.
    """
    kept = [i for i in range(len(heads)) if any(line[i] for group in groups for line in group)]

    def text(line: Sequence[str]) -> str:
        return "|" + "".join(f" {line[i]} |" if line[i] else " |" for i in kept)

    blocks = [Block(f"\n{text(heads)}\n|{'---|' * len(kept)}")]
    for i, group in enumerate(groups):
        blocks.append(Block("\n".join(map(text, group)), (names[i],) if names else ()))
    return blocks


def figures(done: Mapping[str, Row]) -> list[Block]:
    """Returns the table of figures; each row has lines for its further quantities below it."""
    groups = []
    for name, row in done.items():
        cells = row.cells
        shown = summary(row.run, cells)
        reached = {"reached": "yes", "not reached": "no"}.get(shown["status"], "")
        paper = f"{shown['paper']} {cells['paper_tag']}".strip()
        obtained = shown["obtained"] or "diverged"
        if cells["lowest"] is not None:
            obtained += f" ({number(cells['lowest'])} to {number(cells['highest'])})"
        label, floor, ceiling, count = _figure(row, shown["what"])
        first = [f"`{name}`", label, paper, obtained, reached, floor, ceiling, count]
        groups.append([first, *(["", a, "", b, "", c, d, ""] for a, b, c, d in _further(row))])
    heads = ["row", "quantity", "paper", "here", "reached", "floor", "ceiling", "n"]
    return markdown_table(heads, groups, list(done))


def _figure(row: Row, what: str) -> tuple[str, str, str, str]:
    """Returns quantity, floor, ceiling and number of examples of a row's figure."""
    metric, first = next(iter(figure_metric(row.run)), ""), row.records[0]
    if metric in QUANTITIES:
        quantity = QUANTITIES[metric][0]
        return (
            quantity.label,
            *_references(row, metric, quantity),
            quantity.count_text(first, metric),
        )
    if bound := first.get("bound_samples", 0):
        what += f", {bound:,} sample{'s' * (bound > 1)}"
    count = values_of(first, metric).get("n_fake") if metric else first.get("evaluated")
    return f"{what}, {row.cells['unit']}".rstrip(", "), "", "", f"{count:,}" if count else ""


def _further(row: Row) -> Iterable[tuple[str, str, str, str]]:
    """Yields label, value, floor and ceiling of the quantities besides the figure."""
    figure, first = next(iter(figure_metric(row.run)), ""), row.records[0]
    if "bits_per_dim" in first:
        bits = statistics.fmean(record["bits_per_dim"] for record in row.records)
        yield "bits per dimension", number(bits), "", ""
    if "density" in first:  # where the figure is another
        density = first["density"]
        yield f"{density['metric']}, nats", number(density["value"], density["std_error"]), "", ""
    for metric in row.run.train.metrics:
        for quantity in QUANTITIES.get(metric, ())[metric == figure :]:
            value = quantity.value_text([values_of(record, metric) for record in row.records])
            if value:
                yield (quantity.label, value, *_references(row, metric, quantity))


def _references(row: Row, metric: str, quantity: Quantity) -> tuple[str, str]:
    """Returns floor and ceiling of a quantity."""
    values = [values_of(record, metric) for record in row.records]
    names = (quantity.floors, quantity.ceilings)
    floor, ceiling = (quantity.reference_text(side, values) for side in names)
    return floor, ceiling


def provenance(done: Mapping[str, Row]) -> list[Block]:
    """Returns the table of how the figures were obtained."""
    groups = []
    for name, row in done.items():
        cells, records = row.cells, row.records
        steps = _numbers([record["chosen_step"] for record in records])
        by = {record["chosen_by"].removesuffix(" step") for record in records}
        minutes = summary(row.run, cells)["minutes"]
        seeds = _numbers(cells["seeds"])
        chosen = f"{steps}, {', '.join(sorted(by))}"
        groups.append([[f"`{name}`", seeds, chosen, cells["device"], minutes, cells["commit"]]])
    heads = ["row", "seeds", "chosen step", "hardware", "minutes", "commit"]
    return markdown_table(heads, groups, list(done))


def _numbers(values: Sequence[int]) -> str:
    """Returns the lowest and the highest of several numbers, or both of two."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def differences(done: Mapping[str, Row]) -> list[Block]:
    """Returns the list of why figures differ, or why there is none to compare with.

    Raises:
      ValueError: a recipe states no reason.
    """
    groups: dict[tuple[str, str], dict[str, Run]] = {}
    for name, row in done.items():
        figure = row.run.figure
        if figure.paper is None and not figure.source:
            raise ValueError(f"{name} has no figure of a paper; say so in its `Figure.source`.")
        if figure.paper is not None and not figure.difference:
            raise ValueError(f"{name} has a record; say in `Figure.difference` why it may differ.")
        file = name.partition(":")[0] if figure.paper is None else ""
        groups.setdefault((file, figure.difference), {})[name] = row.run
    blocks = [Block("\nWhy they differ, or have no figure to compare with:\n")]
    for (file, difference), runs in groups.items():
        sources = joined(run.figure.source for run in runs.values())
        text = f"{short_names(runs)}{': no figure' if file else ''} ({sources})"
        blocks.append(item(f"{text}: {difference}." if difference else f"{text}.", runs))
    return blocks


def short_names(runs: Iterable[str], after: Mapping[str, str] | None = None) -> str:
    """Returns the names of rows, without the file where it is that of the row before.

    Args:
      runs: the names.
      after: words after each name.

    >>> short_names(["iwae_mnist:k1", "iwae_mnist:k5"])
    '`iwae_mnist:k1`, `:k5`'
    """
    shown, before = [], ""
    for name in runs:
        file, _, recipe = name.partition(":")
        shown.append(f"`:{recipe}`" if file == before else f"`{name}`")
        shown[-1] += (after or {}).get(name, "")
        before = file
    return ", ".join(shown)


def joined(texts: Iterable[str]) -> str:
    """Joins texts, with their common first words once.

    >>> joined(["table 2: 1 layer", "table 2: 2 layers"])
    'table 2: 1 layer; 2 layers'
    """
    words = [text.split() for text in dict.fromkeys(texts)]
    if len(words) == 1:
        return " ".join(words[0])
    columns = zip(*words, strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    rest = "; ".join(" ".join(text[common:]) for text in words)
    return " ".join([*words[0][:common], rest])


def item(text: str, names: Iterable[str]) -> Block:
    """Returns an item of a list, wrapped."""
    options: Any = dict(subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return Block(textwrap.fill(f"* {text}", WIDTH, **options), tuple(names))


def not_run(left: Mapping[str, Run]) -> list[Block]:
    """Returns the list of rows without a record, and what they need.

    Raises:
      ValueError: a recipe's file does not say what it needs.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}  # rows with their figures
    for name, run in left.items():
        figure = run.figure
        paper = "" if figure.paper is None else f" ({number(figure.paper)} {figure.tag})"
        groups.setdefault((name.partition(":")[0], requirements(name, run)), {})[name] = paper
    title = Block("\nNot run, with the paper's figures and what they need:\n")
    items = [item(f"{short_names(g, g)}: {needs}.", g) for (_, needs), g in groups.items()]
    return [title, *items]


def requirements(name: str, run: Run) -> str:
    """Returns hardware, length and data that a row needs.

    Hardware and time are in `REQUIRES` of its file, by recipe or, for the others, by "*"; rows
    named `cpu` or `..._cpu` need two CPU cores.

    Raises:
      ValueError: they are not there.
    """
    file, _, recipe = name.partition(":")
    stated = getattr(importlib.import_module(f"experiments.{file}"), "REQUIRES", {})
    on_cpu = "two CPU cores" if recipe.split("_")[-1] == "cpu" else None
    hardware = stated.get(recipe) or on_cpu or stated.get("*")
    if hardware is None:
        raise ValueError(
            f"{name} has no record, and what it needs is not stated; write hardware and time in"
            f' `REQUIRES["{recipe}"]` of experiments/{file}.py.'
        )
    steps = sum(phase.train.steps for phase in run.phases) + run.train.steps
    own = re.search(r"\.npz$|/\d+\.\d+\.\d+$", run.data.data)
    data = f"`--data FILES`, for `{run.data.data}`" if own else f"data `{run.data.data}`"
    size = run.train.batch_size
    needs = [hardware, f"{steps:,} steps of {size:,} example{'s' * (size > 1)}", data]
    if any(REQUIREMENTS[metric].inception for metric in run.train.metrics):
        needs.append("`--fid-weights FILE`")
    return "; ".join(needs)


def differing(blocks: Sequence[Block], text: str) -> list[str]:
    """Returns the rows whose parts of the page are not in a text, in order; "other lines" if the
    text differs elsewhere."""
    lines = f"\n{text}\n"
    found = {row for b in blocks for row in b.rows if f"\n{b.text}\n" not in lines}
    names = [name for name in rows() if name in found]
    return names or ([] if text == written(blocks) else ["other lines"])


def written(blocks: Sequence[Block]) -> str:
    """Returns the page as text."""
    return "\n".join(block.text for block in blocks) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the page and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.results",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS, help="folder of records")
    parser.add_argument("--out", type=pathlib.Path, default=FILE, help="the file (RESULTS.md)")
    options = parser.parse_args(argv)
    try:
        if not options.records.is_dir():
            raise ValueError(f"there is no folder {options.records}; name that of the records.")
        blocks = page(options.records)
        if not options.check:
            options.out.write_text(written(blocks), encoding="utf-8")
            return 0
        text = options.out.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = differing(blocks, text)
    if names:
        print(
            f"error: {options.out} does not match the records and recipes: {', '.join(names)}; run"
            " python -m experiments.results.",
            file=sys.stderr,
        )
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
