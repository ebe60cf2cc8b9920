"""Pairs of emoji: how they are matched and split."""

import numpy as np
import pytest

from experiments.examples.emoji_pairs import base, split_pairs


def test_variants_of_skin_tone_and_gender_are_in_one_split():
    runners = ["1F3C3", "1F3C3-1F3FF", "1F3C3-1F3FF-200D-2642-FE0F", "1F3C3-200D-2640-FE0F"]
    assert {base(name) for name in runners} == {"1F3C3"}
    jobs = ["1F468-1F3FB-200D-1F3ED", "1F469-200D-1F3ED", "1F9D1-1F3FE-200D-1F3ED"]
    assert {base(name) for name in jobs} == {"1F9D1-1F3ED"}
    assert base("1F1F5-1F1ED") != base("1F1F5")  # flags are pairs of letters
    for variants in (
        ("1F3C3", "1F3C3-1F3FB-200D-2642-FE0F-200D-27A1-FE0F"),  # the direction
        ("1F469-200D-1F9B0", "1F471-1F3FC", "1F9D1"),  # the hair
        ("1F466", "1F467-1F3FB", "1F9D2"),
        ("1F491-1F3FE", "1F9D1-1F3FD-200D-2764-FE0F-200D-1F9D1-1F3FE"),
        ("1F46A", "1F468-200D-1F469-200D-1F467"),
    ):
        assert len(set(map(base, variants))) == 1


def test_of_equal_drawings_one_is_kept():
    images = {f"{0x1F400 + i:X}": np.full((2, 2, 3), i, np.uint8) for i in range(60)}
    equal = images | {"1F500": images["1F401"]}  # in one domain only
    arrays = split_pairs(equal, images | {"1F500": np.full((2, 2, 3), 99, np.uint8)})
    assert len(arrays["train"]) + len(arrays["test"]) == 60


def test_pairs_have_the_same_code_points_in_both_domains():
    names = [f"{0x1F400 + i:X}{tone}" for i in range(60) for tone in ("", "-1F3FB")]
    images = {name: np.full((2, 2, 3), i, np.uint8) for i, name in enumerate(names)}
    second = {name: images[name] + 100 for name in reversed(names[:-1])}
    arrays = split_pairs(images, second)
    assert len(arrays["train"]) + len(arrays["test"]) == len(names) - 1
    for split in ("train", "test"):
        np.testing.assert_array_equal(arrays[split] + 100, arrays[f"{split}_y"])
    # Both tones of an emoji, which are neighbours here, are in one split.
    emoji = {split: set((arrays[split][:, 0, 0, 0] // 2).tolist()) for split in ("train", "test")}
    assert not emoji["train"] & emoji["test"]
    assert len(arrays["test"]) in (10, 11)  # a tenth, in whole groups


def test_rejects_folders_without_common_emoji():
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="too few code points in common"):
        split_pairs({"1F400": image}, {"1F401": image})
