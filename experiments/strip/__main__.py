"""Draws the strip of pictures of README from the weights of the package.

    python -m experiments.strip --out docs/strip.png
    python -m experiments.strip --out strip.png nade_digits made_digits

Every panel has the weights of one name. It is left out if they are not in the package, or if their
data, of which it shows examples, are not on this machine. The PNG's text has the names and the
checksums of the weights. The same weights give the same strip on the same machine.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from experiments.strip.page import page
from experiments.strip.panels import (
    Picture,
    Source,
    attributes,
    between,
    completed,
    drawn,
    sampled,
    solved,
    translated,
)
from genjax import checks
from genjax.cli.options import run_command, set_up_process
from genjax.data.file_io import safe
from genjax.data.file_writing import write_file
from genjax.train.named_weights import FOLDER, weights_names
from genjax.train.sample_grids import encode_png
from genjax.train.trained_model import from_pretrained
from genjax.train.weights_file import SUFFIX, WeightsFile

LIMIT = 500_000
"""Bytes of the picture, at most."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Attributes:
      title: what is seen, in a few words.
      model: name of the model, and its data.
      draw: `draw(source, columns, rows)` returns the images.
      columns, rows: of its images.
    """

    title: str
    model: str
    draw: Callable[[Source, int, int], Picture]
    columns: int
    rows: int


PANELS = {
    "nade_digits": Panel("Digits sampled", "NADE, 8x8 pixels", sampled, 6, 5),
    "made_digits": Panel("Lower halves drawn", "MADE, 8x8 pixels", completed, 6, 5),
    "pixelrnn_mnist": Panel("Lower halves drawn", "PixelRNN, MNIST", completed, 4, 4),
    "vae_mnist": Panel("From digit to digit", "VAE, MNIST", between, 6, 6),
    "dcgan_mnist": Panel("Digits sampled", "DCGAN, MNIST", sampled, 6, 6),
    "cyclegan_glyphs": Panel("Letters translated", "CycleGAN, without pairs", translated, 6, 5),
    "stargan_glyphs": Panel("Attributes changed", "StarGAN, glyphs", attributes, 6, 5),
    "jigsaw_mnist": Panel("Puzzles solved", "Assignment head, MNIST", solved, 6, 6),
    "dalle_scenes": Panel("Captions drawn", "DALL-E, captions not in training", drawn, 2, 2),
    "dalle_digits": Panel("Captions drawn", "DALL-E, captions not in training", drawn, 2, 2),
}
"""By the name of the weights, in the order of the strip."""


def described(names: Sequence[str]) -> dict[str, Any]:
    """Returns the text of the strip: title and checksum of the weights of every panel."""
    panels = []
    for name in names:
        checksum = WeightsFile(FOLDER / f"{name}{SUFFIX}").metadata["checksum"]
        panels.append({"name": name, "title": PANELS[name].title, "checksum": checksum})
    return {"panels": panels}


def write_strip(out: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Writes the strip of some weights.

    Returns:
      the names of the panels that are in it.

    Raises:
      ValueError: there is no panel, or the picture has more than `LIMIT` bytes.
    """
    found, shown = [], []
    for name in names:
        panel = PANELS[name]
        if name not in weights_names():
            print(f"{name}  left out: its weights are not in the package")
            continue
        try:
            picture = panel.draw(Source(name, from_pretrained(name)), panel.columns, panel.rows)
        except checks.USER_ERRORS as error:
            print(f"{name}  left out: {checks.error_message(error, 'the number of images')}")
            continue
        found.append(name)
        shown.append((panel.title, panel.model, picture))
        print(f"{name}  {panel.title}", flush=True)
    if not shown:
        raise ValueError("there is no panel to draw; give a name whose weights are in the package.")
    png = encode_png(page(shown), described(found))
    if len(png) > LIMIT:
        raise ValueError(
            f"the strip has {len(png):,} bytes, more than {LIMIT:,}; draw fewer images."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, png)
    print(f"{len(png):,} bytes in {safe(out)}")
    return found


def main(argv: list[str] | None = None) -> int:
    """Writes the strip and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.strip",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PANELS)} (all)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="PNG file to write")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in PANELS:
            parser.error(f"there is no panel '{name}'; there are {', '.join(PANELS)}")
    set_up_process()
    return run_command(lambda: write_strip(options.out, options.names or list(PANELS)))


if __name__ == "__main__":
    sys.exit(main())
