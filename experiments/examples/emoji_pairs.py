"""Joins two prepared folders of emoji, drawn by two companies, to pairs in a .npz.

    python -m experiments.examples.emoji_pairs NOTO TWEMOJI emoji.npz
    python -m experiments.cyclegan_emoji

Each folder has one split of 64x64 images with a feature `codepoints`, such as
1F3C3-1F3FF-200D-2642-FE0F, by which images are matched. A tenth of the emoji is test: variants of
skin tone, hair, gender and direction stay together, since a network would have seen the others in
training. Of emoji drawn equally, such as the flags of France and Clipperton, the first one stays.
"""

import argparse
import pathlib
import sys
import zlib
from collections.abc import Mapping

import numpy as np

from genjax.data.tfds_folder import open_folder

SKIN_TONES = {f"{0x1F3FB + i:X}" for i in range(5)}
HAIR = {f"{0x1F9B0 + i:X}" for i in range(4)}
# Joiner, signs of gender, arrow of the direction, variation selector.
IGNORED = SKIN_TONES | HAIR | {"200D", "2640", "2642", "27A1", "FE0F"}
NEUTRAL = {
    **dict.fromkeys(("1F468", "1F469", "1F471"), "1F9D1"),  # adults, the last one with blond hair
    **dict.fromkeys(("1F466", "1F467"), "1F9D2"),  # children
    **dict.fromkeys(("1F474", "1F475"), "1F9D3"),  # older people
    **dict.fromkeys(("1F934", "1F478"), "1FAC5"),  # with a crown
    **dict.fromkeys(("1F46C", "1F46D"), "1F46B"),  # couples
    "1F936": "1F385",  # Santa Claus
}
GROUPS = {
    "1F9D1-2764-1F9D1": "1F491",
    "1F9D1-2764-1F48B-1F9D1": "1F48F",
    "1F9D1-1F91D-1F9D1": "1F46B",
    "1F9D1-1F384": "1F385",
}
"""Emoji of several people that have a code point too."""
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
    """Returns the code points without skin tone, hair, gender and direction.

    >>> base("1F468-1F3FE-200D-1F3ED"), base("1F3C3-200D-2640-FE0F-200D-27A1-FE0F")
    ('1F9D1-1F3ED', '1F3C3')
    """
    parts = [NEUTRAL.get(part, part) for part in codepoints.split("-") if part not in IGNORED]
    if len(parts) > 1 and set(parts) <= {"1F9D1", "1F9D2"}:
        return "1F46A"  # family
    name = "-".join(parts)
    return GROUPS.get(name, name)


def split_pairs(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns `train`, `train_y`, `test` and `test_y`, in the order of the code points.

    Raises:
      ValueError: the two have too few emoji in common.
    """
    groups: dict[str, list[str]] = {}
    seen: set[tuple[int, bytes]] = set()
    for name in sorted(set(first) & set(second)):
        drawings = {(0, first[name].tobytes()), (1, second[name].tobytes())}
        if drawings & seen:
            continue
        seen |= drawings
        groups.setdefault(base(name), []).append(name)
    most = sum(map(len, groups.values())) // TEST_SHARE
    splits: dict[str, list[str]] = {"train": [], "test": []}
    for names in sorted(groups.values(), key=lambda names: zlib.crc32(names[0].encode())):
        fits = len(splits["test"]) + len(names) <= most
        splits["test" if fits else "train"] += names
    if not all(splits.values()):
        raise ValueError("the folders have too few code points in common; give two sets of emoji.")
    arrays = {}
    for split, names in splits.items():
        arrays[split] = np.stack([first[name] for name in sorted(names)])
        arrays[f"{split}_y"] = np.stack([second[name] for name in sorted(names)])
    return arrays


if __name__ == "__main__":
    sys.exit(main())
