"""Draws the blind spot of masked convolutions: earlier pixels outside a PixelCNN's receptive field.

Van den Oord et al. 2016 (arXiv:1606.05328), figure 1. The receptive field of one pixel (blue) is
computed from gradients of its logits at random weights. White pixels are in it, black ones are not;
red ones are earlier pixels that are missing. Left: the masked network; right: the gated one.

    python -m experiments.examples.blind_spot --out blind_spot.png
"""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np
from PIL import Image

from experiments.benchmarks.reporting import prepare_out
from genjax import evals
from genjax.families import pixelcnn

SCALE = 16


def main(argv: list[str] | None = None) -> int:
    """Writes the picture, prints the share of unseen pixels, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.blind_spot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/blind_spot.png"))
    parser.add_argument("--side", type=int, default=15, help="side of the image, in pixels (15)")
    parser.add_argument("--layers", type=int, default=12, help="layers of each network (12)")
    options = parser.parse_args(argv)
    if options.side < 2:
        print(f"error: side must be 2 or above, got {options.side}.", file=sys.stderr)
        return 2
    row, column = options.side * 2 // 3, options.side // 3
    panels, shares = [], {}
    try:
        prepare_out(options.out)
        for network in ("masked", "gated"):
            config = pixelcnn.Config(
                shape=(options.side, options.side, 1),
                network=network,  # type: ignore[arg-type]
                layers=options.layers,
                features=8,
                first=3,
                head=8,
            )
            variables = pixelcnn.init(config, jax.random.key(0))
            field = evals.receptive_field(pixelcnn, config, variables, row, column)
            blind = evals.unseen_pixels(field, row, column)
            earlier = row * options.side + column
            shares[network] = float(blind.sum() / earlier)
            panel = np.where(field[..., None] > 0, 255, 0) * np.ones(3, int)
            panel[blind] = (200, 30, 30)
            panel[row, column] = (40, 90, 220)
            panels.append(np.pad(panel, ((1, 1), (1, 1), (0, 0)), constant_values=128))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    picture = np.concatenate(panels, axis=1).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    Image.fromarray(picture).save(options.out)
    print(json.dumps({"unseen_share_of_earlier_pixels": shares, "picture": str(options.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
