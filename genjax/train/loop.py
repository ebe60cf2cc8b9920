"""`fit`: trains, evaluates and records a run, and resumes it after an interruption."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from genjax import data as genjax_data
from genjax import families
from genjax.core import State, init_state
from genjax.train import record as records
from genjax.train.checkpoint import Checkpoints
from genjax.train.checkpoint_errors import naming
from genjax.train.compatibility import check_compatibility, data_warnings
from genjax.train.compile import Rules, make_mesh, put, put_like
from genjax.train.device_memory import device_limit
from genjax.train.diverged import Diverged
from genjax.train.finish import finish, summary
from genjax.train.hooks import Hook
from genjax.train.identity import RunIdentity
from genjax.train.layouts import Layouts
from genjax.train.metric_log import Metrics
from genjax.train.metric_writers import add_writers, check_writers, write_missing_outputs
from genjax.train.named_runs import described_parts, load_ranker, random_parts
from genjax.train.phases import first_status, first_weights, phase_folder, previous_phase
from genjax.train.progress import Progress
from genjax.train.resume import finished_record, restore
from genjax.train.run_config import Run, run_from_json, schedule_warnings
from genjax.train.run_context import RunContext
from genjax.train.sample_grids import remove_after
from genjax.train.sharding import memory_before, parameter_rules
from genjax.train.signals import Signals, agree_on_stop
from genjax.train.splits import init_batch
from genjax.train.trainer import OUT_OF_TIME, StopRequested, Trainer
from genjax.train.workdir import (
    check_folder,
    check_no_links,
    check_same_data,
    lock_workdir,
    remove_stale_parts,
    resolve_workdir,
    write_run_files,
)
from genjax.version import __version__


@dataclasses.dataclass(frozen=True)
class Result:
    """How a call of `fit` ended.

    Attributes:
      finished: True if the record is written; False after a signal or the deadline.
      step: number of completed steps.
      reason: reason for which the run finished or stopped.
      record: the record of a finished run, else None.
      signalled: whether this process received a signal to stop.
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
    from_best: bool = False,
    deadline: float | None = None,
    devices: Sequence[jax.Device] | None = None,
    rules: Rules | None = None,
    fsdp: bool = False,
    tensor_parallel: int = 1,
    commit: str | None = None,
    profile: bool = False,
    quiet: bool = False,
    runs: pathlib.Path | None = None,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Trains a run, evaluates it on test once, and writes its record.

    After each call of the compiled step the order of operations is fixed: check that metrics are
    finite, log, save what is due, evaluate, sample, save what these found, stop. In a workdir with
    checkpoints the run resumes from the newest undamaged one. For a finished run the record is
    returned and nothing is computed.

    Args:
      run: the settings.
      workdir: folder of this run; created if missing.
      resume: False raises an error if the workdir holds a run.
      from_best: resume from the best checkpoint where latest has no whole one.
      deadline: `time.monotonic()` at which everything must be saved.
      devices: devices to use; None uses all.
      rules: sharding of the state, see `state_shardings`; None is that of `parameter_rules`.
      fsdp: divide parameters, their average and the optimizer's state over the devices.
      tensor_parallel: devices that share each layer, by the rules of the family.
      commit: written into the record; None asks git.
      profile: write a profiler trace of some steps to `workdir/profile`.
      quiet: print nothing.
      runs: folder of runs that `weights_from`, `parts_from` and `ranker` name by their experiment;
        None is the folder that holds the workdir.
      hooks: called on the first process when the run starts, logs, evaluates, samples, saves and
        ends; not of a run that had finished before. Phases before this run call them too.

    Raises:
      ValueError: the settings do not fit the family, the data or the workdir; or what a run writes
        is a link.
      FloatingPointError: a metric is not finite.
    """
    began = time.monotonic()
    # Read at the start: the source code on disk may change during a long run.
    session: dict[str, Any] = {
        "commit": commit or records.commit(),
        "device": records.device(devices),
    }
    if not isinstance(run, Run):
        raise ValueError(f"fit needs a Run, got {type(run).__name__}; make one by Run(...).")
    runs = pathlib.Path(workdir).absolute().parent if runs is None else runs
    # Once: a link may be changed during the run.
    workdir = pathlib.Path(os.path.realpath(os.path.expanduser(workdir)))
    check_folder(workdir)
    check_no_links(workdir)
    check_writers(run.train.writers)
    family = families.get(run.family)
    requested = run
    run, saved = resolve_workdir(requested, workdir, resume)
    done = finished_record(run, saved, workdir)
    if done is not None:
        # The record belongs to the file that its settings name.
        if run.data.data != run_from_json(done["config"]).data.data:
            check_same_data(genjax_data.load(run.data), workdir)
        if jax.process_index() == 0:
            write_missing_outputs(workdir, run.train.writers)
        return Result(True, done["steps"], done["ended"], done)
    if deadline is not None and agree_on_stop(OUT_OF_TIME if began > deadline else ""):
        return Result(False, 0, OUT_OF_TIME)

    previous = previous_phase(run)
    if saved is None and previous is not None:
        try:
            phase = fit(
                previous,
                phase_folder(run, workdir),
                resume=resume,
                deadline=deadline,
                devices=devices,
                rules=rules,
                fsdp=fsdp,
                tensor_parallel=tensor_parallel,
                commit=commit,
                quiet=quiet,
                runs=runs,
                hooks=hooks,
            )
        except Diverged as error:
            raise error.in_phase(len(run.phases)) from None
        if not phase.finished or phase.signalled:
            return dataclasses.replace(phase, finished=False, record=None)

    dataset = genjax_data.load(run.data)
    check_compatibility(run, family, dataset)
    ranker = load_ranker(run, runs) if run.train.ranker and run.train.metrics else None
    mesh = make_mesh(devices, tensor_parallel=tensor_parallel)
    if rules is None:
        rules = parameter_rules(run.family, run.model, mesh, fsdp=fsdp)
    layouts = Layouts(run, mesh, rules)
    weights = None
    if saved is not None:
        check_same_data(dataset, workdir)
    else:
        weights = first_weights(run, workdir, runs, dataset.tokenizer)

    # Shapes first, shardings second, arrays last.
    layout, averaged = layouts.of(0), run.train.ema > 0

    def make_state(key: jax.Array, batch: Any = None, weights: Any = None) -> State:
        return init_state(
            family, run.model, layout.optimizer, key, ema=averaged, batch=batch, variables=weights
        )

    key = jax.random.key(run.seed)
    is_main = jax.process_index() == 0
    progress = Progress(run.experiment, run.train.steps, quiet=quiet or not is_main)
    # After the checks, so that an error is one line.
    progress.say(started(run, workdir, session["device"]))
    examples = ", ".join(f"{split} {n:,}" for split, n in dataset.counts().items())
    progress.say(f"{run.experiment}  examples of {records.dataset_name(run.data.data)}: {examples}")
    if mesh.size > 1:
        progress.say(memory_before(layouts, device_limit(mesh), fsdp=fsdp))
    signals = Signals(quiet=progress.quiet)
    with naming(workdir), lock_workdir(workdir), signals, contextlib.ExitStack() as closing:
        # The workdir was read before it was locked, so it may have changed in between.
        if resolve_workdir(requested, workdir, resume) != (run, saved):
            raise ValueError(f"another process has trained in {workdir}; run the command again.")
        figure = records.figure_of_data(run.figure, dataset.checksum())
        run = dataclasses.replace(run, figure=figure)
        # Closed in reverse order, even where closing one fails: a checkpoint that is being
        # written must not be lost because a writer of metrics fails.
        identity = RunIdentity(run, dataset.checksum())
        checkpoints = Checkpoints(workdir, keep=run.train.keep, identity=identity)
        closing.callback(signals.saving()(checkpoints.close))
        restored = restore(run, checkpoints, layouts.saved_arrays, progress, from_best=from_best)
        if restored is None:
            if saved is not None:  # it was interrupted before its first checkpoint
                weights = first_weights(run, workdir, runs, dataset.tokenizer)
            session |= described_parts(run, weights)
            first = init_batch(run, family, dataset)
            first = first and put(first, NamedSharding(mesh, PartitionSpec()))
            weights = weights and put_like(weights, layout.shardings.variables)
            state = jax.jit(make_state, out_shardings=layout.shardings)(key, first, weights)
            status = first_status(run, workdir)
        else:
            state, status = restored
        step = int(state.step)
        status = status.replace(sessions=(*status.sessions, {**session, "from_step": step}))
        unfinished = step < run.train.steps and not status.ended
        # After all checks, so that an error leaves the files of the workdir unchanged.
        write_run_files(workdir, run, dataset, keep_record=restored is not None)
        metrics = None
        remove_stale_parts(workdir)
        if is_main:
            remove_after(workdir / "samples", step)
            revalidate = "evaluate" in status.pending or (status.best is None and not unfinished)
            metrics = Metrics(workdir, after=step, again=revalidate)
            closing.callback(metrics.close)
            add_writers(metrics, run.train.writers)
            metrics.hooks += hooks
            metrics.start(run, workdir)
        reported = [*layouts.warnings(), *random_parts(run), *dataset.warnings]
        reported += data_warnings(run, family, dataset)
        at_start = [(0, message) for message in reported]
        for at, message in [*at_start, *schedule_warnings(run)]:
            if message not in [warning["words"] for warning in status.warnings]:
                status = status.warn(at, message)
            progress.say(f"{run.experiment}  warning: {message}")
        progress.begin(step)
        closing.callback(progress.close)
        trainer = Trainer(
            RunContext(
                run=run,
                family=family,
                dataset=dataset,
                mesh=mesh,
                layouts=layouts,
                workdir=workdir,
                checkpoints=checkpoints,
                progress=progress,
                metrics=metrics,
                signals=signals,
                deadline=deadline,
                profile=profile,
            ),
            status,
        )
        closing.callback(trainer.close)
        state, step, reason = trainer.train(state, step)
        if not reason and deadline is not None:
            # Everything is saved; only the last evaluation is left.
            late = time.monotonic() > deadline
            reason = agree_on_stop(OUT_OF_TIME if late else "")
        if not reason:
            trainer.feed.close()  # stops the processes that read data
            try:
                record = finish(trainer, state, step, ranker)
                if metrics:
                    metrics.record = record
            except StopRequested as request:
                reason = str(request)
        if reason:
            with signals.saving():
                checkpoints.wait()
            progress.say(f"{run.experiment}  stopped at step {step:,}: {reason}")
            return Result(False, step, reason, signalled=bool(signals.caught))
    progress.say(summary(record, time.monotonic() - began))
    return Result(True, step, record["ended"], record, signalled=bool(signals.caught))


def started(run: Run, workdir: pathlib.Path, device: str) -> str:
    """Returns the first line that a run prints: versions, device, length and folder."""
    return (
        f"{run.experiment}  genjax {__version__}, jax {jax.__version__}, {device}:"
        f" {run.train.steps:,} steps of {run.train.batch_size} examples, seed {run.seed}, in"
        f" {workdir}"
    )
