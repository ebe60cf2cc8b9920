"""Joins two prepared folders of emoji, drawn by two companies, to pairs in a .npz.

    python -m experiments.examples.emoji_pairs NOTO TWEMOJI emoji.npz
    python -m experiments.cyclegan_emoji

Each folder has one split of 64x64 images with a feature `codepoints`, such as
1F3C3-1F3FF-200D-2642-FE0F, by which images are matched. A tenth of the emoji is test: variants of
skin tone and gender count as one emoji, since a network would have seen the others in training.
"""

import argparse
import pathlib
import sys
import zlib
from collections.abc import Mapping

import numpy as np

from genjax.data.tfds_folder import open_folder

SKIN_TONES = {f"{0x1F3FB + i:X}" for i in range(5)}
IGNORED = SKIN_TONES | {"200D", "2640", "2642", "FE0F"}  # joiner, gender signs, variation selector
PERSON = {"1F468": "1F9D1", "1F469": "1F9D1"}  # man and woman
TEST_SHARE = 10


def main(argv: list[str] | None = None) -> int:
    """Writes the .npz and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.examples.emoji_pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", help="folder of the first domain")
    parser.add_argument("second", help="folder of the second domain")
    parser.add_argument("out", type=pathlib.Path, help="the .npz to write")
    options = parser.parse_args(argv)
    try:
        arrays = split_pairs(read(options.first), read(options.second))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    np.savez_compressed(options.out, levels=256, **arrays)  # type: ignore[arg-type]
    print(
        f"{options.out}: {len(arrays['train']):,} pairs in train, {len(arrays['test']):,} in test"
    )
    return 0


def read(folder: str) -> dict[str, np.ndarray]:
    """Returns the images of a folder's splits by their code points.

    Raises:
      ValueError: the folder is not of emoji.
    """
    about, splits = open_folder(folder, None)
    missing = {"image", "codepoints"} - set(about.features)
    if missing:
        raise ValueError(f"{folder} has no feature {min(missing)}; give a folder of emoji.")
    rows = [
        split.example(i, ("image", "codepoints"))
        for split in splits.values()
        for i in range(len(split))
    ]
    return {row["codepoints"]: row["image"] for row in rows}


def base(codepoints: str) -> str:
    """Returns the code points without skin tone and gender.

    >>> base("1F468-1F3FE-200D-1F3ED"), base("1F3C3-200D-2640-FE0F")
    ('1F9D1-1F3ED', '1F3C3')
    """
    parts = [PERSON.get(part, part) for part in codepoints.split("-")]
    return "-".join(part for part in parts if part not in IGNORED)


def split_pairs(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns `train`, `train_y`, `test` and `test_y`, in the order of the code points.

    Raises:
      ValueError: the two have too few emoji in common.
    """
    splits: dict[str, list[str]] = {"train": [], "test": []}
    for name in sorted(set(first) & set(second)):
        held_out = zlib.crc32(base(name).encode()) % TEST_SHARE == 0
        splits["test" if held_out else "train"].append(name)
    if not all(splits.values()):
        raise ValueError("the folders have too few code points in common; give two sets of emoji.")
    arrays = {}
    for split, names in splits.items():
        arrays[split] = np.stack([first[name] for name in names])
        arrays[f"{split}_y"] = np.stack([second[name] for name in names])
    return arrays


if __name__ == "__main__":
    sys.exit(main())
