"""`genjax export RUN FILE`: writes the weights of a finished run as one file.

    genjax export runs/nade_mnist-cpu-seed0 nade_mnist.safetensors --dtype float16 --evaluate

FILE ends in .safetensors. It holds what `genjax.train.load` returns, the settings, the record, the
tokenizer, and checksums; `genjax.from_pretrained(FILE)` and all commands that take a run read it.
Absolute paths in settings and record are cut to their last names. --evaluate computes the run's
figure with the rounded weights, on the run's data, and stores it beside that of the record; no
file is written if they differ by more than the standard error of the record's.
"""

import argparse
import dataclasses
import pathlib
from typing import Any, get_args

from genjax.cli.options import ArgumentParser, command
from genjax.data.file_io import safe
from genjax.data.file_writing import write_file
from genjax.train.load_run import load
from genjax.train.model_card import model_card
from genjax.train.recomputed import figure_of
from genjax.train.run_files import run_files
from genjax.train.weights_file import Rounding, check_suffix, rounded_variables, write_weights


@command("--dtype bfloat16")
def main(argv: list[str]) -> None:
    """Writes the file."""
    options = parse(argv)
    check_suffix(options.file)
    for path in filter(None, (options.file, options.card)):
        if path.exists() and not options.overwrite:
            raise ValueError(
                f"{safe(path)} exists already; write to another place, or add --overwrite."
            )
    files = run_files(options.workdir)
    record = files.record()
    if not record:
        raise ValueError(
            f"{safe(options.workdir)} has no record.json, so the run is not finished; repeat its"
            f" command, which resumes it."
        )
    run, variables = load(files)
    tokenizer = files.tokenizer() if run.data.tokenizer else None
    figure = None
    if options.evaluate:
        rounded = rounded_variables(variables, options.dtype)
        found = figure_of(run, rounded, record, options.workdir, options.data)
        print(found)
        if not (found.agrees() or options.force):
            raise ValueError(
                f"with weights in {options.dtype} the figure is not within the standard error of"
                f" the record's ({found}); use --dtype float32, or --force to write them"
                f" nevertheless."
            )
        figure = dataclasses.asdict(found)
    write_weights(
        options.file,
        run,
        variables,
        record,
        files.data(),
        tokenizer,
        rounding=options.dtype,
        rounded_figure=figure,
    )
    print(f"{options.file.stat().st_size:,} bytes in {safe(options.file)}")
    if options.card:
        about: dict[str, Any] = {"rounding": options.dtype, "rounded_figure": figure}
        text = model_card(run, record, name=options.file.stem, **about)
        options.card.parent.mkdir(parents=True, exist_ok=True)
        write_file(options.card, text.encode())
        print(f"model card in {safe(options.card)}")


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the command's options."""
    parser = ArgumentParser("export", __doc__)
    parser.add_run("RUN")
    add = parser.add_argument
    add("file", type=pathlib.Path, metavar="FILE", help="file to write, .safetensors")
    text = "dtype of floating-point tensors in the file (float32)"
    add("--dtype", choices=get_args(Rounding), default="float32", help=text)
    add(
        "--evaluate",
        action="store_true",
        help="compute and check the figure of the rounded weights",
    )
    add("--data", help="the data for --evaluate, if moved since training")
    add("--force", action="store_true", help="write the file also if the figure differs")
    add("--card", type=pathlib.Path, metavar="FILE.md", help="also write a model card, Markdown")
    add("--overwrite", action="store_true", help="replace files that exist")
    options = parser.parse_args(argv)
    for name in ("data", "force"):
        if getattr(options, name) and not options.evaluate:
            raise ValueError(f"--{name} is for --evaluate; add that, or leave out --{name}.")
    return options
