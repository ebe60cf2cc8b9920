"""Embedded digits, valid .npz files, and static binarization."""

import numpy as np
import pytest

from genjax.cli import convert as command
from genjax.data import Data, Dataset, load, save_npz

X = (np.arange(6 * 12, dtype=np.uint8) * 37 % 17).reshape(6, 2, 3, 2)  # [6, 2, 3, 2], 0 .. 16


def saved(folder, **arrays):
    """Saves arrays as .npz; returns the path."""
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


# The embedded digits.


def test_digits_are_all_of_scikit_learns_in_three_disjoint_splits():
    from sklearn.datasets import load_digits

    digits = load(Data(data="digits"))
    assert digits.counts() == {"train": 1437, "validation": 180, "test": 180}
    assert (digits.shape, digits.levels) == ((8, 8, 1), 17)
    # As multisets of (image, label): nothing twice, nothing lost, no label at another's image.
    parts = [np.c_[s["x"].reshape(-1, 64), s["label"]] for s in digits.splits.values()]
    found = np.concatenate(parts)
    source = load_digits()
    expected = np.c_[source.data, source.target]
    np.testing.assert_array_equal(sorted(map(tuple, found)), sorted(map(tuple, expected)))


def test_digits_never_change():
    # Every result on digits stands on this split.
    assert load(Data(data="digits")).checksum() == "9fb55244"
    assert load(Data(data="digits_4x4")).checksum() == "215dffdc"


def test_digits_4x4_are_the_sums_of_2x2_pixels():
    full, small = load(Data(data="digits")), load(Data(data="digits_4x4"))
    assert (small.shape, small.levels) == ((4, 4, 1), 65)
    for name in full.splits:
        x, y = full.splits[name]["x"], small.splits[name]["x"]
        for i in range(4):
            for j in range(4):
                block = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0].astype(int)
                np.testing.assert_array_equal(y[:, i, j, 0], block.sum((1, 2)))
        np.testing.assert_array_equal(full.splits[name]["label"], small.splits[name]["label"])


def test_checksum_depends_on_the_data():
    base = Dataset("a", {"train": {"x": X, "label": np.arange(6)}}, 17)
    changed = X.copy()
    changed[3, 1, 2, 0] ^= 1
    same = {"train": {"x": X.copy(), "label": np.arange(6)}}
    assert base.checksum() == Dataset("b", same, 17).checksum()
    relabelled = {"train": {"x": X, "label": np.arange(6)[::-1]}}
    assert base.checksum() != Dataset("a", relabelled, 17).checksum()
    moved = {"train": {"x": X[:4]}, "test": {"x": X[4:]}}
    assert Dataset("a", {"train": {"x": X}}, 17).checksum() != Dataset("a", moved, 17).checksum()
    assert base.checksum() != Dataset("a", {"train": {"x": changed}}, 17).checksum()
    assert base.checksum() != Dataset("a", {"train": {"x": X[::-1]}}, 17).checksum()


# Good .npz files.


def test_npz_round_trip(tmp_path):
    digits = load(Data(data="digits"))
    save_npz(digits, tmp_path / "digits.npz")
    back = load(Data(data=str(tmp_path / "digits.npz")))
    assert (back.counts(), back.shape, back.levels) == (digits.counts(), digits.shape, 17)
    assert back.checksum() == digits.checksum()
    for name, split in digits.splits.items():
        for entry, values in split.items():
            np.testing.assert_array_equal(back.splits[name][entry], values)


def test_convert_writes_what_load_reads(tmp_path, capsys):
    out = str(tmp_path / "four.npz")
    assert command.main(["digits_4x4", out]) == 0
    assert "train 1,437, validation 180, test 180" in capsys.readouterr().out
    assert load(Data(data=out)).checksum() == load(Data(data="digits_4x4")).checksum()
    assert command.main([str(tmp_path / "none.npz"), out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no file")
    assert error.count("\n") == 1


def test_labels_stay_with_their_images(tmp_path):
    label = np.array([5, 4, 3, 2, 1, 0])
    path = saved(tmp_path, train=X, train_label=label, test=X[:2])
    data = load(Data(data=path, validation=2, limit=3))
    np.testing.assert_array_equal(data.splits["train"]["label"], [5, 4, 3])
    np.testing.assert_array_equal(data.splits["validation"]["label"], [1, 0])
    assert data.splits["train"]["label"].dtype == np.int32
    assert "label" not in data.splits["test"]


def test_hold_out_takes_the_end_of_train(tmp_path):
    data = load(Data(data=saved(tmp_path, train=X, test=X[:1]), validation=2))
    np.testing.assert_array_equal(data.splits["train"]["x"], X[:4])
    np.testing.assert_array_equal(data.splits["validation"]["x"], X[4:])


def test_no_hold_out_with_a_validation_split(tmp_path):
    data = load(Data(data=saved(tmp_path, train=X, validation=X[:1]), validation=2))
    assert data.counts() == {"train": 6, "validation": 1}


def test_limit_keeps_the_first_of_each_split(tmp_path):
    path = saved(tmp_path, train=X, validation=X[1:], test=X[2:4])
    data = load(Data(data=path, limit=3))
    np.testing.assert_array_equal(data.splits["train"]["x"], X[:3])
    np.testing.assert_array_equal(data.splits["validation"]["x"], X[1:4])
    assert data.counts()["test"] == 2


def test_a_limit_does_not_change_what_is_held_out(tmp_path):
    # Images are held out before the limit is applied.
    path = saved(tmp_path, train=X)
    limited = load(Data(data=path, validation=2, limit=1))
    np.testing.assert_array_equal(limited.splits["validation"]["x"], X[4:5])


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.zeros((2, 3), bool), 2),
        (np.array([[0, 1]], np.int64), 2),
        (np.array([[0, 2]], np.uint8), 256),
        (np.array([[0, 255]], np.int16), 256),
        (np.array([[0, 256]], np.int16), 257),
        (np.array([[0.25, -3.0]], np.float64), 0),
        (np.array([[0.0, 1.0]], np.float16), 0),
    ],
)
def test_levels_follow_from_dtype_and_highest_value(tmp_path, values, levels):
    data = load(Data(data=saved(tmp_path, train=values)))
    assert data.levels == levels
    x = data.splits["train"]["x"]
    np.testing.assert_array_equal(x, values.astype(np.float32))
    # Booleans become numbers and every real kind float32.
    assert x.dtype != np.bool_
    assert levels or x.dtype == np.float32


def test_the_highest_value_of_any_split_counts(tmp_path):
    assert load(Data(data=saved(tmp_path, train=X * 0, test=X))).levels == 256


def test_levels_as_stated(tmp_path):
    assert load(Data(data=saved(tmp_path, train=X, levels=np.int64(17)))).levels == 17


# Binarised once.


def static(path, seed):
    return load(Data(data=path, transform="binarize('static')", binarize_seed=seed))


def test_static_binarization_depends_on_its_seed(tmp_path):
    path = saved(tmp_path, train=X, test=X, levels=np.int64(17))
    first, again, other = static(path, 0), static(path, 0), static(path, 1)
    assert first.levels == 2
    assert first.splits["train"]["x"].dtype == np.uint8
    for split in ("train", "test"):
        bits = first.splits[split]["x"]
        assert set(np.unique(bits)) == {0, 1}
        np.testing.assert_array_equal(bits, again.splits[split]["x"])
        assert (bits != other.splits[split]["x"]).any()
        # Levels 0 and 16 are certain.
        assert not bits[X == 0].any()
        assert bits[X == 16].all()
    # Two splits of the same images have different draws.
    assert (first.splits["train"]["x"] != first.splits["test"]["x"]).any()


def test_static_frequencies(tmp_path):
    n = 20_000
    x = np.tile(np.arange(17, dtype=np.uint8), (n, 1))
    bits = static(saved(tmp_path, train=x, levels=np.int64(17)), 0).splits["train"]["x"]
    p = np.arange(17) / 16
    assert np.all(np.abs(bits.mean(0, dtype=np.float64) - p) <= 5 * np.sqrt(p * (1 - p) / n))


def test_static_draws_do_not_depend_on_the_limit(tmp_path):
    path = saved(tmp_path, train=X, levels=np.int64(17))
    limited = load(Data(data=path, transform="binarize('static')", limit=2))
    np.testing.assert_array_equal(
        limited.splits["train"]["x"], static(path, 0).splits["train"]["x"][:2]
    )


def test_static_binarization_never_changes():
    # Pinned: a figure on statically binarised digits stands on these draws.
    drawn = static("digits", 0)
    assert Dataset("drawn", drawn.splits, 2).checksum() == "8f28b661"
    # What was read is what the checksum is of: the draws are in the settings already.
    assert drawn.checksum() == load(Data(data="digits")).checksum()
