"""`genjax export RUN FILE`: writes the weights of a finished run as one file.

FILE ends in .safetensors. It holds what `genjax.train.load` returns, the settings, the record, the
tokenizer, and checksums; `genjax.from_pretrained(FILE)` and all commands that take a run read it.
Absolute paths in settings and record are cut to their last names.
"""

import pathlib
from typing import get_args

from genjax.cli.options import ArgumentParser, command
from genjax.data.file_io import safe
from genjax.train.load_run import load
from genjax.train.run_files import run_files
from genjax.train.weights_file import Rounding, write_weights


@command("--dtype bfloat16")
def main(argv: list[str]) -> None:
    """Writes the file."""
    parser = ArgumentParser("export", __doc__)
    parser.add_run("RUN")
    add = parser.add_argument
    add("file", type=pathlib.Path, metavar="FILE", help="file to write, .safetensors")
    text = "dtype of floating-point tensors in the file (float32)"
    add("--dtype", choices=get_args(Rounding), default="float32", help=text)
    add("--overwrite", action="store_true", help="replace a file that exists")
    options = parser.parse_args(argv)
    if options.file.exists() and not options.overwrite:
        raise ValueError(
            f"{safe(options.file)} exists already; write to another place, or add --overwrite."
        )
    files = run_files(options.workdir)
    record = files.record()
    if not record:
        raise ValueError(
            f"{safe(options.workdir)} has no record.json, so the run is not finished; repeat its"
            f" command, which resumes it."
        )
    run, variables = load(options.workdir)
    tokenizer = files.tokenizer() if run.data.tokenizer else None
    write_weights(
        options.file, run, variables, record, files.data(), tokenizer, rounding=options.dtype
    )
    print(f"{options.file.stat().st_size:,} bytes in {safe(options.file)}")
