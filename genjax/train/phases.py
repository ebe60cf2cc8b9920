"""Phases of a run: each begins with the best weights of the one before."""

import dataclasses
import pathlib
from typing import Any

from genjax import families
from genjax.core import stages_of
from genjax.data.json_files import read_object
from genjax.data.tokenizers import Tokenizer
from genjax.train.layouts import WHOLE
from genjax.train.named_runs import initial_weights
from genjax.train.record import Record
from genjax.train.run_config import Figure, Run
from genjax.train.status import RunStatus


class FirstRecord(Record):
    """A record whose sessions the next phase continues."""

    sessions: list[dict]


def previous_phase(run: Run) -> Run | None:
    """Returns the phase whose weights a run begins with, as a run, or None without phases.

    Raises:
      ValueError: the networks grow in stages.
    """
    if not run.phases:
        return None
    stages = stages_of(families.get(run.family), run.model, run.train.batch_size, WHOLE)
    if len(stages) > 1:
        raise ValueError(
            f"a phase would grow the networks of {run.family} from {stages[0].name} again, and the"
            " weights of the phase before are of larger ones; remove the phases, and use the tables"
            " of the stages (batch_sizes, rates, stage_critic_steps)."
        )
    *earlier, last = run.phases
    return dataclasses.replace(
        run,
        experiment=f"{run.experiment}-phase{len(run.phases)}",
        optimizer=last.optimizer,
        train=last.train,
        phases=tuple(earlier),
        figure=Figure(),
    )


def phase_folder(run: Run, workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a run's previous phase."""
    return workdir / f"phase{len(run.phases)}"


def first_weights(
    run: Run, workdir: pathlib.Path, runs: pathlib.Path, tokenizer: Tokenizer | None = None
) -> dict[str, Any] | None:
    """Returns the weights of the previous phase or of `weights_from`; None for random ones.

    Parts are those of the previous phase, or of `parts_from`; see `initial_weights`.

    Args:
      run: settings.
      workdir: folder of the run or phase.
      runs: folder of runs that are named by their experiment.
      tokenizer: of the run's captions.
    """
    if run.phases:
        train = dataclasses.replace(run.train, weights_from=str(phase_folder(run, workdir)))
        run = dataclasses.replace(run, phases=(), train=train)
    return initial_weights(run, runs, tokenizer)


def first_status(run: Run, workdir: pathlib.Path) -> RunStatus:
    """Returns the status of a run before its first step, with the cost of all earlier phases."""
    if not run.phases:
        return RunStatus()
    path = phase_folder(run, workdir) / "record.json"
    record = read_object(path, FirstRecord, fix="train the phase again in another --workdir")
    number = len(run.phases)
    sessions = tuple({"phase": number, **session} for session in record["sessions"])
    return RunStatus(seconds=60 * record["minutes"], sessions=sessions)
