"""`genjax prepare SOURCE OUT --name NAME`: writes any data as a TFDS folder.

Reads folders of images (with classes, captions, attributes, pairs or two domains), IDX, binary
CIFAR files, text matrices (.amat), .npz, TFDS names and folders. Writes OUT/NAME/1.0.0 as
array_record, without TensorFlow; pass this folder to `--data` or `tfds.builder_from_directory`.
Prints counts, shapes and ranges, and writes contact sheets. Repeat the command to resume.
"""

import dataclasses
import functools
import sys
from typing import Annotated

import tyro

from genjax.cli.options import command, parse
from genjax.data.prepare import prepare
from genjax.data.readers import ReadOptions
from genjax.data.shards import WriteOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command."""

    source: tyro.conf.Positional[str]
    """Data to read."""
    out: tyro.conf.Positional[str]
    """Folder of prepared data sets."""
    reading: Annotated[ReadOptions, tyro.conf.OmitArgPrefixes] = dataclasses.field(
        default_factory=ReadOptions
    )
    writing: Annotated[WriteOptions, tyro.conf.OmitArgPrefixes]


@command()
def main(argv: list[str]) -> None:
    """Writes the folder and prints its contents."""
    options = parse(Options, str(__doc__), argv, "genjax prepare")
    say = functools.partial(print, file=sys.stderr, flush=True)
    done = prepare(options.source, options.out, options.writing, options.reading, progress=say)
    for line in done.describe():
        print(line)
