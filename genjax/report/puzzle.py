"""A puzzle that a visitor of a page shuffles, and that the run has solved already."""

import json
from collections.abc import Iterable

from genjax.report.markup import Html, el
from genjax.train.solved_puzzles import SolvedPuzzles

NOTES = {
    True: "The run finds the same position of a piece however the pieces are shuffled.",
    False: "The run has solved these shuffles; Solve shows the solution of the last one.",
}


def puzzle(solved: SolvedPuzzles, images: str) -> Html:
    """Returns a figure with the pieces of an image, which the script fills and shows.

    Args:
      solved: puzzles of some images.
      images: source of the images, beside one another.
    """

    def choice(name: str, values: Iterable[int], unit: str = "", first: int = 0) -> Html:
        options = [el("option", f"{value + first}{unit}", value=value) for value in sorted(values)]
        select = el("select", *options, data_choice=name.lower())
        # Without a choice there is nothing to see, and the script finds its value.
        return el("label", el("span", name), select, hidden=len(options) < 2)

    puzzles = solved.puzzles
    values = {
        "grid": solved.grid,
        "height": solved.height,
        "width": solved.width,
        "anyOrder": solved.any_order,
        "puzzles": [
            [p.image, p.gap, p.missing, p.order, p.found, p.probability, p.same] for p in puzzles
        ],
    }
    return el(
        "figure",
        el("h4", "Puzzle"),
        el("img", src=images, alt="", class_="sprite", hidden=True),
        el("div", class_="board", role="group"),
        el(
            "figcaption",
            choice("Image", {p.image for p in puzzles}, first=1),
            choice("Gap", {p.gap for p in puzzles}, " px"),
            choice("Missing", {len(p.missing) for p in puzzles}),
            el("button", "Shuffle", type="button", data_do="shuffle"),
            el("button", "Solve", type="button", data_do="solve"),
        ),
        el("p", role="status"),
        el("p", "Choose two pieces to exchange them. ", NOTES[solved.any_order], class_="muted"),
        class_="puzzle",
        hidden=True,
        data_puzzle=json.dumps(values, separators=(",", ":")),
    )
