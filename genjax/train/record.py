"""Records of finished runs, and their summaries over seeds."""

import dataclasses
import datetime
import importlib.metadata
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
from typing import Any, NotRequired, TypedDict

import jax
import numpy as np

from genjax import checks
from genjax.data.json_files import read_object
from genjax.train.checkpoint import write_json
from genjax.train.run_config import Figure, Run, to_json


class Record(TypedDict):
    """Entries of a record that are read again; those that older records lack are not required."""

    experiment: str
    seed: checks.Seed
    config: dict
    obtained: float | None
    std_error: float | None
    minutes: checks.NonNegativeFloat
    device: str
    commit: str
    family: NotRequired[str]
    dataset: NotRequired[str]
    metric: NotRequired[str]
    unit: NotRequired[str]
    paper: NotRequired[float | None]
    paper_tag: NotRequired[str]
    parameters: NotRequired[int | None]
    data_checksum: NotRequired[str]
    final_metrics: NotRequired[dict]


PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def count_parameters(family: Any, config: Any, variables: Any) -> int:
    """Returns the number of parameters; of counted families, the free ones of their tables."""
    stated = family.traits(config).num_parameters
    if stated is not None:
        return stated
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(variables["params"]))


def commit() -> str:
    """Returns the commit of this code, `-dirty` if files are changed, or `unknown` without git."""
    here = pathlib.Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD")[:12] + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that determine the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def device(devices: Any = None) -> str:
    """Returns kind and number of the devices, `NVIDIA H100 80GB HBM3 x1`."""
    found = list(jax.devices() if devices is None else devices)
    return f"{found[0].device_kind} x{len(found)}"


def dataset_name(source: str) -> str:
    """Returns the name of a data set from its file or prepared folder.

    >>> dataset_name("sets/mnist.npz"), dataset_name("prepared/photos/1.0.0"), dataset_name("mnist")
    ('mnist', 'photos', 'mnist')
    """
    path = pathlib.Path(source)
    if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and path.parent.name:
        return path.parent.name
    return path.name.removesuffix(".npz").removesuffix(".csv")


def figure_of_data(figure: Figure, checksum: str) -> Figure:
    """Returns a figure without its number and source if a run's data are not those it is about."""
    if not figure.data_checksum or checksum in figure.data_checksum.split():
        return figure
    return dataclasses.replace(figure, paper=None, tag="", source="", difference="")


def make_record(
    run: Run,
    *,
    metric: str,
    obtained: float | None,
    std_error: float | None,
    details: dict[str, Any],
    seconds: float,
    sessions: list[dict[str, Any]],
    unit: str = "nats",
) -> dict[str, Any]:
    """Returns the record of a finished run as plain JSON values.

    Args:
      run: settings.
      metric: name of the figure.
      obtained: the figure, or None.
      std_error: its standard error, or None.
      details: further entries, such as counts.
      seconds: of all sessions.
      sessions: `{"commit", "device", "from_step"}` of each call that made steps.
      unit: of the figure.
    """
    return {
        "experiment": run.experiment,
        "family": run.family,
        "dataset": dataset_name(run.data.data),
        "metric": metric,
        "unit": unit if obtained is not None else "",
        "paper": run.figure.paper,
        "paper_tag": run.figure.tag,
        "paper_source": run.figure.source,
        "difference": run.figure.difference,
        "obtained": _finite(obtained),
        "std_error": _finite(std_error),
        "seed": run.seed,
        "device": _each(sessions, "device"),
        "minutes": round(seconds / 60, 2),
        "commit": _each(sessions, "commit"),
        "sessions": sessions,
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "config": to_json(run),
        **details,
    }


def _each(sessions: list[dict[str, Any]], name: str) -> str:
    """Joins the distinct values of all sessions in order."""
    return ", ".join(dict.fromkeys(s[name] for s in sessions))


def _finite(value: float | None) -> float | None:
    """Returns None for a non-finite figure."""
    return value if value is not None and math.isfinite(value) else None


def run_name(experiment: str, seed: int) -> str:
    """Returns the name of a run's folder: experiment, recipe and seed.

    >>> run_name("pixelrnn_mnist:diagonal_7_cpu", 0)
    'pixelrnn_mnist-diagonal_7_cpu-seed0'
    """
    return f"{experiment.replace(':', '-')}-seed{seed}"


def record_name(record: dict[str, Any]) -> str:
    """Returns the file name of a record."""
    return f"{run_name(record['experiment'], record['seed'])}.json"


def write_record(folder: str | os.PathLike, record: dict[str, Any]) -> pathlib.Path:
    """Writes a record under its name, in place of an older one of the same experiment and seed."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / record_name(record)
    write_json(path, record)
    return path


def read_records(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns all records of a folder.

    Raises:
      ValueError: a file is not a record.
    """
    fix = "remove it, or run the experiment again"
    return [
        read_object(path, Record, problem="is not a record of a run", fix=fix)
        for path in sorted(pathlib.Path(folder).glob("*.json"))
    ]


def summarize(records: list[dict[str, Any]], figure: Figure | None = None) -> dict[str, Any]:
    """Returns one row of the table from the records of one experiment.

    Args:
      records: one per seed.
      figure: of the recipe.

    Returns:
      `obtained`: mean over seeds, None if a seed has no figure (it diverged); or the median, if
      `figure.aggregate` says so. `std_error`: that over the test examples, which all seeds share,
      and of several seeds the standard error between seeds, added in quadrature. Seeds that are
      folds share no examples, so only the error between them counts; so it does if no seed has an
      error of its own. A median has no error. `lowest`, `highest`: of several seeds. `shown_seed`:
      the seed with the highest `figure.show_seed_by`.
    """
    first = records[0]
    row = {
        k: first.get(k)
        for k in (
            *("experiment", "family", "parameters", "dataset", "metric", "unit", "paper"),
            *("paper_tag", "device", "commit"),
        )
    }
    values = [r["obtained"] for r in records if r["obtained"] is not None]
    errors = [r["std_error"] for r in records if r["std_error"] is not None]
    mean = sum(values) / len(values) if len(values) == len(records) else None
    error = sum(errors) / len(errors) if errors and mean is not None else None
    if mean is not None and len(values) > 1:
        spread = sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)
        folds = [_fold(r) for r in records]
        apart = None not in folds and len(set(folds)) == len(folds)
        error = math.sqrt(spread if apart or error is None else error**2 + spread)
    figure = figure or Figure()
    several = mean is not None and len(values) > 1
    if several and figure.aggregate == "median":
        mean, error = statistics.median(values), None
    row["obtained"], row["std_error"] = mean, error
    row["lowest"], row["highest"] = (min(values), max(values)) if several else (None, None)
    by = [_first_metric(r).get(figure.show_seed_by) for r in records]
    row["shown_seed"] = None
    if several and all(checks.matches(float, value) for value in by):
        row["shown_seed"] = records[int(np.argmax(np.array(by, float)))]["seed"]
    row["seeds"] = [r["seed"] for r in records]
    row["minutes"] = round(sum(r["minutes"] for r in records) / len(records), 2)
    row["device"] = ", ".join(sorted({r["device"] for r in records}))
    row["commit"] = ", ".join(sorted({r["commit"] for r in records}))
    return row


def _first_metric(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of the metric that is named first; empty without metrics."""
    train = record["config"].get("train")
    metric = train.get("metric") if isinstance(train, dict) else None
    name = metric.split(",")[0].strip() if isinstance(metric, str) else ""
    values = record.get("final_metrics", {}).get(name)
    return values if isinstance(values, dict) else {}


def _fold(record: dict[str, Any]) -> int | None:
    """Returns the fold that a record tests on, None without cross-validation."""
    data = record["config"].get("data")
    fold = data.get("fold") if isinstance(data, dict) else None
    return fold if isinstance(fold, int) else None
