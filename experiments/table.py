"""The rows of the results table: every recipe of every experiment file, with its records."""

import functools
import importlib
import math
import pathlib
import pkgutil
from typing import Any

from genjax import families
from genjax.core import stages_of
from genjax.train import Run
from genjax.train.record import count_parameters, read_records, summarize
from genjax.train.run_config import figure_metric

HERE = pathlib.Path(__file__).parent
RECORDS = HERE / "records"
NOT_EXPERIMENTS = {
    *("__main__", "benchmarks", "examples", "gallery", "quantities", "reproduce", "results"),
    *("select", "strip", "table", "weights"),
}

COLUMNS = (
    *("experiment", "family", "parameters", "dataset", "metric", "unit", "paper", "paper_tag"),
    "obtained",
    *("std_error", "lowest", "highest", "seeds", "shown_seed", "device", "minutes", "commit"),
)

# Metrics of which a larger value is better; NLL, errors and distances are better when smaller.
HIGHER_IS_BETTER = {
    "parzen",
    "information",
    "inception_score",
    "svm",
    "gaussian_modes",
    "stacked_modes",
    "translation",
    "part_changes",
    "puzzle",
    "caption_accuracy",
    "caption_retrieval",
}

SHORT_NAMES = {  # of metrics, for a column of a terminal
    "fid": "FID",
    "kid": "KID",
    "swd": "SWD",
    "inception_score": "Inception score",
    "parzen": "Parzen window",
    "svm": "accuracy",
    "codes": "error",
    "classification error": "error",
    "gaussian_modes": "modes",
    "stacked_modes": "modes",
    "translation": "top-1",
    "attribute_translation": "error",
    "part_changes": "inside part",
    "puzzle": "solved",
    "caption_accuracy": "right images",
    "caption_retrieval": "top-1",
    "token_usage": "squared error",
    "token_nats": "nats per token",
}


def rows() -> dict[str, Run]:
    """Returns every recipe by its FILE:RECIPE name, files in alphabetical order."""
    recipes: dict[str, Run] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules([str(HERE)])):
        if module not in NOT_EXPERIMENTS:
            file = importlib.import_module(f"experiments.{module}")
            recipes |= {run.experiment: run for run in file.RECIPES.values()}
    return recipes


def table(folder: pathlib.Path = RECORDS, *, count: bool = True) -> list[dict[str, Any]]:
    """Returns one dict per row, with the keys of `COLUMNS`.

    Args:
      folder: of the records.
      count: whether to count the parameters of rows without a record, which takes seconds.

    Raises:
      ValueError: a file in the folder is not a record.
    """
    records = read_records(folder)
    out = []
    for name, run in rows().items():
        own = [record for record in records if record["experiment"] == name]
        if own:
            row = summarize(own, run.figure)
        else:
            row = dict.fromkeys(COLUMNS) | {"experiment": name, "seeds": []}
            row |= {"family": run.family, "dataset": run.data.data}
            row["parameters"] = parameters(run) if count else None
        # The evidence of a figure can change after a run.
        row |= {"paper": run.figure.paper, "paper_tag": run.figure.tag}
        out.append({column: row[column] for column in COLUMNS})
    return out


def summary(run: Run, row: dict[str, Any]) -> dict[str, str]:
    """Returns the cells of a row that are printed for a person, as text.

    Args:
      run: the recipe.
      row: its entry of `table`.
    """
    traits = families.get(run.family).traits(run.model)
    metric = next(iter(figure_metric(run)), traits.metric)
    obtained, error, minutes = row["obtained"], row["std_error"], row["minutes"]
    return {
        "row": row["experiment"],
        "what": SHORT_NAMES.get(metric, metric),
        "paper": number(row["paper"]),
        "obtained": number(obtained, error),
        "minutes": "" if minutes is None else f"{minutes:.0f}" if minutes >= 1 else "<1",
        "status": status(row, higher=metric in HIGHER_IS_BETTER),
    }


def status(row: dict[str, Any], *, higher: bool) -> str:
    """Returns whether a row reaches the paper's figure, to within two standard errors.

    A figure from memory is no figure to reach.
    """
    if not row["seeds"]:
        return "not run"
    if row["paper"] is None:
        return "no figure"
    if row["obtained"] is None:
        return "diverged"
    if row["paper_tag"] == "memory":
        return "from memory"
    margin = row["obtained"] - row["paper"] if higher else row["paper"] - row["obtained"]
    return "reached" if margin + 2 * (row["std_error"] or 0.0) >= 0 else "not reached"


def number(value: float | None, error: float | None = None) -> str:
    """Returns a figure with two decimals, or three digits below 1, and its standard error.

    >>> number(88.326, 0.291), number(0.3142, 0.0021), number(0.000223, 0.0000073)
    ('88.33 ± 0.29', '0.314 ± 0.002', '2.23e-4 ± 7e-6')
    """
    if value is None:
        return ""
    if 0 < abs(value) < 0.01:
        texts = [f"{value:.2e}"] + ([] if error is None else [f"{error:.0e}"])
        return " ± ".join(texts).replace("e-0", "e-")
    small = 0 < abs(value) < 1
    decimals = 2 - math.floor(math.log10(abs(value))) if small else 2
    return f"{value:.{decimals}f}" + ("" if error is None else f" ± {error:.{decimals}f}")


def parameters(run: Run) -> int:
    """Returns the number of trained parameters of a row's model, from shapes alone.

    Of networks that grow, it is the number at the end of the run.
    """
    family = families.get(run.family)
    stages = stages_of(family, run.model, run.train.batch_size, run.train.steps)
    return _count(run.family, run.model, len(stages) - 1)


@functools.cache  # several rows can have one model
def _count(name: str, config: Any, growths: int) -> int:
    import jax

    family = families.get(name)

    def variables(key: Any) -> Any:
        grown = family.init(config, key)
        for _ in range(growths):
            grown = family.grow(config, grown, key)
        return grown

    return count_parameters(family, config, jax.eval_shape(variables, jax.random.key(0)))
