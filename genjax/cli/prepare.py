"""`genjax prepare SOURCE OUT --name NAME`: any data as a folder that TFDS opens.

Reads folders of images (with classes, captions, attributes, or in pairs), IDX, CIFAR's binary
files, text matrices (.amat), .npz, TFDS names and folders; writes OUT/NAME/1.0.0 as array_record,
without TensorFlow. Afterwards `--data OUT/NAME/1.0.0` is that data set for every experiment, and
`tfds.builder_from_directory` opens it. Shows counts, shapes, ranges and a contact sheet; the same
command goes on after a cut.
"""

import dataclasses
import sys
from typing import Annotated

import tyro

from genjax.cli.options import parse, run_command
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command."""

    source: tyro.conf.Positional[str]
    """What to read."""
    out: tyro.conf.Positional[str]
    """Folder of prepared data sets."""
    reading: Annotated[ReadOptions, tyro.conf.OmitArgPrefixes] = dataclasses.field(
        default_factory=ReadOptions
    )
    writing: Annotated[WriteOptions, tyro.conf.OmitArgPrefixes]


def main(argv: list[str] | None = None) -> int:
    """Prepare and say what was written."""
    return run_command(lambda: prepare_folder(sys.argv[1:] if argv is None else argv))


def prepare_folder(argv: list[str]) -> None:
    """Parses the options, writes the folder and prints its contents."""
    options = parse(Options, str(__doc__), argv, "genjax prepare")
    done = prepare(options.source, options.out, options.writing, options.reading, say=_say)
    for line in done.describe():
        print(line)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
