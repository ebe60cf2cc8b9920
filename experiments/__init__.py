"""Experiments: one file per paper; `python -m experiments` prints the table of all rows.

A file's `RECIPES` maps names to settings, and `FILE:RECIPE` is a row of the table:

* `paper`: the settings as the paper prints them; what it leaves open is in `figure.difference`.
* `cpu`: the best obtained on two CPU cores with other settings.
* Where a file has several rows of its paper: `ROW` for the paper's settings, `ROW_cpu` for ours.

A recipe is missing where there is nothing to put in it: no `cpu` where the paper's settings were
run or have not been adapted, no `paper` where the paper prints a search and not its outcome. The
first recipe of a file is the default of its command, `python -m experiments.FILE`.

A file's `REQUIRES` has hardware and time of recipes that have not been run, by name, "*" for the
others; without it, recipes named `cpu` need two CPU cores. RESULTS.md shows it.
"""

import dataclasses
import typing
from collections.abc import Mapping

if typing.TYPE_CHECKING:
    from genjax.train import Run


def named(recipes: "Mapping[str, Run]") -> "dict[str, Run]":
    """Returns a file's recipes, whose `experiment` is FILE, with FILE:RECIPE in its place."""
    return {
        name: dataclasses.replace(run, experiment=f"{run.experiment}:{name}")
        for name, run in recipes.items()
    }


def in_unit_range(transform: str) -> str:
    """Returns a transform of images to [-1, 1] as one to [0, 1]; others unchanged.

    >>> in_unit_range("random_flip()|scale(-1, 1)")
    'random_flip()|scale(0, 1)'
    """
    return transform.replace("scale(-1, 1)", "scale(0, 1)")
