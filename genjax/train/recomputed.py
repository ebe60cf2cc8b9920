"""The figure of a finished run, computed again: of rounded weights, or of a file."""

import dataclasses
import functools
import math
import pathlib
import sys
from typing import Any

from genjax import data as genjax_data
from genjax import evals, families
from genjax.train.compatibility import check_compatibility
from genjax.train.final_metrics import final_metrics
from genjax.train.load_run import check_trained_on
from genjax.train.progress import progress_callback
from genjax.train.run_config import Run, figure_metric
from genjax.train.splits import evaluation_conditions, evaluation_data, evaluation_key


@dataclasses.dataclass(frozen=True)
class RecomputedFigure:
    """A figure beside that of the record.

    Attributes:
      metric: name, as in the record.
      obtained: the figure; None if it is not finite.
      std_error: its standard error, or None.
      unit: of the figure.
      recorded: figure of the record, or None.
      recorded_error: its standard error, or None.
    """

    metric: str
    obtained: float | None
    std_error: float | None
    unit: str
    recorded: float | None
    recorded_error: float | None

    def agrees(self) -> bool:
        """Returns whether the figures differ by at most the standard error of the record's.

        Figures without an error agree only where they are equal to six digits.
        """
        if self.obtained is None or self.recorded is None:
            return self.obtained is self.recorded
        error = self.recorded_error
        allowed = 1e-6 * abs(self.recorded) if error is None else error
        return abs(self.obtained - self.recorded) <= allowed

    def __str__(self) -> str:
        error = "no standard error" if self.recorded_error is None else f"{self.recorded_error:.3g}"
        found = "no figure" if self.obtained is None else f"{self.obtained:.6g}"
        before = "no figure" if self.recorded is None else f"{self.recorded:.6g}"
        return f"{self.metric} {found}, and {before} in the record, +- {error}"


def figure_of(
    run: Run,
    variables: Any,
    record: dict[str, Any],
    workdir: pathlib.Path,
    source: str | None = None,
) -> RecomputedFigure:
    """Computes the figure of a run on its own data.

    Args:
      run: settings.
      variables: to evaluate with.
      record: of the run.
      workdir: folder, weights file or name of the run.
      source: the data, if they have moved since training.

    Raises:
      ValueError: the data are not there, or others; or as `recomputed_figure`.
    """
    data = dataclasses.replace(run.data, stream="no", data=source or run.data.data)
    run = dataclasses.replace(run, data=data)
    dataset = genjax_data.load(data)
    check_trained_on(dataset, workdir)
    check_compatibility(run, families.get(run.family), dataset)
    return recomputed_figure(run, variables, record, dataset)


def recomputed_figure(
    run: Run,
    variables: Any,
    record: dict[str, Any],
    dataset: genjax_data.Dataset,
) -> RecomputedFigure:
    """Computes the figure of a run as its end did: the density, or the metric that is the figure.

    The figure of `caption_accuracy` is of all draws, so no ranker is needed.

    Args:
      run: settings.
      variables: to evaluate with.
      record: of the run.
      dataset: its data.

    Raises:
      ValueError: the run has no figure, or its metric cannot be computed.
    """
    metric, obtained, error, unit = _figure(run, variables, dataset)
    recorded = record.get("obtained"), record.get("std_error")
    if record.get("metric", metric) != metric:
        raise ValueError(
            f"the record has the figure {record['metric']!r}, and this version of genjax computes"
            f" {metric!r}; use the version that trained the run, or train it again."
        )
    if obtained is not None and not math.isfinite(obtained):
        obtained = error = None
    return RecomputedFigure(metric, obtained, error, unit, *recorded)


def _figure(
    run: Run, variables: Any, dataset: genjax_data.Dataset
) -> tuple[str, float | None, float | None, str]:
    family = families.get(run.family)
    if names := figure_metric(run):
        only = dataclasses.replace(run, train=dataclasses.replace(run.train, metric=names[0]))
        result = final_metrics(only, family, dataset, variables, names)[names[0]]
        assert isinstance(result, evals.MetricResult)  # it is required
        return f"{names[0]} {result.FIGURE[0]}", *result.figure()
    quantity = evals.evaluated_quantity(family, run.model)
    if quantity is None:
        raise ValueError(
            f"{run.experiment} has no figure: {run.family} has no density, and the run no metric;"
            f" use genjax measure."
        )
    split = "test" if "test" in dataset.splits else "train"
    nll = evals.make_nll(family, run.model, num_samples=run.train.eval_samples, reported=True)
    key = evaluation_key(run, split)
    say = functools.partial(print, file=sys.stderr)
    nats = nll(
        variables,
        evaluation_data(run, dataset, split),
        key,
        run.train.eval_batch,
        evaluation_conditions(run, family, dataset, split),
        progress_callback(f"{run.experiment}  {split}", say),
    )
    return f"{split} {quantity.name}", *evals.mean_and_error(nats), quantity.unit
