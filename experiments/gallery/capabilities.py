"""What each family can do, from the protocols that it implements."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable
from typing import Any

from genjax import families
from genjax.core.protocols import (
    Autoregressive,
    Completion,
    Features,
    PuzzleSolver,
    Sampler,
    TextToImage,
    Translator,
)

KINDS = {
    "exact": ("Exact density", "log p(x) is computed."),
    "bound": ("Bound on the density", "A lower bound of log p(x) is computed."),
    "none": ("Implicit", "No density: the model draws, translates, solves or scores."),
}


def _density(family: Any) -> str:
    return str(family.traits(family.Config()).density)


# Name: what it means, and whether a family does it.
CAPABILITIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "sample": ("draws examples", lambda f: isinstance(f, Sampler)),
    "density": ("evaluates log p(x), or a bound of it", lambda f: _density(f) != "none"),
    "complete": (
        "draws missing pixels given the others",
        lambda f: isinstance(f, (Autoregressive, Completion)),
    ),
    "classify": (
        "finds the class with the largest p(x | c) p(c), by the density of one model per class"
        " or of a conditional model",
        lambda f: _density(f) != "none",
    ),
    "detect": ("finds outliers by a low density", lambda f: _density(f) != "none"),
    "features": ("encodes examples as vectors", lambda f: isinstance(f, Features)),
    "translate": ("maps images to images", lambda f: isinstance(f, Translator)),
    "solve": ("finds the positions of puzzle pieces", lambda f: isinstance(f, PuzzleSolver)),
    "draw": ("draws images of texts", lambda f: isinstance(f, TextToImage)),
}


@dataclasses.dataclass(frozen=True)
class Described:
    """A family on the map.

    Attributes:
      name: of the family.
      title: first paragraph of its docstring.
      paragraphs: the other paragraphs.
      kind: `exact`, `bound` or `none`.
      can: names in `CAPABILITIES`.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...]
    kind: str
    can: tuple[str, ...]


def describe(name: str) -> Described:
    """Returns what the protocols and the docstring of a family say."""
    family = families.get(name)
    first, *rest = inspect.cleandoc(family.__doc__ or name).split("\n\n")
    title = " ".join(first.split())
    can = tuple(word for word, (_, does) in CAPABILITIES.items() if does(family))
    return Described(name, title, tuple(rest), _density(family), can)


def field_map() -> dict[str, list[Described]]:
    """Returns the families of each kind of density, in the order of the registry."""
    found = sorted(map(describe, families.FAMILIES), key=lambda d: list(KINDS).index(d.kind))
    return {kind: list(group) for kind, group in itertools.groupby(found, lambda d: d.kind)}
