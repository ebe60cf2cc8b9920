"""The rows of the repository's table: every recipe of every experiment file."""

import importlib
import pathlib
import pkgutil
from typing import Any

import jax

from genjax import families
from genjax.train import Run
from genjax.train.record import count_parameters, read_records, summarize

HERE = pathlib.Path(__file__).parent
RECORDS = HERE / "records"
NOT_EXPERIMENTS = {"__main__", "benchmarks", "examples", "reproduce", "select", "table"}

COLUMNS = (
    *("experiment", "family", "parameters", "dataset", "metric", "unit", "paper", "paper_tag"),
    "obtained",
    *("std_error", "lowest", "highest", "seeds", "shown_seed", "device", "minutes", "commit"),
)


def rows() -> dict[str, Run]:
    """Every recipe under its experiment's name, files in alphabetical order."""
    found: dict[str, Run] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules([str(HERE)])):
        if module not in NOT_EXPERIMENTS:
            recipes = importlib.import_module(f"experiments.{module}").RECIPES
            found |= {run.experiment: run for run in recipes.values()}
    return found


def table(folder: pathlib.Path = RECORDS) -> list[dict[str, Any]]:
    """One dict a row with the keys of `COLUMNS`; rows that were not run yet have no figure.

    Raises:
      ValueError: a file in the folder is not a record.
    """
    records = read_records(folder)
    out = []
    for name, run in rows().items():
        mine = [r for r in records if r["experiment"] == name]
        if mine:
            row = summarize(mine, run.figure)
        else:
            row = dict.fromkeys(COLUMNS)
            row |= {"experiment": name, "family": run.family, "dataset": run.data.data}
            row |= {"paper": run.figure.paper, "paper_tag": run.figure.tag, "seeds": []}
            row["parameters"] = parameters(run)
        out.append({column: row[column] for column in COLUMNS})
    return out


def parameters(run: Run) -> int:
    """Trained numbers of a row's model, counted from its shapes alone."""
    family = families.get(run.family)
    shapes = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    return count_parameters(family, run.model, shapes)
