"""`genjax export RUN FILE`: writes the weights of a finished run as one file.

    genjax export runs/nade_mnist-cpu-seed0 nade_mnist.safetensors --dtype float16 --evaluate

FILE ends in .safetensors. It holds what `genjax.train.load` returns, the settings, the record, the
tokenizer, and checksums; `genjax.from_pretrained(FILE)` and all commands that take a run read it.
Absolute paths in settings and record are cut to their last names. --evaluate computes the run's
figure with the rounded weights, on the run's data, and stores it beside that of the record; no
file is written if they differ by more than the standard error of the record's.
"""

import argparse
import pathlib
from typing import get_args

from genjax.cli.options import ArgumentParser, command
from genjax.data.file_io import safe
from genjax.data.file_writing import write_file
from genjax.train.export_run import export_run
from genjax.train.model_card import model_card
from genjax.train.weights_file import Rounding, WeightsFile, check_suffix


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
    figure = export_run(
        options.workdir,
        options.file,
        options.dtype,
        evaluate=options.evaluate,
        data=options.data,
        force=options.force,
    )
    if figure is not None:
        print(figure)
    print(f"{options.file.stat().st_size:,} bytes in {safe(options.file)}")
    if options.card:
        written = WeightsFile(options.file)
        text = model_card(
            written.settings(),
            written.record(),
            name=written.name,
            rounding=options.dtype,
            rounded_figure=written.metadata.get("rounded_figure"),
        )
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
