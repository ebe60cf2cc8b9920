"""The end of a run: one evaluation on test, final metrics, the record."""

import functools
import math
from typing import Any

import jax

from genjax import data as genjax_data
from genjax import evals, families
from genjax.core import State
from genjax.core.protocols import LatentVariable, PuzzleSolver
from genjax.core.state import ema_warning
from genjax.losses import bits_per_dim
from genjax.train import gan_diagnostics
from genjax.train import record as records
from genjax.train.checkpoint import write_json
from genjax.train.final_metrics import active_units, final_metrics
from genjax.train.load_run import evaluation_variables
from genjax.train.named_runs import described_ranker
from genjax.train.run_config import Run, batches_per_step, figure_metric
from genjax.train.sample_grids import write_overview
from genjax.train.signals import barrier
from genjax.train.solved_puzzles import solve_puzzles, write_puzzles
from genjax.train.status import RunStatus
from genjax.train.trainer import Trainer


def finish(trainer: Trainer, state: State, step: int, ranker: Any = None) -> dict[str, Any]:
    """Evaluates the chosen state on test, once, and writes the record.

    Args:
      trainer: of the run, which has ended.
      state: of its last step.
      step: that step.
      ranker: of `load_ranker`, by which metrics re-rank samples, or None.

    Raises:
      StopRequested: a signal arrived; the same command evaluates again.
      FloatingPointError: the figure is not finite.
    """
    run, family, dataset = trainer.run, trainer.family, trainer.dataset
    chosen, chosen_step = best_state(trainer, state, step)
    status = trainer.status
    quantity = evals.evaluated_quantity(family, run.model)
    details: dict[str, Any] = {
        "steps": step,
        "chosen_step": chosen_step,
        "chosen_by": "validation" if status.best is not None else "last step",
        "ended": status.ended or "end of schedule",
        "parameters": records.count_parameters(family, run.model, chosen.variables),
        "examples": dataset.counts(),
        "data_checksum": dataset.checksum(),
        "validation": status.best,
    }

    @functools.cache
    def variables() -> Any:
        """On the host: every process computes all metrics itself, with the same result."""
        gather = jax.jit(
            lambda v: evaluation_variables(run, family, v), out_shardings=trainer.replicated
        )
        return jax.device_get(gather(chosen.eval_variables()))

    obtained = error = None
    metric, unit = "none", ""
    if quantity is not None:
        split = "test" if "test" in dataset.splits else "train"
        metric, unit = f"{split} {quantity.name}", quantity.unit
        if evals.is_bound(family, run.model):
            details["bound_samples"] = run.train.eval_samples
        nats = trainer.nll(chosen, split, run.train.eval_samples)
        obtained, error = evals.mean_and_error(nats)
        _check_figure(trainer, metric, obtained, chosen_step)
        latents = isinstance(family, LatentVariable) and evals.is_bound(family, run.model)
        if math.isfinite(obtained) and latents:
            units = active_units(run, family, variables(), *trainer.evaluated[split])
            details |= {} if units is None else {"active_units": units}
        details["evaluated"] = len(nats)
        levels = genjax_data.dequantized_levels(run.data.transform, dataset)
        if levels or family.traits(run.model).data == "levels":
            size = math.prod(run.model.shape)
            bits = float(bits_per_dim(obtained, size, levels=levels or 1))
            if levels:  # scaled since: density is per unit of the range
                output = genjax_data.output_spec(run.data.transform, dataset)
                bits -= math.log2(output.high - output.low)
            details["bits_per_dim"] = bits
    details |= described_ranker(run, ranker)
    if run.train.metrics:
        figure = figure_metric(run)
        if figure and run.figure.metric:
            details["density"] = {"metric": metric, "value": obtained, "std_error": error}
        details["final_metrics"] = {}
        results = final_metrics(run, family, dataset, variables(), figure, ranker)
        for name, result in results.items():
            if isinstance(result, str):
                values: dict[str, Any] = {"error": result}
                trainer.progress.say(f"{run.experiment}  {name}: {result}")
            else:
                values = result.as_dict()
                if name in figure:
                    metric = f"{name} {result.FIGURE[0]}"
                    obtained, error, unit = result.figure()
                    _check_figure(trainer, metric, obtained, chosen_step)
            details["final_metrics"][name] = values
            if words := gan_diagnostics.missing_modes(values):
                trainer.warn(chosen_step, words)
    puzzles = None
    if isinstance(family, PuzzleSolver):
        try:
            puzzles = solve_puzzles(run, family, dataset, variables())
        except ValueError as failure:  # scores that are NaN
            trainer.progress.say(f"{run.experiment}  puzzles of the report: {failure}")
    if words := ema_warning(run.train.ema, chosen_step):
        trainer.warn(chosen_step, words)
    if words := uniform_warning(family, run.model, metric, unit, obtained):
        trainer.warn(chosen_step, words)
    if words := overfitting_warning(run, status, dataset.counts()["train"]):
        trainer.warn(step, words)
    if trainer.status.warnings:
        details["warnings"] = list(trainer.status.warnings)
    record = records.make_record(
        run,
        metric=metric,
        obtained=obtained,
        std_error=error,
        details=details,
        seconds=status.seconds + trainer.elapsed(),
        sessions=list(status.sessions),
        unit=unit,
    )
    barrier("evaluated")
    if jax.process_index() == 0:
        workdir = trainer.context.workdir
        write_overview(workdir / "samples")
        if puzzles is not None:
            write_puzzles(workdir / "samples", *puzzles)
        write_json(workdir / "record.json", record)
    barrier("recorded")  # the next phase of every process reads the record
    return record


def _check_figure(trainer: Trainer, metric: str, value: float | None, step: int) -> None:
    """Raises FloatingPointError for a figure that is not finite: such a run has not finished."""
    if value is None or math.isfinite(value):
        return
    fix = "lower the learning rate, or check the data"
    if trainer.family.traits(trainer.run.model).fit != "gradient":
        fix = "give unseen data some probability (alpha of counted families)"
    raise FloatingPointError(
        f"the figure ({metric}) is {value} at step {step}, so the run has not finished; {fix}, in"
        f" another --workdir."
    )


def uniform_warning(family: Any, config: Any, metric: str, unit: str, nats: float | None) -> str:
    """Returns a warning for a density of binary values or levels that is far below the uniform one.

    Args:
      family: module of the family.
      config: its Config.
      metric: name of the figure.
      unit: of the figure.
      nats: the figure.
    """
    traits = family.traits(config)
    if nats is None or unit != "nats" or traits.data not in ("binary", "levels"):
        return ""
    levels = 2 if traits.data == "binary" else traits.sample_range[1] + 1
    uniform = math.prod(config.shape) * math.log(levels)
    if nats < 2 * uniform:
        return ""
    return (
        f"the figure ({metric}) is {nats:.4g} nats, and that of a uniform distribution"
        f" {uniform:.4g}; lower --learning-rate, or check the data"
    )


def overfitting_warning(run: Run, status: RunStatus, examples: int) -> str:
    """Returns a warning if the first evaluation is the best and the last worse, else "".

    Args:
      run: the settings.
      status: at the end of training.
      examples: number of training examples.
    """
    if not status.overfits():
        return ""
    epochs = status.best_step * run.train.batch_size * batches_per_step(run) / examples
    gradient = families.get(run.family).traits(run.model).fit == "gradient"
    fixes = [
        f"evaluate earlier (--eval-epochs {epochs / 10:.2g})",
        "train for fewer --steps",
    ]
    if gradient:
        fixes += ["regularise (--weight-decay, dropout)", "lower --learning-rate"]
    return (
        f"the first of {status.not_better + 1} evaluations, after step {status.best_step:,}"
        f" ({epochs:.3g} epochs), is the best, so the model overfits from there on;"
        f" {', '.join(fixes)} or use a smaller model"
    )


def best_state(trainer: Trainer, state: State, step: int) -> tuple[State, int]:
    """Returns the state of best validation and its step; without validation the last one.

    Raises:
      ValueError: the checkpoint of the best state is missing.
    """
    if trainer.status.best is None:  # never evaluated, or its best checkpoint is missing
        trainer.evaluate(state, step)
    if trainer.status.best is None:
        return state, step
    checkpoints, best_step = trainer.checkpoints, trainer.status.best_step
    checkpoints.wait()
    best = checkpoints.restore(trainer.layouts.saved_arrays, which="best")
    if best is None or int(best[0].step) != best_step:
        raise ValueError(
            f"the best checkpoint, of step {best_step}, is missing from {checkpoints.root}; run the"
            f" same command again to evaluate it again."
        )
    return best[0], best_step


def summary(record: dict[str, Any], seconds: float) -> str:
    """Returns one line about a finished run."""
    obtained, error = record["obtained"], record["std_error"]
    figure = f"{obtained:.3f}" if obtained is not None else ""
    figure += f" +- {error:.3f}" if error is not None else ""
    figure += f" {record['unit']}" if figure and record["unit"] else ""
    result = f"  {record['metric']} {figure}" if figure else ""
    return (
        f"{record['experiment']}  finished at step {record['steps']:,}{result}  ({seconds:.0f} s)"
    )
