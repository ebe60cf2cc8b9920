"""Runs that an experiment trains first: of the parts and the ranker that its settings name."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from genjax.train.record import run_name
from genjax.train.run_config import Run

Needs = Callable[[Run], Sequence[Run]]


def earlier_runs(run: Run, needs: Needs) -> list[Run]:
    """Returns the runs that are trained before another one, with its seed, first ones first.

    Args:
      run: settings.
      needs: returns runs whose experiments the settings of a run may name, each after those that
        it names itself.
    """
    offered = [dataclasses.replace(other, seed=run.seed) for other in needs(run)]
    named, found = named_runs(run), []
    for other in reversed(offered):
        if other.experiment in named:
            found.append(other)
            named |= named_runs(other)
    return found[::-1]


def named_runs(run: Run) -> set[str]:
    """Returns what a run names as its parts and its ranker: experiments or folders."""
    trains = [phase.train for phase in run.phases] + [run.train]
    return {name for t in trains for name in (*t.parts_from, t.ranker) if name}


def with_folders(run: Run, whole: Run, folders: Mapping[str, pathlib.Path]) -> Run:
    """Returns a smoke run that names the folders of smoke runs where `whole` names experiments.

    Args:
      run: the smoke run.
      whole: the same without `--smoke`.
      folders: of the smoke runs by experiment.
    """
    names = whole.train.parts_from
    train = run.train
    if names and set(names) & set(folders):
        parts = tuple(str(folders.get(name, name)) for name in names)
        train = dataclasses.replace(train, parts_from=parts)
    if whole.train.ranker in folders:
        train = dataclasses.replace(train, ranker=str(folders[whole.train.ranker]))
    return dataclasses.replace(run, train=train)


def smoke_folder(run: Run, runs: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a smoke run."""
    return runs / run_name(f"{run.experiment}-smoke", run.seed)
