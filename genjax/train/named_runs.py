"""Loads the runs that the settings of a run name: `weights_from`, `parts_from` and `ranker`."""

import os
import pathlib
import shlex
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from genjax import families
from genjax.core.protocols import CaptionScores, Growing, TextConditional
from genjax.data.tokenizers import Tokenizer
from genjax.train.load_run import RUNS, load
from genjax.train.named_weights import FOLDER, find_weights, weights_names
from genjax.train.record import run_name
from genjax.train.run_config import Run, differences
from genjax.train.run_files import run_files
from genjax.train.weights_file import SUFFIX, WeightsFile

TEXT_SETTINGS = ("tokenizer", "text_length", "vocabulary")


def initial_weights(
    run: Run, runs: pathlib.Path = RUNS, tokenizer: Tokenizer | None = None
) -> dict[str, Any] | None:
    """Returns the weights that a run starts from, on the host; None for random ones.

    They are `params` and `batch_stats` of the run named by `weights_from`, and its parts, if the
    family contains other networks; its step, optimizer state and averages are not loaded. Parts
    from the runs named by `parts_from` replace these parts, as entries of `buffers`.

    A folder given by `weights_from` may hold an unfinished run, such as one that diverged. The
    weights are then those of its newest checkpoint.

    Args:
      run: settings.
      runs: folder of runs that are named by their experiment.
      tokenizer: tokenizer of the run's captions, which must be that of the parts; None does not
        compare them.

    Raises:
      ValueError: a run does not exist, has no checkpoint, or has another network; or it is not
        finished, and is a part or is named by its experiment.
    """
    if run.phases:
        raise ValueError(f"{run.experiment} has phases, which only `fit` trains one after another.")
    weights = _weights(run, runs) if run.train.weights_from else {}
    if run.train.parts_from:
        weights["buffers"] = load_parts(run, runs, tokenizer)
    return weights or None


def load_parts(
    run: Run, runs: pathlib.Path = RUNS, tokenizer: Tokenizer | None = None
) -> dict[str, Any]:
    """Returns the variables of the parts of a family by name, on the host.

    They are the variables with which the runs named by `parts_from` are evaluated, averaged where
    a run has an average. Arguments are those of `initial_weights`.

    Raises:
      ValueError: the number of runs is not that of the parts; or a run is missing, is not finished,
        or has another family, Config or tokenizer.
    """
    parts, sources = families.parts_of(run.family, run.model), run.train.parts_from
    if len(parts) != len(sources):
        has = f"the part {next(iter(parts))}" if len(parts) == 1 else f"parts {', '.join(parts)}"
        fix = "give one run for each, in this order" if parts else "leave out --parts-from"
        raise ValueError(
            f"`parts_from` names {len(sources)} runs ({', '.join(sources)}), but {run.family} has"
            f" {has if parts else 'no parts'}; {fix}."
        )
    family = families.get(run.family)
    wanted = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    found = {}
    for (part, (name, config)), source in zip(parts.items(), sources, strict=True):
        folder = finished_run(source, run.seed, runs, part, "--parts-from")
        other, variables = load(folder)
        _check_experiment(other, folder, source)
        _check_part(run, part, name, config, other, folder)
        _check_text(run, part, name, other, folder, tokenizer)
        kept = _named_in(wanted["buffers"][part], variables)
        if _shapes(kept) != _shapes(wanted["buffers"][part]):
            raise ValueError(
                f"the variables of {other.experiment} in {folder} do not fit the {part} of"
                f" {run.family}; train it again with this version of genjax."
            )
        found[part] = jax.tree.map(np.asarray, kept)
    return found


def load_ranker(
    run: Run, runs: str | os.PathLike = RUNS
) -> tuple[Any, Any, dict[str, Any], Tokenizer]:
    """Returns family, Config, variables and tokenizer of the run named by `Train.ranker`.

    Args:
      run: settings.
      runs: folder of runs that are named by their experiment, such as the parent of the run's.

    Raises:
      ValueError: no ranker is named; the run does not exist or is not finished; or its family does
        not score captions, or not of images of this shape.
    """
    source = run.train.ranker
    if not source:
        raise ValueError(
            f"{run.experiment} names no ranker; set --ranker to a run of a family that scores"
            f" captions: {', '.join(families.implementing(CaptionScores))}."
        )
    folder = finished_run(source, run.seed, pathlib.Path(runs), "the ranker", "--ranker")
    other, variables = load(folder)
    _check_experiment(other, folder, source)
    family = families.get(other.family)
    if not isinstance(family, CaptionScores):
        raise ValueError(
            f"{folder} is a run of {other.family}, which does not score captions; give a run of"
            f" {', '.join(families.implementing(CaptionScores))} by --ranker."
        )
    if tuple(other.model.shape) != tuple(run.model.shape):
        raise ValueError(
            f"the ranker in {folder} scores images of shape {tuple(other.model.shape)}, and"
            f" {run.experiment} draws {tuple(run.model.shape)}; give a ranker of that shape."
        )
    return family, other.model, variables, run_files(folder).tokenizer()


def random_parts(run: Run) -> list[str]:
    """Returns a warning if the parts of a family are random, else no warning."""
    parts = families.parts_of(run.family, run.model)
    if not parts or run.train.parts_from or run.train.weights_from or run.phases:
        return []
    words = "is random and stays" if len(parts) == 1 else "are random and stay"
    return [f"{', '.join(parts)} {words} so, since no run is given by --parts-from"]


def described_parts(run: Run, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns `{"parts": {part: {"run", "checksum"}}}` of parts that were loaded, else {}."""
    if not run.train.parts_from or weights is None:
        return {}
    sources = dict(zip(families.parts_of(run.family, run.model), run.train.parts_from, strict=True))
    variables = weights["buffers"]
    return {
        "parts": {p: {"run": s, "checksum": _checksum(variables[p])} for p, s in sources.items()}
    }


def described_ranker(run: Run, ranker: Any) -> dict[str, Any]:
    """Returns `{"ranker": {"run", "checksum"}}` of what `load_ranker` returned; {} of None."""
    if ranker is None:
        return {}
    return {"ranker": {"run": run.train.ranker, "checksum": _checksum(ranker[2])}}


def finished_run(
    source: str, seed: int, runs: pathlib.Path, what: str, option: str
) -> pathlib.Path:
    """Returns the folder of the finished run that a setting names.

    Args:
      source: a folder, or the name of an experiment.
      seed: seed of the run with this setting, and of the run of the experiment.
      runs: folder of runs that are named by their experiment.
      what: what is loaded from the run, for the error message.
      option: option that sets the setting, for the error message.

    Raises:
      ValueError: there is no such run, or it is not finished.
    """
    folder = named_folder(source, seed, runs)
    if not _is_finished(folder, source):
        raise ValueError(
            f"{folder} holds no finished run to load {what} from; run its experiment to the end"
            f" first, or give another folder by {option}."
        )
    return folder


def named_folder(source: str, seed: int, runs: pathlib.Path) -> pathlib.Path:
    """Returns `source` if it is a folder, else the folder of the experiment of this name.

    Where there is none, `source` may be a weights file or its name, or the experiment of weights
    that come with the package, whose file is returned.
    """
    folder, own = pathlib.Path(source), runs / run_name(source, seed)
    if folder.is_dir() or own.is_dir():
        return folder if folder.is_dir() else own
    return folder if find_weights(source) is not None else weights_of(source) or own


def weights_of(experiment: str) -> pathlib.Path | None:
    """Returns the file with the weights of an experiment that comes with the package, or None."""
    for name in weights_names():
        path = FOLDER / f"{name}{SUFFIX}"
        if WeightsFile(path).record()["experiment"] == experiment:
            return path
    return None


def _is_finished(folder: pathlib.Path, source: str) -> bool:
    """Returns whether a run that a setting names has a record, or is a weights file."""
    if (folder / "config.json").is_file() or folder != pathlib.Path(source):
        return folder.is_file() or (folder / "record.json").is_file()
    return (folder / "record.json").is_file() or find_weights(source) is not None


def _weights(run: Run, runs: pathlib.Path) -> dict[str, Any]:
    """Returns the weights of the run named by `weights_from`."""
    source = run.train.weights_from
    folder = named_folder(source, run.seed, runs)
    finished = _is_finished(folder, source)
    # Only a finished run is determined by the name of its experiment.
    if folder != pathlib.Path(source) or not folder.is_dir():
        folder = finished_run(source, run.seed, runs, "weights", "--weights-from")
    other, variables = load(folder, newest=not finished)
    family = families.get(run.family)
    _check_experiment(other, folder, source)
    if family.traits(run.model).fit == "counting":
        raise ValueError(
            f"{run.family} would add its counts to those of the run in {folder}; set"
            f" --weights-from ''."
        )
    weights = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
    expected = jax.eval_shape(lambda key: family.init(run.model, key), jax.random.key(0))
    if isinstance(family, Growing) and other.family == run.family:
        sides = family.side(weights), family.side(expected)
        if sides[0] != sides[1]:
            raise ValueError(
                f"the networks in {folder} have {sides[0]}x{sides[0]} images, and this run begins"
                f" with {sides[1]}x{sides[1]}; set --start {sides[0]}."
            )
        weights = _named_in(expected, weights)  # layers of earlier sides are not used any more
    wanted = {k: expected[k] for k in weights}
    if other.family == run.family and (parts := families.parts_of(run.family, run.model)):
        fixed = [{part: of["buffers"][part] for part in parts} for of in (variables, expected)]
        weights["buffers"], wanted["buffers"] = fixed
    if other.family != run.family or _shapes(weights) != _shapes(wanted):
        raise ValueError(
            f"the weights of {other.experiment} in {folder} do not fit this {run.family}; give a"
            f" run of the same family and sizes by --weights-from."
        )
    return jax.tree.map(np.asarray, weights)


def _check_experiment(other: Run, folder: pathlib.Path, source: str) -> None:
    if folder != pathlib.Path(source) and other.experiment != source:
        raise ValueError(
            f"{folder} is a run of {other.experiment}, not of {source}; give its folder."
        )


def _check_part(
    run: Run, part: str, name: str, config: Any, other: Run, folder: pathlib.Path
) -> None:
    """Checks family and Config of a run that a part is loaded from."""
    if other.family != name:
        raise ValueError(
            f"the {part} of {run.family} is a {name}, and {folder} holds a run of {other.family};"
            f" give a run of {name} by --parts-from."
        )
    found = differences(other.model, config)
    if found:
        words = [
            f"{field} is {old} in the run and {new} here" for field, (old, new) in found.items()
        ]
        options = [_option(f"{part}.{field}", old) for field, (old, _) in found.items()]
        raise ValueError(
            f"the {part} of {run.experiment} is not the network in {folder}: {', '.join(words)};"
            f" set {' '.join(options)}, or give another run by --parts-from."
        )


def _check_text(
    run: Run, part: str, name: str, other: Run, folder: pathlib.Path, tokenizer: Tokenizer | None
) -> None:
    """Checks that a part with text has the tokenizer and text settings of the run."""
    both = families.get(name), families.get(run.family)
    if not all(isinstance(family, TextConditional) for family in both):
        return
    for field in TEXT_SETTINGS:
        old, new = getattr(other.data, field), getattr(run.data, field)
        if old != new:
            raise ValueError(
                f"the {part} in {folder} was trained with {field} {old!r}, and {run.experiment} has"
                f" {new!r}; set {_option(field, old)}, or give another run by --parts-from."
            )
    if tokenizer is None:
        return
    if run_files(folder).tokenizer() != tokenizer:
        raise ValueError(
            f"the {part} in {folder} was trained with another vocabulary of {other.data.tokenizer}"
            f" than that of the captions in {run.data.data}; train it on the same captions, or give"
            f" another run by --parts-from."
        )


def _option(name: str, value: Any) -> str:
    """Returns the option that sets a setting."""
    *part, flag = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        return f"--{'.'.join([*part, flag if value else f'no-{flag}'])}"
    words = map(str, value if isinstance(value, (list, tuple)) else [value])
    return shlex.join([f"--{'.'.join([*part, flag])}", *words])


def _named_in(wanted: Any, variables: Any) -> Any:
    """Returns the variables whose names are in `wanted`."""
    if not isinstance(variables, dict):
        return variables
    return {k: _named_in(wanted[k], v) for k, v in variables.items() if k in wanted}


def _shapes(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)


def _checksum(variables: Any) -> str:
    """Returns the CRC-32 of all leaves in the order of their names, as 8 hexadecimal digits."""
    crc = 0
    for leaf in jax.tree.leaves(variables):
        crc = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), crc)
    return f"{crc:08x}"
