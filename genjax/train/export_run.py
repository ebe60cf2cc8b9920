"""Export of a finished run as a weights file, with the figure of its rounded weights."""

import dataclasses
import os
import pathlib

from genjax.data.file_io import safe
from genjax.train.load_run import load
from genjax.train.recomputed import RecomputedFigure, figure_of
from genjax.train.run_files import RunFiles, run_files
from genjax.train.weights_file import Rounding, check_suffix, rounded_variables, write_weights


def finished_files(source: str | os.PathLike) -> RunFiles:
    """Returns the files of a finished run.

    Raises:
      ValueError: there is no such run, or it is not finished.
    """
    files = run_files(source)
    if not files.record():
        raise ValueError(
            f"{safe(source)} has no record.json, so the run is not finished; repeat its command,"
            f" which resumes it."
        )
    return files


def export_run(
    source: str | os.PathLike,
    file: str | os.PathLike,
    rounding: Rounding = "float32",
    *,
    evaluate: bool = False,
    data: str | None = None,
    force: bool = False,
) -> RecomputedFigure | None:
    """Writes the weights of a finished run as one file.

    Args:
      source: folder of the run, weights file or name.
      file: to write, which ends in .safetensors.
      rounding: dtype of floating-point tensors in the file.
      evaluate: whether the figure of the rounded weights is computed and stored in the file.
      data: the data to evaluate on, if they have moved since training.
      force: whether to write the file also if that figure differs from the record's.

    Returns:
      The figure of the rounded weights, if it was computed.

    Raises:
      ValueError: the run is not finished; its figure cannot be computed, or is not within the
        standard error of the record's; or a value is not finite in the dtype.
    """
    check_suffix(pathlib.Path(file))
    files = finished_files(source)
    run, variables = load(files)
    record, figure = files.record(), None
    if evaluate:
        rounded = rounded_variables(variables, rounding)
        figure = figure_of(run, rounded, record, pathlib.Path(source), data)
        if not (figure.agrees() or force):
            raise ValueError(
                f"with weights in {rounding} the figure is not within the standard error of the"
                f" record's ({figure}); use --dtype float32, or --force to write them nevertheless."
            )
    write_weights(
        file,
        run,
        variables,
        record,
        files.data(),
        files.tokenizer() if run.data.tokenizer else None,
        rounding=rounding,
        rounded_figure=None if figure is None else dataclasses.asdict(figure),
    )
    return figure
