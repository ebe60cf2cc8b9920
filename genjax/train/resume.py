"""Where a used workdir stands: its record, or the state and status to resume from."""

import pathlib
from typing import Any

from genjax.core import State
from genjax.data.file_io import safe
from genjax.data.json_files import read_object
from genjax.train.checkpoint import Checkpoints, Layout
from genjax.train.progress import Progress
from genjax.train.record import Record
from genjax.train.run_config import Run, changes, run_from_json, settings_without_effect
from genjax.train.status import RunStatus

RECORD_FIX = "remove it, and the run writes it again"


class FinishedRecord(Record):
    """A record that a finished run is resumed with."""

    steps: int
    ended: str


def finished_record(run: Run, saved: Run | None, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the record of a run that has finished under the same settings, else None.

    Args:
      run: settings, resolved.
      saved: settings in the workdir; None where it holds no run.
      workdir: folder of the run.

    Raises:
      ValueError: the record is damaged.
    """
    path = workdir / "record.json"
    if saved is None or not path.exists():
        return None
    record = read_object(path, FinishedRecord, fix=RECORD_FIX)
    try:
        recorded = run_from_json(record["config"])  # the folder's settings may be newer
        if (record["experiment"], record["seed"]) != (recorded.experiment, recorded.seed):
            raise ValueError("its experiment and seed are not those of its settings")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({safe(str(error).rstrip('.'), 300)}); {RECORD_FIX}."
        ) from None
    return None if changes(recorded, run, settings_without_effect(run)) else record


def restore(
    run: Run,
    checkpoints: Checkpoints,
    layout: Layout,
    progress: Progress,
    *,
    from_best: bool = False,
) -> tuple[State, RunStatus] | None:
    """Returns the state and status to resume from; None for a new run.

    Args:
      run: settings, resolved.
      checkpoints: of the workdir.
      layout: shapes and shardings of a state by its step.
      progress: prints what is resumed.
      from_best: where latest has no whole checkpoint, resume from the best, which repeats the
        steps after it.

    Raises:
      ValueError: there are checkpoints, but none to resume from, or they are of later steps.
    """
    used = checkpoints.steps() or checkpoints.steps("best") or checkpoints.set_aside()
    restored = checkpoints.restore(layout)
    finished = (checkpoints.root.parent / "record.json").exists()
    # Killed between its first best and its first latest checkpoint: the best is a whole state.
    # The best of a finished run, whose latest is missing, is not where that run stopped.
    killed = restored is None and not finished and not checkpoints.set_aside()
    if restored is None and used:
        best = checkpoints.restore(layout, which="best")
        if best is None or not (killed or from_best):
            offer = ""
            if best is not None:
                offer = f" add --from-best to repeat the steps after the best, {int(best[0].step)};"
            raise ValueError(
                f"{checkpoints.root} has no whole checkpoint in latest to resume from; copy it"
                f" there;{offer} or use another --workdir to start again."
            )
        restored = best
    if restored is None:
        return None
    state, status = restored[0], RunStatus.from_json(restored[1])
    step = int(state.step)
    if step > run.train.steps:
        raise ValueError(f"{step} steps are done already; --steps must not be below that.")
    checkpoints.remove_after(step)
    if status.best is not None and status.best_step not in checkpoints.steps("best"):
        progress.say(f"{run.experiment}  the best checkpoint is missing; validation starts again")
        checkpoints.remove_best()
        status = status.without_best()
    # Patience may have changed since then.
    if not (run.train.patience and status.not_better >= run.train.patience):
        status = status.replace(ended="")
    progress.say(f"{run.experiment}  resuming from step {step:,}")
    return state, status
