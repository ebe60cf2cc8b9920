"""Lessons: cells that are registered by a decorator, what they measure and draw, and their page."""

import dataclasses
import inspect
import pathlib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from experiments.examples.lecture.training import RUNS, SMOKE_RUNS
from experiments.gallery.mathml import equation
from genjax.data.file_writing import write_file
from genjax.data.image_grid import grid_with_layout
from genjax.report.document import document, uri
from genjax.report.markup import Html, el, join, text
from genjax.train import Run

FOLDER = pathlib.Path("runs/lecture")
COLUMNS = 10  # of a picture


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured quantity and what it is compared with, by name; `form` is a format string."""

    what: str
    value: float
    beside: Mapping[str, float]
    form: str

    def __str__(self) -> str:
        others = ", ".join(f"{name} {value:{self.form}}" for name, value in self.beside.items())
        return f"{self.what}: {self.value:{self.form}}" + (f" ({others})" if others else "")


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A registered cell.

    Attributes:
      number: from 1, in the order of the course.
      name: for `--only` and the picture's file.
      title: heading.
      cell: function of a `Notes`.
    """

    number: int
    name: str
    title: str
    cell: Callable[["Notes"], None]


LESSONS: dict[str, Lesson] = {}
"""Lessons by name, in the order of the imports of their modules."""


def in_order() -> list[Lesson]:
    """Returns all lessons in the order of the course."""
    return sorted(LESSONS.values(), key=lambda lesson: lesson.number)


@dataclasses.dataclass
class Notes:
    """What a lesson measures and draws. `smoke` makes it short, and its figures meaningless."""

    lesson: Lesson
    folder: pathlib.Path
    smoke: bool = False
    figures: list[Figure] = dataclasses.field(default_factory=list)
    caption: str = ""
    seconds: float = 0.0

    @property
    def runs(self) -> Mapping[str, Run]:
        """Settings of the models, by family."""
        return SMOKE_RUNS if self.smoke else RUNS

    def few(self, count: int, least: int = 3) -> int:
        """Returns a number of steps or of examples: `count`, or `least` in a smoke run."""
        return min(count, least) if self.smoke else count

    def measure(
        self, what: str, value: Any, beside: Mapping[str, Any] | None = None, form: str = ".2f"
    ) -> None:
        """Prints and keeps a measured quantity, and what it is compared with.

        Args:
          what: name, with the unit.
          value: a number.
          beside: baselines, floors and ceilings by name.
          form: format of the numbers, such as ".1%".
        """
        others = {name: float(other) for name, other in (beside or {}).items()}
        self.figures.append(Figure(what, float(value), others, form))
        print(f"  {self.figures[-1]}", flush=True)

    def draw(self, rows: Mapping[str, Any], low: float = 0.0, high: float = 1.0) -> None:
        """Writes the lesson's picture: rows of images, from top to bottom, with their captions.

        Args:
          rows: images `[N, H, W, C]` by caption, of N a multiple of 10 (fewer are one short row).
          low: value that is black.
          high: value that is white.
        """
        images = np.concatenate([np.asarray(x, np.float32) for x in rows.values()])
        picture, _ = grid_with_layout(images, low, high, columns=COLUMNS)
        Image.fromarray(picture).save(self.picture)
        self.caption = "Rows from top to bottom: " + "; ".join(rows) + "."
        if "IPython" in sys.modules:  # a cell in an editor
            from IPython.display import display

            display(Image.fromarray(picture))
        print(f"  {self.picture}: {self.caption}", flush=True)

    @property
    def picture(self) -> pathlib.Path:
        """File of the picture."""
        return self.folder / f"{self.lesson.number:02d}_{self.lesson.name}.png"


def lesson(
    number: int, name: str, title: str
) -> Callable[[Callable[[Notes], None]], Callable[[Notes], None]]:
    """Registers a cell as a lesson; a cell of the main program, as in an editor, runs at once."""

    def register(cell: Callable[[Notes], None]) -> Callable[[Notes], None]:
        LESSONS[name] = Lesson(number, name, title, cell)
        if cell.__module__ == "__main__":
            FOLDER.mkdir(parents=True, exist_ok=True)
            run_lesson(LESSONS[name], FOLDER)
        return cell

    return register


def run_lesson(chosen: Lesson, folder: pathlib.Path, *, smoke: bool = False) -> Notes:
    """Runs a lesson, prints its figures and seconds, and returns its notes."""
    print(f"{chosen.number}. {chosen.title}", flush=True)
    notes, start = Notes(chosen, folder, smoke), time.monotonic()
    chosen.cell(notes)
    notes.seconds = time.monotonic() - start
    print(f"  {notes.seconds:.1f} seconds", flush=True)
    return notes


def markdown(chosen: Lesson) -> list[str]:
    """Returns the paragraphs of the `# %% [markdown]` cell above a lesson, without its heading."""
    source = inspect.getsource(inspect.getmodule(chosen.cell))  # type: ignore[arg-type]
    before = source[: source.index(f"def {chosen.cell.__name__}(")]
    cell = before.split("# %% [markdown]\n")[-1].split("\n\n# %%")[0]
    lines = [re.sub("^# ?", "", line) for line in cell.splitlines()]
    paragraphs = "\n".join(lines).split("\n\n")
    return [" ".join(p.split()) for p in paragraphs if p.strip() and not p.startswith("#")]


def _paragraph(words: str) -> Html:
    if words.startswith("$$"):
        return equation(words.strip("$ "))
    parts = re.split(r"`([^`]+)`", words)
    return el("p", join(el("code", p) if i % 2 else text(p) for i, p in enumerate(parts)))


def write_page(notes: Sequence[Notes], path: pathlib.Path) -> pathlib.Path:
    """Writes text, equations, figures and pictures of lessons as one HTML file."""
    sections = []
    for note in notes:
        rows = [
            el("tr", el("td", f.what), el("td", f"{f.value:{f.form}}"), el("td", _beside(f)))
            for f in note.figures
        ]
        head = el("tr", *(el("th", name) for name in ("measured", "value", "beside")))
        number, title = note.lesson.number, note.lesson.title
        sections.append(
            el(
                "section",
                el("h2", f"{number}. {title}"),
                *map(_paragraph, markdown(note.lesson)),
                el("table", head, *rows),
                el("img", src=uri(note.picture.read_bytes()), alt=note.caption),
                el("p", note.caption),
                el("p", f"{note.seconds:.1f} seconds"),
            )
        )
    page = document(
        title="A lecture on generative models",
        summary="Every figure was measured when this page was written.",
        body=join(sections),
        data={},
        scripts=(),
    )
    write_file(path, page.encode())
    return path


def _beside(figure: Figure) -> str:
    return ", ".join(f"{name}: {value:{figure.form}}" for name, value in figure.beside.items())
