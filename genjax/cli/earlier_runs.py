"""Runs that an experiment trains before its own: those of its parts and of its ranker."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from genjax.train.record import run_name
from genjax.train.run_config import Run

Needs = Callable[[Run], Sequence[Run]]


def earlier_runs(run: Run, needs: Needs) -> list[Run]:
    """Returns the runs that are trained before a run, in order of training, with its seed.

    Args:
      run: settings.
      needs: returns the runs that the settings of a run may name, directly or through other runs;
        each comes after those that it names itself. Runs that are not named are left out.
    """
    offered = [dataclasses.replace(other, seed=run.seed) for other in needs(run)]
    named, found = named_runs(run), []
    for other in reversed(offered):
        if other.experiment in named:
            found.append(other)
            named |= named_runs(other)
    return found[::-1]


def named_runs(run: Run) -> set[str]:
    """Returns the experiments or folders of the parts and the ranker in a run's settings."""
    trains = [phase.train for phase in run.phases] + [run.train]
    return {name for t in trains for name in (*t.parts_from, t.ranker) if name}


def with_folders(run: Run, whole: Run, folders: Mapping[str, pathlib.Path]) -> Run:
    """Returns the settings of a smoke run whose parts and ranker are smoke runs too.

    Args:
      run: settings of the smoke run.
      whole: settings of the same run without `--smoke`, which name experiments.
      folders: folders of smoke runs, by experiment.
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
