"""The loop from outside: settings and a workdir in, a finished run out, resumable at any moment."""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import time
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from genjax import data as data_room
from genjax import evals, families
from genjax.core import init_state
from genjax.losses import bits_per_dim
from genjax.train import gan_diagnostics
from genjax.train import record as records
from genjax.train.checkpoint import Checkpoints, write_json
from genjax.train.compatibility import check_compatibility
from genjax.train.compile import Rules, make_mesh, put, state_shardings
from genjax.train.final_metrics import active_units, final_metrics
from genjax.train.load_run import evaluation_variables, initial_weights
from genjax.train.metric_writers import Metrics, Progress, check_writers, write_missing_outputs
from genjax.train.run_config import (
    Run,
    build_optimizer,
    changes,
    phase_folder,
    previous_phase,
    run_from_json,
    settings_without_effect,
)
from genjax.train.sample_grids import remove_after, write_overview
from genjax.train.signals import Signals, agree_on_stop, barrier
from genjax.train.splits import init_batch
from genjax.train.trainer import OUT_OF_TIME, Trainer
from genjax.train.workdir import check_same_data, lock_workdir, resolve_workdir, write_run_files


@dataclasses.dataclass(frozen=True)
class Result:
    """How a call of `fit` ended.

    finished: the schedule ended and the record is written; False after a signal or the deadline.
    step: steps done.
    reason: in words.
    record: what the finished run obtained.
    signalled: somebody asked this process to leave.
    """

    finished: bool
    step: int
    reason: str
    record: dict[str, Any] | None = None
    signalled: bool = False


def fit(
    run: Run,
    workdir: str | pathlib.Path,
    *,
    resume: bool = True,
    deadline: float | None = None,
    devices: Any = None,
    rules: Rules | None = None,
    commit: str | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Result:
    """Train as the settings say, evaluate on test once, write the record.

    The order of operations at the end of each call is fixed: guard and log, evaluate, sample,
    save, stop. A used workdir goes on where its newest whole checkpoint stands; a finished one
    gives its record back and computes nothing.

    Args:
      run: the settings.
      workdir: folder of this run; made if missing.
      resume: False refuses a used workdir instead of going on.
      deadline: `time.monotonic()` at which everything must be saved.
      devices: to use; None is all.
      rules: sharding of the state, see `state_shardings`; None replicates it.
      commit: written into the record; None asks git.
      profile: write a profiler trace of some steps to `workdir/profile`.
      quiet: print nothing.

    Raises:
      ValueError: the settings, the data and the workdir do not fit; one sentence with the fix.
      FloatingPointError: a metric is not finite; names it and the step.
    """
    began = time.monotonic()
    # Asked now: by the end of a long run the folder may hold other code than what runs.
    session = {"commit": commit or records.commit(), "device": records.device(devices)}
    workdir = pathlib.Path(workdir)
    check_writers(run.train.writers)
    family = families.get(run.family)
    asked = run
    run, saved = resolve_workdir(asked, workdir, resume)
    done = finished_before(run, saved, workdir)
    if done is not None:
        if run.data.data != done["config"]["data"]["data"]:  # the figure is of that file
            check_same_data(data_room.load(run.data), workdir)
        if jax.process_index() == 0:
            write_missing_outputs(workdir, run.train.writers)
        return Result(True, done["steps"], done["ended"], done)
    if deadline is not None and agree_on_stop(OUT_OF_TIME if began > deadline else ""):
        return Result(False, 0, OUT_OF_TIME)

    previous = previous_phase(run)
    if saved is None and previous is not None:
        phase = fit(
            previous,
            phase_folder(run, workdir),
            resume=resume,
            deadline=deadline,
            devices=devices,
            rules=rules,
            commit=commit,
            quiet=quiet,
        )
        if not phase.finished or phase.signalled:
            return dataclasses.replace(phase, finished=False, record=None)

    # Data and what it must fit.
    dataset = data_room.load(run.data)
    lead = check_compatibility(run, family, dataset)
    mesh = make_mesh(devices)
    count = mesh.devices.size
    if run.train.batch_size % count:
        raise ValueError(
            f"batch_size {run.train.batch_size} does not divide over {count} devices; take a"
            f" multiple of {count}."
        )
    weights = None
    if saved is not None:
        check_same_data(dataset, workdir)
    else:
        weights = _initial_weights(run, workdir)

    # Shapes first, shardings second, arrays last.
    optimizer = build_optimizer(run)
    averaged = run.train.ema > 0

    def make_state(key: jax.Array, batch: Any = None, weights: Any = None) -> Any:
        return init_state(
            family, run.model, optimizer, key, ema=averaged, batch=batch, variables=weights
        )

    key = jax.random.key(run.seed)
    shapes = jax.eval_shape(make_state, key)
    shardings = state_shardings(shapes, mesh, rules)
    main = jax.process_index() == 0
    progress = Progress(run.experiment, run.train.steps, quiet=quiet or not main)
    with lock_workdir(workdir), Signals() as signals:
        # Nobody changes it from here on; it may have been changed since it was read.
        if resolve_workdir(asked, workdir, resume) != (run, saved):
            raise ValueError(f"another process has trained in {workdir}; run the command again.")
        checkpoints = Checkpoints(workdir, keep=run.train.keep)
        trainer: Trainer | None = None
        metrics_file = None
        try:
            restored = _restore(run, checkpoints, shapes, shardings, progress)
            if restored is None:
                if saved is not None:  # a run that never finished its first checkpoint
                    weights = _initial_weights(run, workdir)
                first, weights = (
                    given and put(given, NamedSharding(mesh, PartitionSpec()))
                    for given in (init_batch(run, family, dataset), weights)
                )
                state = jax.jit(make_state, out_shardings=shardings)(key, first, weights)
                meta: dict[str, Any] = dict(best=None, best_step=0, bad=0, ended="")
                meta |= _cost_of_phases(run, workdir)
            else:
                state, meta = restored
            step = int(state.step)
            meta["sessions"] = [*meta["sessions"], {**session, "from_step": step}]
            # Only now, past every refusal: the record first, which is none of these settings'.
            more = step < run.train.steps and not meta["ended"]
            write_run_files(workdir, run, dataset, keep_record=not more)
            progress.begin(step)
            trainer = Trainer(
                run, family, dataset, mesh, shardings, optimizer, lead, workdir, checkpoints
            )
            trainer.progress, trainer.main, trainer.profile = progress, main, profile
            if main:
                remove_after(workdir / "samples", step)
                again = meta.get("owed", {}).get("evaluate") or (meta["best"] is None and not more)
                metrics_file = Metrics(
                    workdir, after=step, writers=run.train.writers, anew=bool(again)
                )
            trainer.metrics_file = metrics_file
            state, step, reason = trainer.train(state, step, meta, signals, deadline)
            if not reason and deadline is not None:
                # All is saved; only the last evaluation is left to do.
                late = time.monotonic() > deadline
                reason = OUT_OF_TIME if agree_on_stop(OUT_OF_TIME if late else "") else ""
            if reason:
                checkpoints.wait()
                progress.say(f"{run.experiment}  stopped at step {step:,}: {reason}")
                return Result(False, step, reason, signalled=bool(signals.caught))
            trainer.feed.close()  # the processes that read have nothing left to do
            record = _finish(trainer, state, step, meta, shapes)
        finally:
            # The last called first, each whatever became of the others: a checkpoint that is being
            # written is not lost for a table that cannot be.
            with contextlib.ExitStack() as closing:
                closing.callback(checkpoints.close)
                if metrics_file:
                    closing.callback(metrics_file.close)
                closing.callback(progress.close)
                if trainer is not None:
                    closing.callback(trainer.end_trace)
                    closing.callback(trainer.feed.close)
        obtained, error = record["obtained"], record["std_error"]
        figure = f"{obtained:.3f}" if obtained is not None else ""
        figure += f" +- {error:.3f}" if error is not None else ""
        figure += f" {record['unit']}" if figure and record["unit"] else ""
        said = f"  {record['metric']} {figure}" if figure else ""
        took = time.monotonic() - began
        progress.say(f"{run.experiment}  finished at step {step:,}{said}  ({took:.0f} s)")
        return Result(True, step, record["ended"], record, signalled=bool(signals.caught))


def _initial_weights(run: Run, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the weights of the previous phase or of `weights_from`."""
    if run.phases:
        train = dataclasses.replace(run.train, weights_from=str(phase_folder(run, workdir)))
        run = dataclasses.replace(run, phases=(), train=train)
    return initial_weights(run, workdir.parent)


def _cost_of_phases(run: Run, workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the seconds and sessions of all earlier phases, which the record adds up."""
    if not run.phases:
        return {"seconds": 0.0, "sessions": []}
    record = json.loads((phase_folder(run, workdir) / "record.json").read_text())
    number = len(run.phases)
    sessions = [{"phase": number, **session} for session in record["sessions"]]
    return {"seconds": 60 * record["minutes"], "sessions": sessions}


def finished_before(run: Run, saved: Run | None, workdir: pathlib.Path) -> dict[str, Any] | None:
    """The record of a run that ended in an earlier call under these very settings."""
    path = workdir / "record.json"
    if saved is None or not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        record["steps"], record["ended"], record["experiment"]
        of = run_from_json(record["config"])  # the folder's settings may be newer than its record
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged; remove it, and the run makes it again.") from None
    return None if changes(of, run, settings_without_effect(run)) else record


def _restore(
    run: Run, checkpoints: Checkpoints, shapes: Any, shardings: Any, progress: Progress
) -> tuple[Any, dict[str, Any]] | None:
    """The state to go on from and what is known of the run, or None for a fresh one."""
    there = checkpoints.steps() or checkpoints.steps("best") or checkpoints.set_aside()
    restored = checkpoints.restore(shapes, shardings)
    finished = (checkpoints.root.parent / "record.json").exists()
    if restored is None and not finished and not checkpoints.set_aside():
        # Killed between its first best and its first latest. The best holds all of a state; but
        # that of a finished run, whose latest was left behind, is not where it stood.
        restored = checkpoints.restore(shapes, shardings, which="best")
    if restored is None:
        if there:
            raise ValueError(
                f"{checkpoints.root} has no whole checkpoint in latest to go on from; bring it, or"
                f" take another --workdir to begin again."
            )
        return None
    state, meta = restored
    step = int(state.step)
    if step > run.train.steps:
        raise ValueError(f"{step} steps are done already; --steps must not be below that.")
    checkpoints.drop_after(step)
    if meta["best"] is not None and meta["best_step"] not in checkpoints.steps("best"):
        progress.say(f"{run.experiment}  the best checkpoint is gone; looking for a best anew")
        checkpoints.drop_best()
        meta.update(best=None, best_step=0, bad=0)
    # Patience may have changed since: decide again.
    if not (run.train.patience and meta["bad"] >= run.train.patience):
        meta["ended"] = ""
    progress.say(f"{run.experiment}  going on from step {step:,}")
    return state, meta


def _finish(
    trainer: Trainer, state: Any, step: int, meta: dict[str, Any], shapes: Any
) -> dict[str, Any]:
    """Evaluate the chosen state on test, once, and write the record."""
    run, family, checkpoints = trainer.run, trainer.family, trainer.checkpoints
    chosen, chosen_step = state, step
    if meta["best"] is None:  # the checkpoint of the best is gone: the state at hand is left
        trainer.evaluate(state, step, meta)
    if meta["best"] is not None:
        checkpoints.wait()
        best = checkpoints.restore(shapes, trainer.shardings, which="best")
        if best is None or int(best[0].step) != meta["best_step"]:
            raise ValueError(
                f"the best checkpoint, of step {meta['best_step']}, is gone from"
                f" {checkpoints.root}; run the same command again to look for a best anew."
            )
        chosen, chosen_step = best[0], meta["best_step"]
    density = family.traits(run.model).density
    details: dict[str, Any] = {
        "steps": step,
        "chosen_step": chosen_step,
        "chosen_by": "validation" if meta["best"] is not None else "last step",
        "ended": meta["ended"] or "end of schedule",
        "parameters": records.count_parameters(family, run.model, chosen.variables),
        "examples": trainer.dataset.counts(),
        "data_checksum": trainer.dataset.checksum(),
        "validation": meta["best"],
    }

    @functools.cache
    def variables() -> Any:
        """On the host: every process measures all of it by itself, and the same."""
        gather = jax.jit(
            lambda v: evaluation_variables(run, family, v), out_shardings=trainer.replicated
        )
        return jax.device_get(gather(chosen.eval_variables()))

    obtained = error = None
    metric, unit = "none", ""
    if density != "none":
        split = "test" if "test" in trainer.dataset.splits else "train"
        metric = f"{split} {evals.metric(family, run.model)}"
        unit = evals.unit(family, run.model)
        if evals.is_bound(family, run.model):
            details["bound_samples"] = run.train.eval_samples
        nats = trainer.nll(chosen, split, run.train.eval_samples)
        obtained, error = evals.mean_and_error(nats)
        if math.isfinite(obtained) and hasattr(family, "active_unit_means"):
            units = active_units(run, family, variables(), *trainer.evaluated[split])
            details |= {} if units is None else {"active_units": units}
        details["evaluated"] = len(nats)
        dequantized = "dequantize()" in run.data.transform
        if dequantized or family.traits(run.model).data == "levels":
            levels = trainer.dataset.levels if dequantized else 1
            bits = float(bits_per_dim(obtained, math.prod(run.model.shape), levels=levels))
            if dequantized:  # scaled since: density is per unit of the range
                output = data_room.output_spec(run.data.transform, trainer.dataset)
                bits -= math.log2(output.high - output.low)
            details["bits_per_dim"] = bits
    if run.train.metric:
        try:
            found, named, figure = final_metrics(run, family, trainer.dataset, variables())
        except (ValueError, MemoryError, jax.errors.JaxRuntimeError) as refused:
            if density == "none":  # no other figure could be lost
                raise
            why = str(refused) or type(refused).__name__
            found = {"metric": run.train.metric, "error": why}
            trainer.progress.say(f"{run.experiment}  {run.train.metric}: {why}")
        details["final_metrics"] = found
        words = gan_diagnostics.missing_modes(found)
        if words:
            warning = {"step": chosen_step, "words": words}
            meta["warnings"] = [*meta.get("warnings", []), warning]
            trainer.progress.say(f"{run.experiment}  step {chosen_step:,}: {words}")
        if density == "none":
            metric, (obtained, error, unit) = named, figure
    if meta.get("warnings"):
        details["warnings"] = meta["warnings"]
    meta["seconds"] += trainer.untimed()
    record = records.make_record(
        run,
        metric=metric,
        obtained=obtained,
        std_error=error,
        details=details,
        seconds=meta["seconds"],
        sessions=meta["sessions"],
        unit=unit,
    )
    barrier("evaluated")
    if trainer.main:
        write_overview(trainer.workdir / "samples")
        write_json(trainer.workdir / "record.json", record)
    return record
