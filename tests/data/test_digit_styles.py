"""Digits made bold and slanted by rule."""

import numpy as np
from scipy import ndimage

from genjax.data import Data, load
from genjax.data.digit_styles import bold, slanted, styled


def test_bold_is_a_grey_dilation():
    x = load(Data(data="digits")).splits["test"]["x"]
    want = ndimage.grey_dilation(
        x, footprint=np.ones((1, 1, 2, 1)), origin=(0, 0, -1, 0), mode="constant"
    )
    np.testing.assert_array_equal(bold(x), want)
    assert bold(x).max() == 16
    assert (bold(x) > x).any(axis=(1, 2, 3)).all()


def test_slanted_shears_rows_by_whole_pixels():
    x = np.zeros((1, 8, 8, 1), np.uint8)
    x[:, :, 3] = 7
    column = slanted(x)[0, :, :, 0].argmax(axis=1)
    assert column.tolist() == [5, 4, 4, 3, 3, 2, 2, 1]
    assert slanted(x).sum() == x.sum()


def test_pairs_are_of_the_same_digit():
    dataset, digits = load(Data(data="digits_pairs")), load(Data(data="digits"))
    assert dataset.paired == {"train", "validation", "test"}
    assert dataset.levels == 17
    for split, rows in dataset.splits.items():
        np.testing.assert_array_equal(rows["x"], digits.splits[split]["x"])
        np.testing.assert_array_equal(rows["y"], slanted(bold(rows["x"])))


def test_render_is_the_truth_of_every_style():
    dataset, digits = load(Data(data="digits_attributes")), load(Data(data="digits"))
    assert dataset.names["attributes"] == ("bold", "slanted")
    rows = dataset.read("validation", np.arange(40))
    np.testing.assert_array_equal(dataset.render(rows, rows["attributes"]), rows["x"])
    original = digits.splits["validation"]["x"][:10].repeat(4, axis=0)
    np.testing.assert_array_equal(dataset.render(rows, 0 * rows["attributes"]), original)
    both = dataset.render(rows, np.ones((40, 2)))
    np.testing.assert_array_equal(both, styled(original, np.ones((40, 2))))
    np.testing.assert_array_equal(
        rows["label"], digits.splits["validation"]["label"][:10].repeat(4)
    )
